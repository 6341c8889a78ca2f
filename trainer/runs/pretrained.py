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
from matstream.trainer.runs.shipped import folder_of
from matstream.trainer.tokens.magnitudes import seen_in

BATCH = 1_000  # matrices predicted at a time
MUCH = 1_000  # so many times smaller than the smallest entry seen, an entry is warned of


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

        `operation` is needed if the model has several that read matrices of this shape.

        Inputs unlike those that it was trained on get wrong answers. It warns of the first entry that is
        larger in magnitude than its streams', the first that is less than a thousandth of the smallest
        magnitude expected in its training (0 included, unless its streams draw zeros), and the first that
        makes a matrix unsymmetric, for an operation of which it has seen symmetric matrices only. Raises
        ValueError for inputs that the model was not made for, or cannot read.
        """
        return self._predict(matrices, operation)

    def check(self, matrices: ArrayLike | Tensor, operation: str | None = None) -> Checked:
        """What the model predicts, beside the exact answers, as LAPACK computes them here: `predictions` and
        `exact` (B, p, q), and `errors` (B,), the relative l1 errors that accuracy counts.

        Warns, and raises ValueError, as `predict` does.
        """
        inputs = real_numbers(matrices, "matrices")
        predictions = self._predict(inputs, operation)
        if inputs.ndim == 2:
            inputs, predictions = inputs[None], predictions[None]
        definition = self.solver.read.tasks[self._task(inputs.shape[1:], operation)].definition
        exact = definition.target(inputs).targets
        return Checked(predictions, exact, score(definition, inputs, exact, predictions).l1)

    def _predict(self, matrices: ArrayLike | Tensor, operation: str | None) -> NDArray[np.float64]:
        given = real_numbers(matrices, "matrices")
        if given.ndim not in (2, 3):
            raise ValueError(f"matrices of shape {given.shape}: must be (B, rows, cols) or (rows, cols)")
        inputs = given if given.ndim == 3 else given[None]
        number = self._task(inputs.shape[1:], operation)
        solver = self.solver
        try:
            ids = solver.read.encode(flat(inputs), np.full(len(inputs), number))
        except EncodingError:
            largest = solver.read.encoding.largest
            entry = _entry(given, int(np.abs(given).argmax()))  # that of a NaN, if there is one
            raise ValueError(f"{entry}: must be of magnitude up to {largest:g}") from None
        self._warn_of_others(given, number)
        parts = [solver.solve(ids[first : first + BATCH], number) for first in range(0, len(ids), BATCH)]
        if not parts:
            return np.empty((0, *solver.read.tasks[number].target_shape))
        found: NDArray[np.float64] = solver.write.decode(np.concatenate(parts), number)
        return found if given.ndim == 3 else found[0]

    @property
    def input_shape(self) -> Shape | None:
        """The rows and columns of all inputs that it reads, None if they vary."""
        shapes = {task.input_shape for task in self.solver.read.tasks}
        return shapes.pop() if len(shapes) == 1 else None

    @property
    def symmetric(self) -> bool:
        """Whether it reads symmetric matrices only."""
        return all(task.definition.symmetric for task in self.solver.read.tasks)

    def _warn_of_others(self, given: NDArray[np.float64], number: int) -> None:
        """Warn of entries unlike those of the model's streams, in what its caller's caller was given."""
        task, streams = self.solver.read.tasks[number], self.recipe.streams
        rows, cols = task.input_shape
        seen = seen_in(streams, task.definition, self.recipe.training.samples * rows * cols)
        sizes = np.abs(given)
        small = sizes < seen.smallest / MUCH
        small = small & (sizes > 0) if seen.zeros else small | (sizes == 0)
        trained = f"it was trained on entries of magnitude {seen.smallest:.1g} to {seen.largest:g}"
        found = [(sizes > seen.largest, trained), (small, trained)]
        if task.definition.symmetric and not any(stream.noise for stream in streams):
            square = given[..., :rows]  # without the vector that may stand beside it
            wrong = np.zeros(given.shape, dtype=np.bool_)
            wrong[..., :rows] = ~np.isclose(square, square.swapaxes(-1, -2))
            found.append((wrong, "it was trained on symmetric matrices, and this entry has another opposite"))
        for wrong, said in found:
            if wrong.any():
                warnings.warn(f"{_entry(given, int(wrong.argmax()))}: {said}", stacklevel=4)

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


def _entry(matrices: NDArray[np.float64], place: int) -> str:
    """An entry by its place in the flattened matrices, as in "matrices[0, 1, 0]=3"."""
    named = ", ".join(map(str, np.unravel_index(place, matrices.shape)))
    return f"matrices[{named}]={matrices.reshape(-1)[place]:g}"


def load(folder: str | Path) -> Pretrained:
    """The best model of a run, or an exported model, from its folder; or one that comes with matstream, by
    its name (`matstream models` lists them).

    Weights are read as data, but the Python files in the folder's problems/ folder are executed: load only
    folders that you trust. Raises UserError if the folder holds no model, a damaged one, or one that was made
    by another recipe.
    """
    folder = folder_of(folder)
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
