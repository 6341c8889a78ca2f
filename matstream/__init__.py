"""Endless linear-algebra problems as Arrow streams, and transformers trained on them.

>>> import matstream
>>> s = matstream.sample("eigenvalues", dim=5, count=1000)  # s.inputs (1000, 5, 5), s.targets (1000, 5, 1)

Each name here is loaded when it is first used; `import matstream` alone loads neither torch nor FastAPI.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matstream.dataset import Dataset as Dataset
    from matstream.samples import Samples as Samples
    from matstream.samples import sample as sample
    from matstream.samples import stream as stream
    from matstream.scores import score as score
    from matstream.shared.decorators import operation as operation
    from matstream.shared.decorators import structure as structure
    from matstream.shared.problems import read_problems as read_problems
    from matstream.shared.spec import StreamSpec as StreamSpec
    from matstream.trainer.runs.pretrained import load as load
    from matstream.training import train as train

    __version__: str

_HOMES = {
    "Dataset": "matstream.dataset",
    "Samples": "matstream.samples",
    "StreamSpec": "matstream.shared.spec",
    "load": "matstream.trainer.runs.pretrained",
    "operation": "matstream.shared.decorators",
    "read_problems": "matstream.shared.problems",
    "sample": "matstream.samples",
    "score": "matstream.scores",
    "stream": "matstream.samples",
    "structure": "matstream.shared.decorators",
    "train": "matstream.training",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("matstream")
    if name not in _HOMES:
        raise AttributeError(f"module 'matstream' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
