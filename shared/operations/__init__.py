"""The operations: one module each, whose file name is the operation's name."""

from importlib import import_module
from pkgutil import iter_modules

from matstream.shared.operation import Operation

OPERATIONS: dict[str, Operation] = {
    page.name: import_module(f"{__name__}.{page.name}").OPERATION for page in iter_modules(__path__)
}
