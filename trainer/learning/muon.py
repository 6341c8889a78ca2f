"""Muon: momentum whose matrices are made orthogonal (K. Jordan et al., 2024), many at a time.

PyTorch's own Muon computes in bfloat16, one matrix after another: on a processor without bfloat16 some twenty
times slower than this one in float32. On one with it, this one in bfloat16 is the fastest (docs/LOG.md).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
_COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of the quintic polynomial that moves singular values to about 1
_STEPS = 5
_TINY = 1e-7  # a norm below which a matrix is left small
_LIKE_ADAMW = 0.2  # the root mean square of an update of AdamW (arXiv 2502.16982)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal and as large as an update of AdamW, whose learning rate it can take.

    For weights that are matrices (m, n); their state is one momentum, of the same shape. It is made
    orthogonal in the precision `iterated`.
    """

    def __init__(
        self, weights: Iterable[nn.Parameter], *, weight_decay: float, iterated: torch.dtype = torch.float32
    ) -> None:
        super().__init__(list(weights), {"lr": 0.0, "weight_decay": weight_decay})
        self._iterated = iterated

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move the weights that have gradients."""
        assert closure is None
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    alike.setdefault(weight.shape, []).append(weight)
            for shape, weights in alike.items():
                momenta = torch.stack([self._momentum(weight) for weight in weights])
                updates = orthogonal(momenta, self._iterated)
                rate = group["lr"]
                torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
                torch._foreach_sub_(weights, (updates * (rate * _LIKE_ADAMW * max(shape) ** 0.5)).unbind())

    def _momentum(self, weight: Tensor) -> Tensor:
        """Update the momentum by this step's gradient, and return Nesterov's: the momentum one step ahead."""
        state: dict[str, Any] = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        gradient = weight.grad
        assert gradient is not None
        return gradient.lerp(state["momentum"].lerp_(gradient, 1 - MOMENTUM), MOMENTUM)


def orthogonal(matrices: Tensor, iterated: torch.dtype = torch.float32) -> Tensor:
    """Each matrix (B, m, n) with its singular values moved to between about 0.7 and 1.2, unless they are
    below about 2e-3 of its norm; its singular vectors stay.

    It is done by Newton–Schulz iterations X <- X·p(XᵀX). In float32 they are iterations of XᵀX, the Gram
    matrices of the smaller side, which is less work; in bfloat16 the rounding of these would grow without
    bound, so that there X itself is iterated.
    """
    if matrices.shape[1] < matrices.shape[2]:
        return orthogonal(matrices.mT, iterated).mT
    matrices = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=_TINY)
    if iterated == torch.bfloat16:
        x = matrices.bfloat16()
        for _ in range(_STEPS):
            x = x @ _factor(x.mT @ x)
        return x.to(matrices.dtype)
    gram = matrices.mT @ matrices  # (B, n, n)
    product = factor = _factor(gram)
    for _ in range(_STEPS - 1):
        gram = factor @ gram @ factor
        factor = _factor(gram)
        product = product @ factor
    return matrices @ product


def _factor(gram: Tensor) -> Tensor:
    """p(G) for Gram matrices G = XᵀX (B, n, n): the quintic multiplies X by it."""
    a, b, c = _COEFFICIENTS
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=1, dim2=2).add_(a)
    return factor
