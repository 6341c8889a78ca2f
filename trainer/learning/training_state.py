"""All that training changes: weights, optimiser, average of weights, and how far it has come."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlencode

import torch
from torch import Tensor

from matstream.shared.errors import UserError
from matstream.trainer.learning.graphs import Graphs
from matstream.trainer.learning.loader import Batch
from matstream.trainer.learning.optimiser import Average, Optimiser, backward, learning_rate
from matstream.trainer.model.inference import Solver, solver_of
from matstream.trainer.model.transformer import build, device
from matstream.trainer.runs import checkpoints
from matstream.trainer.runs.folder import CHECKPOINTS
from matstream.trainer.runs.initial_weights import start_from
from matstream.trainer.runs.run import Run

DIVERGED = 5.0  # times the loss of guessing


class TrainingError(UserError):
    """A loss that is not finite or diverges, or a batch that does not fit into memory."""


@dataclass
class Position:
    """How far a run has come; saved with every checkpoint."""

    samples: int = 0
    validated: int = 0  # the samples after which it was last scored
    best: float = -1.0  # accuracy on the validation samples, of all so far
    seconds: float = 0.0  # of training, without validation and checkpoints
    waited: float = 0.0  # of these, waiting for samples
    loss_sum: float = 0.0  # since the last loss in metrics.jsonl
    loss_steps: int = 0
    # of all samples seen, each with the first sample that had it
    fingerprints: dict[str, int] = field(default_factory=dict)


class State:
    """A run's model in training, from its last checkpoint if it has one."""

    def __init__(self, run: Run) -> None:
        self.recipe = run.recipe
        training = run.recipe.training
        self.position = Position()
        self.model = build(self.recipe).to(device())
        self._forward = torch.compile(self.model) if training.compile else self.model
        self._optimiser = Optimiser(self.model, training)
        self._folder = run.folder / CHECKPOINTS
        # the loss of a model that finds all words of a position equally likely
        self._guessing = sum(math.log(stop - start) for start, stop in self.recipe.target_tokens().slots)
        self._recent: list[tuple[int, int, Tensor]] = []  # steps whose loss has not been looked at
        newest = checkpoints.latest(self._folder)
        if newest is not None:
            state = checkpoints.load(newest, self.model)
        elif training.start_from is not None:
            start_from(training.start_from, self.recipe, self.model)
        self._average = Average(self.model, training.average) if training.average else None
        self._learn = Graphs(self._learned) if device().type == "cuda" else self._learned
        if newest is not None:
            with checkpoints.fitting(newest):
                if state["position"].keys() != vars(self.position).keys():
                    raise ValueError(state["position"])
                self._optimiser.load_state_dict(state["optimiser"])
                self.position = Position(**state["position"])
                if self._average is not None:
                    self._average.model.load_state_dict(state["average"])
            if not checkpoints.forget_after(self._folder, self.position.samples):
                self.position.best = -1.0
                if self.position.validated == training.samples:  # else no best weights would be saved again
                    self.position.validated -= 1

    def solver(self) -> Solver:
        """The model as it is scored: the average of the weights if there is one."""
        model = self.model if self._average is None else self._average.model
        return solver_of(self.recipe, model)

    def step(self, batch: Batch) -> None:
        """Learn from the next samples of the stream."""
        training, position, size = self.recipe.training, self.position, len(batch.inputs)
        self.model.train()
        rate = learning_rate(training, position.samples)
        share = 0.0 if self._average is None else self._average.share(size, position.samples + size)
        try:
            figures = self._learn(batch, rate, share)
        except RuntimeError as error:
            full = (error, error.__context__)  # that of a graph is followed by one of the graph's end
            if any(isinstance(e, torch.OutOfMemoryError) for e in full) or "can't allocate" in str(error):
                raise TrainingError(
                    f"training.batch_size={training.batch_size} in training.accumulate={training.accumulate} "
                    "parts: one part does not fit into memory; take more parts, in another run"
                ) from error
            raise
        self._recent.append((position.samples, size, figures))
        position.samples += size

    def _learned(self, batch: Batch, rate: float | Tensor, share: float | Tensor) -> Tensor:
        """Learn from a batch at a rate, and take a share of the weights into their average. Returns the
        batch's loss and the norm of its gradients, (2,)."""
        loss = backward(self._forward, self.recipe.training, batch)
        norm = self._optimiser.step(rate)
        if self._average is not None:
            self._average.update(self.model, share)
        return torch.stack([loss, norm])

    def settle(self) -> None:
        """Look at the losses of the last steps: on a GPU, wait for them.

        Raises TrainingError, naming the samples and how to repeat it, if one was not finite or diverged.
        """
        recent, self._recent = self._recent, []
        if not recent:
            return
        position = self.position
        measured = torch.stack([values for _, _, values in recent]).tolist()
        for (start, size, _), (loss, norm) in zip(recent, measured, strict=True):
            if not (math.isfinite(norm) and loss < DIVERGED * self._guessing):
                raise TrainingError(self._how_to_repeat(start, size, loss, norm))
            position.loss_sum += loss
            position.loss_steps += 1

    def save(self) -> None:
        """Write a checkpoint. Raises TrainingError, and writes none, if the loss has gone wrong."""
        self.settle()
        state: dict[str, Any] = {
            "optimiser": self._optimiser.state_dict(),
            "position": asdict(self.position),
        }
        if self._average is not None:
            state["average"] = self._average.model.state_dict()
        keep = self.recipe.training.checkpoints
        checkpoints.save(self._folder, self.position.samples, self.model, state, keep)

    def save_if_best(self, accuracy: float) -> None:
        """Save the weights as the best ones if they score as well as any before them."""
        if accuracy >= self.position.best:
            self.position.best = accuracy
            checkpoints.save_best(self._folder, self.position.samples, self.solver().model)

    def _how_to_repeat(self, start: int, size: int, loss: float, norm: float) -> str:
        stream = next(segment.stream for segment in self.recipe.segments() if start < segment.stop)
        query = {
            **stream.spec().fields(),
            "seed": stream.seed,
            "split": "train",
            "start": start,
            "count": size,
        }
        newest = checkpoints.latest(self._folder)
        repeat = (
            "starting again" if newest is None else f"--resume, from the checkpoint at {int(newest.name):,},"
        )
        return (
            f"the loss is {loss:g} and its gradient {norm:g} at samples [{start}, {start + size}), where "
            f"guessing costs {self._guessing:.3g}: {repeat} repeats it; the samples are "
            f"/v1/stream?{urlencode(query)}; a lower training.learning_rate in another run may avoid it"
        )
