"""Trained models: loaded from a folder, asked for predictions, checked against the exact answers."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from matstream.shared.arrays import real_numbers
from matstream.shared.encodings import EncodingError
from matstream.shared.errors import UserError
from matstream.shared.operation import Shape
from matstream.shared.scoring import distances, score
from matstream.shared.wire import flat
from matstream.trainer.model.inference import Solver, solver_of
from matstream.trainer.model.transformer import build, device
from matstream.trainer.recipes.reading import differences
from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.runs import checkpoints, checksums
from matstream.trainer.runs.folder import CONFIG, MODEL, RECIPE
from matstream.trainer.runs.kept_recipe import recipe_of
from matstream.trainer.runs.shipped import folder_of
from matstream.trainer.tokens.magnitudes import seen_in

BATCH = 1_000  # matrices predicted at a time
MANY = 8  # shapes that a message lists
MUCH = 1_000  # so many times smaller than the smallest entry seen, an entry is warned of


class Checked(NamedTuple):
    """Predictions (B, p, q), the exact answers (B, p, q), and the error of each prediction (B,).

    Where an input has no answer, `exact` and the error are NaN. The error is infinite where a prediction is
    no matrix of numbers, or is not 0 though the answer is.
    """

    predictions: NDArray[np.float64]
    exact: NDArray[np.float64]
    errors: NDArray[np.float64]


@dataclass(frozen=True)
class Pretrained:
    """A trained model, with the recipe of its training."""

    recipe: Recipe
    solver: Solver
    # where the largest entry of an input must lie for the model to do about as well as in its test
    sizes: tuple[float, float] | None = None

    def predict(self, matrices: ArrayLike | Tensor, operation: str | None = None) -> NDArray[np.float64]:
        """The answers to inputs (B, rows, cols), or to one (rows, cols), in the form that the operation
        reads. Each has the shape of the operation's targets, with NaN where the model wrote no number.

        `operation` is needed if the model has several that read matrices of this shape.

        Inputs unlike those that it was trained on get wrong answers. It warns of the first input that
        `unlike` finds for each reason. Raises ValueError for inputs that the model was not made for, or
        cannot read.
        """
        return self._predict(matrices, operation)

    def check(self, matrices: ArrayLike | Tensor, operation: str | None = None) -> Checked:
        """What the model predicts, beside the exact answers, as LAPACK computes them here: `predictions` and
        `exact` (B, p, q), and `errors` (B,), the relative l1 errors that accuracy counts.

        Where an input has no answer, such as a singular matrix to be inverted, or one that is not symmetric
        but must be, `exact` and the error are NaN. Warns, and raises ValueError, as `predict` does.
        """
        given = real_numbers(matrices, "matrices")
        predictions, inputs = self._predict(given, operation), _batch(given)
        predictions = predictions.reshape(len(inputs), *predictions.shape[-2:])
        if not len(inputs):
            return Checked(predictions, predictions.copy(), np.empty(0))
        task = self.solver.read.tasks[self._task(inputs.shape[1:], operation)]
        answers = task.definition.target(inputs)
        known = task.definition.accepts(answers) & np.isfinite(answers.targets).all(axis=(1, 2))
        if task.definition.symmetric:
            known &= ~_unsymmetric(inputs).any(axis=(1, 2))
        errors = distances(score(task.definition, inputs, answers.targets, predictions))
        exact = np.where(known[:, None, None], answers.targets, np.nan)
        return Checked(predictions, exact, np.where(known, errors, np.nan))

    def unlike(self, matrices: ArrayLike | Tensor, operation: str | None = None) -> NDArray[np.bool_]:
        """Which inputs (B, rows, cols), or one (rows, cols), are unlike those of the training and test, (B,).

        Those whose largest entry is smaller or larger than where the model does about as well as in its test,
        or, before it is tested, larger than its streams'; those with an entry that is less than a thousandth
        of the smallest magnitude expected in its training (0 included, unless its streams draw zeros); and
        those that are not symmetric, for an operation of which it has seen symmetric matrices only. Raises
        ValueError for inputs that the model was not made for.
        """
        inputs = _batch(real_numbers(matrices, "matrices"))
        reasons = self._reasons(inputs, self._task(inputs.shape[1:], operation))
        wrong = [part.any(axis=tuple(range(1, part.ndim))) for part, _ in reasons]
        found: NDArray[np.bool_] = np.any(wrong, axis=0)
        return found

    def _predict(self, matrices: ArrayLike | Tensor, operation: str | None) -> NDArray[np.float64]:
        given = real_numbers(matrices, "matrices")
        inputs = _batch(given)
        number = self._task(inputs.shape[1:], operation)
        solver = self.solver
        try:
            ids = solver.read.encode(flat(inputs), np.full(len(inputs), number))
        except EncodingError:
            largest = solver.read.encoding.largest
            entry = _entry(given, int(np.abs(given).argmax()))  # that of a NaN, if there is one
            raise ValueError(f"{entry}: must be a number of magnitude up to {largest:g}") from None
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
        """Warn of inputs unlike those of the model's streams, in what its caller's caller was given."""
        for wrong, said in self._reasons(_batch(given), number):
            if wrong.any():
                place = int(wrong.argmax())
                which = _entry(given, place) if wrong.ndim == 3 else _input(given, place)
                warnings.warn(f"{which}: {said}", stacklevel=4)

    def _reasons(self, inputs: NDArray[np.float64], number: int) -> Iterator[tuple[NDArray[np.bool_], str]]:
        """Each way in which inputs (B, rows, cols) of a task may be unlike those of the training: which are,
        as (B,) or entry by entry (B, rows, cols), and what is said of it."""
        task, streams = self.solver.read.tasks[number], self.recipe.streams
        rows, cols = task.input_shape
        seen = seen_in(streams, task.definition, self.recipe.training.samples * rows * cols)
        sizes = np.abs(inputs)
        small = sizes < seen.smallest / MUCH
        small = small & (sizes > 0) if seen.zeros else small | (sizes == 0)
        trained = f"it was trained on entries of magnitude {seen.smallest:.1g} to {seen.largest:g}"
        if self.sizes is None:
            yield sizes > seen.largest, trained
        else:
            low, high = self.sizes
            largest = sizes.max(axis=(1, 2), initial=0)
            wrong = (largest > high) | ((largest < low) & (largest > 0))
            yield (
                wrong,
                f"the model does well where the largest is of magnitude {low:.3g} to {high:.3g}",
            )
        yield small, trained
        if task.definition.symmetric and not any(stream.noise for stream in streams):
            said = "it was trained on symmetric matrices, and this entry has another opposite"
            yield _unsymmetric(inputs), said

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
            shapes = sorted({task.input_shape for task in tasks if operation in (None, task.operation)})
            reads = ", ".join(map(str, shapes[:MANY])) + (", …" if len(shapes) > MANY else "")
            beside = any(len(task.definition.operands(task.m, task.n)) > 1 for task in tasks)
            how = ", the matrices of a problem side by side" if beside else ""
            raise ValueError(f"matrices of shape {shape}: this model reads inputs of shape {reads}{how}")
        if len(fitting) > 1:
            raise ValueError(
                f"operation=None: must be one of {', '.join(tasks[n].operation for n in fitting)}"
            )
        return fitting[0]


def _batch(given: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inputs (B, rows, cols), or one (rows, cols), as (B, rows, cols). Raises ValueError for other shapes."""
    if given.ndim not in (2, 3):
        raise ValueError(f"matrices of shape {given.shape}: must be (B, rows, cols) or (rows, cols)")
    return given if given.ndim == 3 else given[None]


def _entry(matrices: NDArray[np.float64], place: int) -> str:
    """An entry by its place in the flattened matrices, as in "matrices[0, 1, 0]=3"."""
    named = ", ".join(map(str, np.unravel_index(place, matrices.shape)))
    return f"matrices[{named}]={matrices.reshape(-1)[place]:g}"


def _input(matrices: NDArray[np.float64], number: int) -> str:
    """An input by its number among matrices, with its largest entry."""
    if matrices.ndim == 2:
        return f"matrices with a largest entry of {np.abs(matrices).max():g}"
    return f"matrices[{number}] with a largest entry of {np.abs(matrices[number]).max():g}"


def _unsymmetric(inputs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The entries (B, n, w) whose opposite differs, in the square matrices (B, n, n) that inputs begin with;
    a vector may stand beside them."""
    rows = inputs.shape[1]
    square = inputs[..., :rows]
    wrong = np.zeros(inputs.shape, dtype=np.bool_)
    wrong[..., :rows] = ~np.isclose(square, square.swapaxes(-1, -2))
    return wrong


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
    return replace(best_of(folder, recipe), sizes=_sizes(folder))


def best_of(folder: Path, recipe: Recipe) -> Pretrained:
    """The best model in a folder whose recipe this is, before its test. Raises UserError as `load` does."""
    model = build(recipe).to(device())
    checkpoints.load_best(folder, recipe, model)
    return Pretrained(recipe, solver_of(recipe, model))


def _sizes(folder: Path) -> tuple[float, float] | None:
    """Where the model of a run, or an exported model, was found to do well; None if it is not yet tested."""
    config = next((path for path in (folder / MODEL / CONFIG, folder / CONFIG) if path.is_file()), None)
    if config is None:
        return None
    found = json.loads(checksums.read(config)).get("result", {}).get("largest_entry")
    return None if found is None else (found[0], found[1])


def _check_same(written: Recipe, run: Path) -> None:
    """Raise UserError if a run's recipe.toml, which has no checksum, differs from the recipe in model/."""
    try:
        exported = recipe_of(run / MODEL)
    except UserError as error:
        raise UserError(f"{error}: {checkpoints.remedy(run / MODEL)}") from None
    for key, now, before in differences(written, exported, "stream", "tokens", "model"):
        raise UserError(f"{run / RECIPE}: {key}={now!r}: must be {before!r}, as in {run / MODEL}")
