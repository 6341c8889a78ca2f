"""Trained models: written as a folder, read back, asked for predictions."""

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from shared.arrays import real_numbers
from shared.encodings import EncodingError
from shared.errors import UserError
from shared.files import written_aside
from shared.wire import flat
from trainer import checkpoint, checksums
from trainer.evaluate import Solver, solver_of
from trainer.folder import CARD, CONFIG, MODEL, OF_MODEL, RECIPE, SUMS, WEIGHTS
from trainer.model import build, device
from trainer.recipe import Recipe, differences, recipe_of

BATCH = 1_000  # matrices predicted at a time


@dataclass(frozen=True)
class Pretrained:
    """A trained model, with the recipe it was trained by."""

    recipe: Recipe
    solver: Solver

    def predict(self, matrices: ArrayLike | Tensor, operation: str | None = None) -> NDArray[np.float64]:
        """The answers to inputs (B, rows, cols), or to one (rows, cols), as the operations read them; of each
        as many rows and columns as the operation has, NaN where the model wrote no number.

        `operation` is needed by a model of several that read matrices of this shape. Entries unlike those it
        was trained on, such as zeros or larger magnitudes, get answers that are wrong without a sign of it.

        Raises ValueError for inputs that the model was not made for, or cannot read.
        """
        inputs = real_numbers(matrices, "matrices")
        if inputs.ndim == 2:
            one: NDArray[np.float64] = self.predict(inputs[None], operation)[0]
            return one
        if inputs.ndim != 3:
            raise ValueError(f"matrices of shape {inputs.shape}: must be (B, rows, cols) or (rows, cols)")
        number = self._kind(inputs.shape[1:], operation)
        solver = self.solver
        try:
            ids = solver.read.encode(flat(inputs), np.full(len(inputs), number))
        except EncodingError:
            place = np.unravel_index(np.abs(inputs).argmax(), inputs.shape)  # that of a NaN before all
            named, largest = ", ".join(map(str, place)), solver.read.encoding.largest
            raise ValueError(
                f"matrices[{named}]={inputs[place]:g}: must be of magnitude up to {largest:g}"
            ) from None
        parts = [solver.solve(ids[first : first + BATCH], number) for first in range(0, len(ids), BATCH)]
        if not parts:
            return np.empty((0, *solver.read.kinds[number].target_shape))
        return solver.write.decode(np.concatenate(parts), number)

    def _kind(self, shape: tuple[int, ...], operation: str | None) -> int:
        kinds = self.solver.read.kinds
        operations = sorted({kind.operation for kind in kinds})
        if operation is not None and operation not in operations:
            raise ValueError(f"operation={operation!r}: must be one of {', '.join(operations)}")
        fitting = [
            number
            for number, kind in enumerate(kinds)
            if kind.input_shape == shape and operation in (None, kind.operation)
        ]
        if not fitting:
            stream = self.recipe.stream.fields()
            reads = f"{stream['operation']} of dimension {stream['dim']}"
            raise ValueError(f"matrices of shape {shape}: this model reads {reads}")
        if len(fitting) > 1:
            raise ValueError(
                f"operation=None: must be one of {', '.join(kinds[n].operation for n in fitting)}"
            )
        return fitting[0]


def load(folder: str | Path) -> Pretrained:
    """The best model of a run, or an exported one, from its folder. Runs no code that a file might hold.

    Raises UserError if the folder holds no model, a damaged one, or one that was made by another recipe.
    """
    folder = Path(folder)
    recipe = recipe_of(folder)
    if (folder / MODEL / CONFIG).is_file():
        _check_same(recipe, folder)
    return best_of(folder, recipe)


def best_of(folder: Path, recipe: Recipe) -> Pretrained:
    """The best model in a folder, which is of this recipe. Raises UserError as `load` does."""
    model = build(recipe).to(device())
    weights = checkpoint.best_weights(folder)
    checkpoint.load_weights(weights, model, checkpoint.remedy(weights.parent))
    return Pretrained(recipe, solver_of(recipe, model))


def _check_same(written: Recipe, run: Path) -> None:
    """Raise UserError if a run's recipe.toml, which has no checksum, differs from that of its model/."""
    try:
        exported = recipe_of(run / MODEL)
    except UserError as error:
        raise UserError(f"{error}: {checkpoint.remedy(run / MODEL)}") from None
    for key, now, before in differences(written, exported, "stream", "tokens", "model"):
        raise UserError(f"{run / RECIPE}: {key}={now!r}: must be {before!r}, as in {run / MODEL}")


def export(run: Path, recipe: Recipe, result: Mapping[str, Any]) -> Path:
    """Write a run's best model as the folder `run`/model: its weights and config.json, their checksums, and a
    model card, unless one is there that somebody has edited."""
    card = _card(recipe, result).encode()
    config = {
        "matstream": importlib.metadata.version("matstream"),
        "recipe": recipe.model_dump(mode="json", exclude_none=True),
        "card": checksums.digest(card),
    }
    files = {
        WEIGHTS: checksums.read(checkpoint.best_weights(run)),
        CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
    }
    files |= {SUMS: checksums.sums(files), CARD: _edited_card(run / MODEL) or card}
    with written_aside(run / MODEL, OF_MODEL) as aside:
        aside.mkdir()
        for name, content in files.items():
            (aside / name).write_bytes(content)
    return run / MODEL


def _edited_card(model: Path) -> bytes | None:
    """The model card in a folder, if it is not as it was written."""
    if not (model / CARD).is_file():
        return None
    card = (model / CARD).read_bytes()
    try:
        written = json.loads((model / CONFIG).read_bytes())["card"]
    except (OSError, ValueError, KeyError, TypeError):
        return card
    return None if checksums.digest(card) == written else card


def _card(recipe: Recipe, result: Mapping[str, Any]) -> str:
    """The model card: what it does, how well, how it was made, how to use it."""
    fields = recipe.stream.fields()
    shares = zip(*(result[name].items() for name in ("accuracy", "accuracy_strict", "ceiling")), strict=True)
    rows = "\n".join(
        f"| {float(tau):.1%} | {share:.2%} | {strict:.2%} | {ceiling:.2%} |"
        for (tau, share), (_, strict), (_, ceiling) in shares
    )
    return f"""# {result["run"]}: {fields["operation"]} of dimension {fields["dim"]}

An encoder–decoder transformer of {result["parameters"]:,} weights, trained by
[matstream](https://arxiv.org/abs/2112.01898) {importlib.metadata.version("matstream")} on
{result["samples_seen"]:,} random problems that were made as it asked for them.

| within | accuracy | strict | ceiling of the encoding |
|---|---|---|---|
{rows}

On {result["test_samples"]:,} held-out samples of the stream it was trained on, {result["invalid"]} outputs
invalid. *Strict* leaves out the published rule's allowances; the *ceiling* is what the exact answer scores
once it is rounded to the words of `{recipe.tokens.output}`. The stream is
`{json.dumps(fields)}`, seed {recipe.stream.seed}.

```python
import trainer

answers = trainer.load("path/of/this/folder").predict(matrices)  # (B, rows, cols) -> (B, rows, cols)
```

It answers matrices like those it was trained on; of others, expect nothing.
"""
