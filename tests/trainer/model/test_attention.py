import numpy as np
import pytest
import torch

from matstream.trainer.model.attention import Attention, relation_count, relations_between


def places(*rows: tuple[int, int, int]) -> torch.Tensor:
    return torch.tensor([rows])


def grid(n: int, block: int = 1) -> torch.Tensor:
    row, col = np.divmod(np.arange(n * n), n)
    return torch.from_numpy(np.stack([np.full(n * n, block), row, col], axis=1)[None])


@pytest.mark.parametrize(
    "other",
    [
        (2, 0, 1),
        (1, 0, 3),
        (1, 4, 1),
        (1, 1, 4),
        (1, 3, 0),
        (1, 3, 3),
        (1, 0, 1),
        (1, 3, 4),
        (1, 1, 0),
        (0, 3, 4),
    ],
)
def test_each_way_in_which_two_entries_lie_to_each_other_is_a_relation_of_its_own(other):
    ways = [(2, 0, 1), (1, 0, 3), (1, 4, 1), (1, 1, 4), (1, 3, 0), (1, 3, 3), (1, 0, 1), (1, 3, 4), (1, 1, 0)]
    found = relations_between(places((1, 0, 1)), places(*ways, (0, 3, 4), other))[0, 0].tolist()
    assert found.count(found[-1]) == 2


def test_relations_are_the_same_in_matrices_of_all_sizes_and_wherever_rows_and_columns_lie():
    small, large = (relations_between(grid(n), grid(n))[0] for n in (3, 5))
    assert torch.equal(small.view(3, 3, 3, 3), large.view(5, 5, 5, 5)[:3, :3, :3, :3])
    order = torch.tensor([2, 0, 1])  # of rows and columns alike
    moved = small.view(3, 3, 3, 3)[order][:, order][:, :, order][:, :, :, order]
    assert torch.equal(moved, small.view(3, 3, 3, 3))


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_their_number_is_no_more_than_is_said_and_does_not_change_with_further_blocks(blocks):
    every = torch.cat([grid(4, block) for block in range(blocks)], dim=1)
    found = relations_between(every, every)
    assert 0 <= found.min() <= found.max() < relation_count(blocks)
    fewer = relations_between(every[:, :16], every[:, :16])
    assert torch.equal(found[:, :16, :16], fewer)


@pytest.mark.parametrize(("causal", "masked"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_attention_without_biases_and_with_biases_of_zero_is_the_same(causal, masked, precision):
    torch.manual_seed(0)
    plain, biased = Attention(32, 4, 32), Attention(32, 4, 32, relation_count(2))
    with torch.no_grad():
        biased.load_state_dict(plain.state_dict() | {"related.weight": torch.zeros(relation_count(2), 4)})
    x = torch.randn(5, 9, 32)
    mask = (torch.arange(9) < 6)[None, None, None] if masked else None
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        one = plain(x, plain.keys_values(x), mask, causal=causal)
        other = biased(x, biased.keys_values(x), mask, relations_between(grid(3), grid(3)), causal=causal)
    tolerance = 1e-5 if precision == torch.float32 else 0.03
    torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


def test_a_head_attends_where_its_bias_is_and_each_relation_has_its_own():
    attention, relations = Attention(8, 2, 8, relation_count(2)), relations_between(grid(3), grid(3))
    mirrored = relations[0, 1, 3]
    with torch.no_grad():
        attention.query.weight.zero_()
        attention.related.weight.zero_()
        attention.related.weight[mirrored] = 50.0
        attention.out.weight.copy_(torch.eye(8))
        attention.out.bias.zero_()
    x = torch.randn(1, 9, 8)
    _, values = attention.keys_values(x)
    seen = attention(x, attention.keys_values(x), None, relations)
    torch.testing.assert_close(seen[0, 1], values[0, :, 3].flatten())
    torch.testing.assert_close(seen[0, 3], values[0, :, 1].flatten())
