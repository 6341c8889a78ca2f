"""The operations: one module each, whose file name is the operation's name."""

import inspect
from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules

from matstream.shared.operation import Operation


def _operation(name: str) -> Operation:
    module = import_module(f"{__name__}.{name}")
    made: Operation = module.OPERATION
    return replace(made, about=inspect.getdoc(module) or "")


OPERATIONS: dict[str, Operation] = {page.name: _operation(page.name) for page in iter_modules(__path__)}
