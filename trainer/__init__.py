"""The trainer: HTTP -> arrays -> tokens -> model -> scores -> checkpoint, report."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.pretrained import Pretrained

# Read when torch is first imported: how long its threads spin for each other before they sleep. By default so
# long that, where another process keeps one of two cores busy, training slows many times over (docs/LOG.md).
os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def load(folder: "str | Path") -> "Pretrained":
    """The best model of a run, or an exported one: `trainer.load("runs/x").predict(matrices)`."""
    from trainer import pretrained

    return pretrained.load(folder)
