import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from trainer.recipe import TrainingSection
from trainer.train import _step, learning_rate

TRAINING = TrainingSection(samples=10_000, batch_size=100, learning_rate=1e-2, warmup=1_000)


def test_the_rate_rises_linearly_then_falls_as_a_cosine_to_its_share():
    rates = [learning_rate(TRAINING, samples) for samples in range(0, 10_001, 100)]
    rising, falling = rates[:10], rates[10:]
    steps = [after - before for before, after in pairwise(rising)]
    assert steps == pytest.approx([steps[0]] * len(steps))
    assert rising[0] > 0
    assert falling[0] == 1e-2
    assert falling == pytest.approx([1e-2 * (1 + math.cos(math.pi * i / 90)) / 2 for i in range(91)])
    ending = TRAINING.model_copy(update={"final_learning_rate": 0.1})
    assert learning_rate(ending, 10_000) == pytest.approx(1e-3)


class _Steep(nn.Module):
    """A loss with a large gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return 1000 * self.weight.sum()


@pytest.mark.parametrize("clip", [0.5, 5.0])
def test_a_step_moves_by_the_rate_times_the_clipped_gradient(clip):
    model = _Steep()
    training = TRAINING.model_copy(update={"gradient_clip": clip})
    nothing = torch.zeros(1)
    _step(model, torch.optim.SGD(model.parameters(), lr=1.0), training, 0.1, nothing, nothing)
    assert model.weight.norm().item() == pytest.approx(0.1 * clip, rel=1e-4)
