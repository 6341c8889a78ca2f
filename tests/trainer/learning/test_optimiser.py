import copy
import math
from itertools import pairwise

import pytest
import torch

from matstream.trainer.learning.loader import Batch
from matstream.trainer.learning.optimiser import Average, Optimiser, backward, learning_rate
from matstream.trainer.model.transformer import Transformer, build
from matstream.trainer.recipes.reading import read_recipe
from matstream.trainer.recipes.recipe import Recipe, TrainingSection

TRAINING = TrainingSection(samples=10_000, batch_size=100, learning_rate=1e-2, warmup=1_000)


def rates(**changed: object) -> list[float]:
    training = TRAINING.model_copy(update=changed)
    return [learning_rate(training, samples) for samples in range(0, 10_001, 100)]


def test_the_rate_rises_linearly_then_falls_as_a_cosine_to_its_share():
    rising, falling = rates()[:10], rates()[10:]
    steps = [after - before for before, after in pairwise(rising)]
    assert steps == pytest.approx([steps[0]] * len(steps))
    assert rising[0] > 0
    assert falling[0] == 1e-2
    assert falling == pytest.approx([1e-2 * (1 + math.cos(math.pi * i / 90)) / 2 for i in range(91)])
    assert rates(final_learning_rate=0.1)[-1] == pytest.approx(1e-3)


def test_a_constant_rate_stays_and_a_linear_one_falls_evenly():
    assert set(rates(schedule="constant")[10:]) == {1e-2}
    assert rates(schedule="linear")[10:] == pytest.approx([1e-2 * (1 - i / 90) for i in range(91)])


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_rate_stays_where_it_is_at_the_end_of_a_period(schedule):
    falling = rates(schedule=schedule, period=4_500, final_learning_rate=0.5)[10:]
    assert falling[22] > 0.6e-2
    assert falling[45:] == pytest.approx([0.5e-2] * 46)


def recipe(**training: object) -> Recipe:
    document = {
        "stream": {"operation": "add", "dim": "1-2"},
        "model": {"width": 16, "heads": 2},
        "training": {"samples": 1000, **training},
    }
    return read_recipe(document, {})


def problems(made: Recipe, count: int) -> Batch:
    """Random ids of both tasks, padded where matrices are small."""
    generator = torch.Generator().manual_seed(0)
    read, write = made.input_tokens(), made.target_tokens()
    tasks = torch.arange(count) % len(read.tasks)
    sides = []
    for side in (read, write):
        slots = [torch.randint(*slot, (count, side.length, 1), generator=generator) for slot in side.slots]
        ends = torch.tensor(side.lengths)[tasks]
        sides.append(
            torch.cat(slots, dim=2).where(torch.arange(side.length)[:, None] < ends[:, None, None], -1)
        )
    return Batch(*sides, tasks)


def gradients(model: Transformer, made: Recipe, batch: Batch) -> tuple[float, list[torch.Tensor]]:
    model.zero_grad()
    loss = backward(model, made.training, batch)
    return loss.item(), [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_a_batch_learned_from_in_parts_has_the_gradients_of_the_whole(parts):
    whole, accumulated = recipe(), recipe(accumulate=parts)
    model, batch = build(whole), problems(whole, 7)
    loss, expected = gradients(model, whole, batch)
    parts_loss, found = gradients(model, accumulated, batch)
    assert parts_loss == pytest.approx(loss, rel=1e-5)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_step_is_of_the_size_of_the_rate(name):
    made = recipe(optimizer=name, weight_decay=0)
    model, batch = build(made), problems(made, 32)
    moved = {}
    for rate in (1e-4, 1e-3):
        model = build(made)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        backward(model, made.training, batch)
        Optimiser(model, made.training).step(rate)
        moved[rate] = {n: (p.detach() - before[n]).norm().item() for n, p in model.named_parameters()}
    assert all(moved[1e-3][n] == pytest.approx(10 * moved[1e-4][n], rel=0.05) for n in moved[1e-3])


def test_muon_moves_the_matrices_of_the_layers_along_orthogonal_directions():
    made = recipe(optimizer="muon", weight_decay=0)
    model = build(made)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    backward(model, made.training, problems(made, 32))
    Optimiser(model, made.training).step(1e-2)
    for name, after in model.named_parameters():
        step = after.detach() - before[name]
        if after.ndim == 2 and name.startswith(("encoder.", "decoder.")):
            sigma = torch.linalg.svdvals(step)
            assert sigma[0] < 3 * sigma[len(sigma) // 2]
        else:  # AdamW's first step moves every weight that has a gradient by the rate
            assert step.abs().max().item() == pytest.approx(1e-2, rel=1e-2)


@pytest.mark.parametrize("clip", [0.5, 5.0])
def test_gradients_are_clipped_and_their_norm_returned(clip):
    made = recipe(gradient_clip=clip)
    model = build(made)
    backward(model, made.training, problems(made, 4))
    raw = torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
    seen = []
    optimiser = Optimiser(model, made.training)
    optimiser._parts[0].register_step_pre_hook(
        lambda *_: seen.append(torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item())
    )
    assert optimiser.step(1e-3).item() == pytest.approx(raw, rel=1e-4)
    assert seen[0] == pytest.approx(min(raw, clip), rel=1e-3)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_an_optimiser_restored_takes_the_same_next_step(name):
    made = recipe(optimizer=name)
    model, batch = build(made), problems(made, 8)
    optimiser = Optimiser(model, made.training)
    for _ in range(3):
        backward(model, made.training, batch)
        optimiser.step(1e-3)
    other = build(made)
    other.load_state_dict(model.state_dict())
    restored = Optimiser(other, made.training)
    restored.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for each, by in ((model, optimiser), (other, restored)):
        backward(each, made.training, batch)
        by.step(1e-3)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_an_average_forgets_half_in_its_half_life_however_it_is_stepped():
    made = recipe()
    model = build(made)
    averages = [Average(model, half_life=100) for _ in range(2)]
    first = model.encoder[0].feed[0].weight.detach().clone()
    with torch.no_grad():
        model.encoder[0].feed[0].weight.zero_()
    averages[0].update(model, averages[0].share(100, seen=10_000))
    for _ in range(4):
        averages[1].update(model, averages[1].share(25, seen=10_000))
    for average in averages:
        torch.testing.assert_close(average.model.encoder[0].feed[0].weight, first / 2)


def test_an_average_forgets_the_first_weights_however_long_its_half_life():
    made = recipe()
    model = build(made)
    average = Average(model, half_life=1e9)
    with torch.no_grad():
        model.encoder[0].feed[0].weight.zero_()
    for seen in range(10, 10_001, 10):
        average.update(model, average.share(10, seen))
    assert average.model.encoder[0].feed[0].weight.abs().max() < 1e-9
