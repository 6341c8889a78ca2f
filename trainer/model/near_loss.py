"""A loss for which words of nearly the right value are partly right."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

REACH = 5.0  # deviations beyond which the normal law is taken to be zero: 6e-7 of it lies there


class Near(nn.Module):
    """The Kullback–Leibler divergence of predicted words from a normal law around the wanted word's value.

    `values` (W,) are those of the words, infinite for a word that is near no other; the law's deviation is
    `near` times the wanted value's magnitude. For each word only the K words that its law reaches are kept,
    so that memory and work grow with K, not with W.
    """

    words: Tensor  # (W, K), the words that each word's law reaches
    shares: Tensor  # (W, K), the law's probabilities of these

    def __init__(self, values: NDArray[np.float64], near: float) -> None:
        super().__init__()
        words, shares = _laws(values, near)
        self.register_buffer("words", torch.from_numpy(words), persistent=False)
        self.register_buffer("shares", torch.from_numpy(shares), persistent=False)

    def forward(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """The divergence of logits (N, W) where words (N,) are wanted, summed, in nats; -1 is ignored."""
        known = wanted >= 0
        wanted = wanted.clamp(min=0)
        predicted = F.log_softmax(logits, dim=-1).gather(1, self.words[wanted])  # (N, K)
        divergence = F.kl_div(predicted, self.shares[wanted], reduction="none").sum(dim=-1)
        return (divergence * known).sum()


def _laws(values: NDArray[np.float64], near: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The words (W, K) that each word's law reaches, padded with others, and their probabilities (W, K)."""
    finite = np.flatnonzero(np.isfinite(values))
    by_value = finite[np.argsort(values[finite], kind="stable")]
    ordered = values[by_value]
    centres = np.where(np.isfinite(values), values, ordered[-1])
    deviations = np.maximum(near * np.abs(centres), np.finfo(np.float64).tiny)
    first = np.searchsorted(ordered, centres - REACH * deviations, side="left")
    counts = np.searchsorted(ordered, centres + REACH * deviations, side="right") - first
    reached = np.arange(counts.max())
    words = by_value[np.minimum(first[:, None] + reached, len(ordered) - 1)]
    inside = reached < counts[:, None]
    distances = np.where(inside, values[words] - centres[:, None], 0) / deviations[:, None]
    shares = np.where(inside, np.exp(-np.square(distances) / 2), 0)
    shares /= shares.sum(axis=1, keepdims=True)
    never = np.flatnonzero(~np.isfinite(values))
    words[never, 0], shares[never] = never, reached == 0  # near only themselves
    return words, shares.astype(np.float32)
