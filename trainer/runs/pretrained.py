"""Trained models: loaded from a folder, asked for predictions, checked against the exact answers."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from matstream.shared.arrays import real_numbers
from matstream.shared.encodings import EncodingError
from matstream.shared.errors import UserError
from matstream.shared.operation import Shape
from matstream.shared.scoring import score
from matstream.shared.wire import flat
from matstream.trainer.model.inference import Solver, solver_of
from matstream.trainer.model.transformer import build, device
from matstream.trainer.recipes.reading import differences
from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.runs import checkpoints
from matstream.trainer.runs.folder import CONFIG, MODEL, RECIPE
from matstream.trainer.runs.kept_recipe import recipe_of
from matstream.trainer.tokens.magnitudes import of_inputs

BATCH = 1_000  # matrices predicted at a time


class Checked(NamedTuple):
    """Predictions (B, p, q), the exact answers (B, p, q), and the error of each prediction (B,)."""

    predictions: NDArray[np.float64]
    exact: NDArray[np.float64]
    errors: NDArray[np.float64]


@dataclass(frozen=True)
class Pretrained:
    """A trained model, with the recipe of its training."""

    recipe: Recipe
    solver: Solver

    def predict(self, matrices: ArrayLike | Tensor, operation: str | None = None) -> NDArray[np.float64]:
        """The answers to inputs (B, rows, cols), or to one (rows, cols), in the form that the operation
        reads. Each has the shape of the operation's targets, with NaN where the model wrote no number.

        `operation` is needed if the model has several that read matrices of this shape. Inputs unlike those
        it was trained on, such as zeros or larger magnitudes, get wrong answers without any sign of it.

        Raises ValueError for inputs that the model was not made for, or cannot read.
        """
        inputs = real_numbers(matrices, "matrices")
        if inputs.ndim == 2:
            one: NDArray[np.float64] = self.predict(inputs[None], operation)[0]
            return one
        if inputs.ndim != 3:
            raise ValueError(f"matrices of shape {inputs.shape}: must be (B, rows, cols) or (rows, cols)")
        number = self._task(inputs.shape[1:], operation)
        solver = self.solver
        try:
            ids = solver.read.encode(flat(inputs), np.full(len(inputs), number))
        except EncodingError:
            place = np.unravel_index(np.abs(inputs).argmax(), inputs.shape)  # that of a NaN, if there is one
            named, largest = ", ".join(map(str, place)), solver.read.encoding.largest
            raise ValueError(
                f"matrices[{named}]={inputs[place]:g}: must be of magnitude up to {largest:g}"
            ) from None
        parts = [solver.solve(ids[first : first + BATCH], number) for first in range(0, len(ids), BATCH)]
        if not parts:
            return np.empty((0, *solver.read.tasks[number].target_shape))
        return solver.write.decode(np.concatenate(parts), number)

    def check(self, matrices: ArrayLike | Tensor, operation: str | None = None) -> Checked:
        """What the model predicts, beside the exact answers, as LAPACK computes them here: `predictions` and
        `exact` (B, p, q), and `errors` (B,), the relative l1 errors that accuracy counts.

        Warns of inputs unlike those it was trained on: larger entries, or matrices that are not symmetric
        where it has seen only symmetric ones. Raises ValueError as `predict` does.
        """
        inputs = real_numbers(matrices, "matrices")
        if inputs.ndim == 2:
            inputs = inputs[None]
        predictions = self.predict(inputs, operation)
        definition = self.solver.read.tasks[self._task(inputs.shape[1:], operation)].definition
        self._warn_of_others(inputs)
        exact = definition.target(inputs).targets
        return Checked(predictions, exact, score(definition, inputs, exact, predictions).l1)

    @property
    def input_shape(self) -> Shape | None:
        """The rows and columns of all inputs that it reads, None if they vary."""
        shapes = {task.input_shape for task in self.solver.read.tasks}
        return shapes.pop() if len(shapes) == 1 else None

    @property
    def symmetric(self) -> bool:
        """Whether it reads symmetric matrices only."""
        return all(task.definition.symmetric for task in self.solver.read.tasks)

    def _warn_of_others(self, inputs: NDArray[np.float64]) -> None:
        largest, seen = np.abs(inputs).max(initial=0), of_inputs(self.recipe.stream).largest
        if largest > seen:
            warnings.warn(f"entries up to {largest:g}: it was trained on up to {seen:g}", stacklevel=3)
        if self.symmetric and not np.allclose(inputs, inputs.swapaxes(1, 2)):
            warnings.warn("matrices that are not symmetric: it was trained on symmetric ones", stacklevel=3)

    def _task(self, shape: tuple[int, ...], operation: str | None) -> int:
        tasks = self.solver.read.tasks
        operations = sorted({task.operation for task in tasks})
        if operation is not None and operation not in operations:
            raise ValueError(f"operation={operation!r}: must be one of {', '.join(operations)}")
        fitting = [
            number
            for number, task in enumerate(tasks)
            if task.input_shape == shape and operation in (None, task.operation)
        ]
        if not fitting:
            stream = self.recipe.stream.fields()
            reads = f"{stream['operation']} of dimension {stream['dim']}"
            raise ValueError(f"matrices of shape {shape}: this model reads {reads}")
        if len(fitting) > 1:
            raise ValueError(
                f"operation=None: must be one of {', '.join(tasks[n].operation for n in fitting)}"
            )
        return fitting[0]


def load(folder: str | Path) -> Pretrained:
    """The best model of a run, or an exported model, from its folder.

    Weights are read as data, but the Python files in the folder's problems/ folder are executed: load only
    folders that you trust. Raises UserError if the folder holds no model, a damaged one, or one that was made
    by another recipe.
    """
    folder = Path(folder)
    recipe = recipe_of(folder)
    if (folder / MODEL / CONFIG).is_file():
        _check_same(recipe, folder)
    return best_of(folder, recipe)


def best_of(folder: Path, recipe: Recipe) -> Pretrained:
    """The best model in a folder whose recipe this is. Raises UserError as `load` does."""
    model = build(recipe).to(device())
    checkpoints.load_best(folder, recipe, model)
    return Pretrained(recipe, solver_of(recipe, model))


def _check_same(written: Recipe, run: Path) -> None:
    """Raise UserError if a run's recipe.toml, which has no checksum, differs from the recipe in model/."""
    try:
        exported = recipe_of(run / MODEL)
    except UserError as error:
        raise UserError(f"{error}: {checkpoints.remedy(run / MODEL)}") from None
    for key, now, before in differences(written, exported, "stream", "tokens", "model"):
        raise UserError(f"{run / RECIPE}: {key}={now!r}: must be {before!r}, as in {run / MODEL}")
