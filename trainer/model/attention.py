"""Multi-head attention, and what it knows of how two entries of matrices lie to each other.

B: batch, L: positions that are attended to, T: positions that attend, D: width, H: heads, K: tasks.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KeysValues = tuple[Tensor, Tensor]  # each (B, H, L, D/H)


class Attention(nn.Module):
    """Multi-head attention of vectors of one width to those of another.

    With a number of `relations`, each head adds to its scores a bias for each relation, which is learned.
    """

    def __init__(self, width: int, heads: int, memory_width: int, relations: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(memory_width, 2 * width)
        self.out = nn.Linear(width, width)
        self.related = nn.Embedding(relations, heads) if relations else None

    def forward(
        self,
        x: Tensor,
        keys_values: KeysValues,
        mask: Tensor | None = None,
        relations: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """x (B, T, D) attends to keys and values where `mask` allows, in `relations` (B or 1, T, L) to them
        -> (B, T, D)."""
        query = self._split(self.query(x))
        if self.related is None:
            attended = _attend(query, *keys_values, mask, causal)
        else:
            assert relations is not None
            biases = self.related(relations).permute(0, 3, 1, 2)  # (B or 1, H, T, L)
            attended = _attend_biased(query, *keys_values, biases, mask, causal)
        return self.out(attended.transpose(1, 2).flatten(2))

    def keys_values(self, memory: Tensor) -> KeysValues:
        keys, values = self.key_value(memory).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def cache(self, batch: int, length: int, like: Tensor) -> KeysValues:
        """Room for the keys and values of `length` positions."""
        shape = (batch, self.heads, length, self.query.out_features // self.heads)
        return like.new_empty(shape), like.new_empty(shape)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)  # (B, L, D) -> (B, H, L, D/H)


def _attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, is_causal=causal)
    # in float32: in bfloat16 its gradient takes ten times as long (docs/LOG.md)
    query, keys, values = query.float(), keys.float(), values.float()
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, is_causal=causal)


def _attend_biased(
    query: Tensor, keys: Tensor, values: Tensor, biases: Tensor, mask: Tensor | None, causal: bool
) -> Tensor:
    """The same with biases; written out, since where they are learned torch's takes twice as long."""
    scores = query * query.shape[-1] ** -0.5 @ keys.mT
    scores = scores + biases.to(scores.dtype)
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    with torch.autocast(scores.device.type, enabled=False):  # it would make a copy in float32
        return scores.softmax(dim=-1) @ values


def relations_between(queries: Tensor, keys: Tensor) -> Tensor:
    """The relation of each place (K, T, 3) of `queries` to each place (K, L, 3) of `keys`, (K, T, L).

    A place is (block, row, column). The relation says in which blocks the two are, whether they have their
    row in common, their column, or the row of one and the column of the other, and whether the key is on the
    diagonal. It is the same in matrices of all sizes: what is learned of small ones holds for large ones.
    """
    (block, row, col), (its_block, its_row, its_col) = (
        queries[:, :, None].unbind(-1),
        keys[:, None].unbind(-1),
    )
    # a number for each two blocks, the same however many blocks there are (Szudzik's pairing)
    found = torch.where(block < its_block, its_block**2 + block, block**2 + block + its_block)
    for alike in (row == its_row, col == its_col, row == its_col, col == its_row, its_row == its_col):
        found = 2 * found + alike
    return found


def relation_count(blocks: int) -> int:
    """How many relations there are between places in so many blocks."""
    return blocks**2 * 2**5
