import pytest
import torch

from matstream.trainer.learning.muon import Muon, orthogonal


def with_singular_values(shape: tuple[int, int], sigma: torch.Tensor) -> torch.Tensor:
    """A matrix of random singular vectors."""
    generator = torch.Generator().manual_seed(0)
    u, v = (
        torch.linalg.qr(torch.randn(side, len(sigma), generator=generator, dtype=torch.float64))[0]
        for side in shape
    )
    return u * sigma @ v.mT


@pytest.mark.parametrize("shape", [(24, 24), (64, 16), (16, 64)])
@pytest.mark.parametrize("condition", [1, 1e2, 1e5])
def test_singular_values_are_those_of_the_iterated_quintic_and_their_vectors_stay(shape, condition):
    sigma = torch.logspace(0, -torch.tensor(condition).log10().item(), min(shape), dtype=torch.float64)
    matrix = with_singular_values(shape, sigma)
    wanted = sigma / sigma.norm()
    for _ in range(5):
        wanted = 3.4445 * wanted - 4.7750 * wanted**3 + 2.0315 * wanted**5
    expected = with_singular_values(shape, wanted)
    torch.testing.assert_close(orthogonal(matrix[None].float())[0].double(), expected, rtol=0, atol=5e-4)


@pytest.mark.parametrize("shape", [(128, 128), (512, 128)])
@pytest.mark.parametrize("rank", [1, 5, 128])
@pytest.mark.parametrize("iterated", [torch.float32, torch.bfloat16])
def test_no_singular_value_grows_beyond_those_of_the_quintic_whatever_the_rank(shape, rank, iterated):
    matrix = with_singular_values(shape, 1.0 / torch.arange(1, rank + 1, dtype=torch.float64) ** 2)
    found = torch.linalg.svdvals(orthogonal(matrix[None].float(), iterated)[0])
    assert found.max() < 1.3
    assert (found > 0.6).sum() >= min(rank, 20)


def test_matrices_are_treated_one_by_one():
    batch = torch.randn(5, 12, 8, generator=torch.Generator().manual_seed(0))
    for matrix, alone in zip(orthogonal(batch), batch, strict=True):
        torch.testing.assert_close(matrix, orthogonal(alone[None])[0])


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8, 1e8])
def test_gradients_of_any_size_give_finite_updates(size):
    updated = orthogonal(size * torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0)))
    assert updated.isfinite().all()
    assert (updated.norm() > 1) == (size >= 1e-8)


@pytest.mark.parametrize("iterated", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_moves_weights_as_pytorchs_own_does_up_to_its_rounding(decay, iterated):
    generator = torch.Generator().manual_seed(0)
    shapes = [(16, 16), (32, 16), (16, 32), (32, 16)]
    starts = [torch.randn(shape, generator=generator) for shape in shapes]
    mine, theirs = ([torch.nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    own = Muon(mine, weight_decay=decay, iterated=iterated)
    reference = torch.optim.Muon(theirs, lr=0.01, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        for a, b in zip(mine, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        own.param_groups[0]["lr"] = 0.01
        own.step()
        reference.step()
    for a, b, start in zip(mine, theirs, starts, strict=True):
        assert (a - b).norm() < 0.03 * (b - start).norm()  # bfloat16
