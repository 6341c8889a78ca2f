"""What a step does to the weights: optimisers, learning rate, clipping, averaging."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from matstream.trainer.learning.loader import Batch
from matstream.trainer.learning.muon import Muon
from matstream.trainer.model.transformer import Transformer
from matstream.trainer.recipes.recipe import TrainingSection


class Optimiser:
    """AdamW over all weights; or Muon over the matrices of the layers and AdamW over the rest.

    Both take the same learning rate: Muon's updates are as large as AdamW's.
    """

    def __init__(self, model: Transformer, training: TrainingSection) -> None:
        self._training = training
        self._weights = list(model.parameters())
        linear = [m for m in [*model.encoder.modules(), *model.decoder.modules()] if isinstance(m, nn.Linear)]
        matrices = [p for module in linear for p in module.parameters() if p.ndim == 2]
        by_muon = matrices if training.optimizer == "muon" else []
        taken = {id(p) for p in by_muon}
        decay = training.weight_decay
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [p for p in self._weights if id(p) not in taken],
                betas=(0.9, training.beta2),
                weight_decay=decay,
                fused=True,
            )
        ]
        self._settle_on_device()
        if by_muon:
            iterated = torch.bfloat16 if training.precision == "bf16" else torch.float32
            self._parts.append(Muon(by_muon, weight_decay=decay, iterated=iterated))

    def step(self, rate: float | Tensor) -> Tensor:
        """Move the weights along their clipped gradients, and clear these. Returns their norm before, ()."""
        norm = nn.utils.clip_grad_norm_(self._weights, self._training.gradient_clip)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad(set_to_none=True)
        return norm

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)
        self._settle_on_device()

    def _settle_on_device(self) -> None:
        """Let AdamW count its steps on the GPU if the weights are there, wherever a checkpoint was made."""
        for group in self._parts[0].param_groups:
            group["capturable"] = self._weights[0].is_cuda


def backward(model: Callable[..., Tensor], training: TrainingSection, batch: Batch) -> Tensor:
    """Add a batch's gradients, computed in `training.accumulate` parts; returns the batch's mean loss, ().

    The loss of all words of a position is summed, and averaged over the positions of the batch's answers.
    """
    positions = (batch.targets >= 0).any(dim=-1).sum()
    total = torch.zeros((), device=batch.inputs.device)
    count = min(training.accumulate, len(batch.inputs))
    for part in map(Batch._make, zip(*(ids.tensor_split(count) for ids in batch), strict=True)):
        with torch.autocast(part.inputs.device.type, torch.bfloat16, enabled=training.precision == "bf16"):
            loss = model(*part) / positions
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total


def learning_rate(training: TrainingSection, samples: int) -> float:
    """The rate of the step that begins after `samples`: it rises linearly, then follows the schedule."""
    if samples < training.warmup:
        rising = (samples + training.batch_size) / (training.warmup + training.batch_size)
        return training.learning_rate * rising
    lowest = training.final_learning_rate
    length = training.period or max(1, training.samples - training.warmup)
    share = min(1.0, (samples - training.warmup) / length)
    height = {"constant": 1.0, "linear": 1 - share, "cosine": (1 + math.cos(math.pi * share)) / 2}[
        training.schedule
    ]
    return training.learning_rate * (lowest + (1 - lowest) * height)


class Average:
    """A model whose weights are the exponential average of another's, over samples seen.

    Its half-life is `half_life` samples, or a tenth of those seen while that is shorter, since what was
    learned first is soon out of date.
    """

    def __init__(self, model: Transformer, half_life: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._half_life = half_life

    def share(self, samples: int, seen: int) -> float:
        """The share of the weights after a step of `samples` samples, when `seen` have been seen in all."""
        share: float = 1 - 0.5 ** (samples / min(self._half_life, seen / 10))
        return share

    def update(self, model: Transformer, share: float | Tensor) -> None:
        """Take in a share of the weights of a model."""
        for average, weight in zip(self.model.parameters(), model.parameters(), strict=True):
            average.lerp_(weight.detach(), share)
