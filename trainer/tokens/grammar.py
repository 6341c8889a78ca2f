"""Constrained decoding: at each position only the words (tokens) that the grammar of an answer allows."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matstream.trainer.tokens.tokens import Tokens


class Grammar(Protocol):
    """Follows B answers while they are written, position by position."""

    def constrain(self, logits: Tensor, slot: int, chosen: Mapping[int, Tensor]) -> Tensor:
        """Logits (B, 1, words of the slot), -inf where a word is not allowed after those `chosen` in other
        slots, each (B, 1)."""
        ...

    def advance(self, words: Tensor) -> None:
        """Take note of the words (B, 1, slots) of a position."""
        ...


def grammar(tokens: Tokens, task: int, batch: int, device: torch.device) -> Grammar:
    """The grammar of answers of one task."""
    return _Factored(tokens) if tokens.form == "factored" else _Sequential(tokens, task, batch, device)


class _Factored:
    """Every slot has words of its own, so that only an empty word can be out of place: after a number's first
    digits, or in the slot of its last ones."""

    def __init__(self, tokens: Tokens) -> None:
        empty = tokens.encoding.empty
        self._empty = [] if empty is None else (empty + tokens.offsets).tolist()  # ids, by slot
        self._starts = [start for start, _ in tokens.slots]

    def constrain(self, logits: Tensor, slot: int, chosen: Mapping[int, Tensor]) -> Tensor:
        last_digit = len(self._empty) - 2
        if not 1 <= slot <= last_digit or (slot == 1 and slot < last_digit):
            return logits
        words = torch.arange(logits.shape[-1], device=logits.device) + self._starts[slot]
        wrong = words == self._empty[slot]
        if slot < last_digit:
            wrong = wrong & (chosen[slot - 1] != self._empty[slot - 1])[..., None]
        return logits.masked_fill(wrong, -torch.inf)

    def advance(self, words: Tensor) -> None: ...


class _Sequential:
    """An answer consists of its header, as many numbers as the matrix has entries, and the mark; a number
    consists of a first word, digits, and a last word."""

    def __init__(self, tokens: Tokens, task: int, batch: int, device: torch.device) -> None:
        header = tokens.header(task)
        self._begin, self._end = len(header), len(header) + tokens.encoding.words_per_number
        self._last = tokens.encoding.slots[-1]
        self._fixed = tokens.encoding.empty is None
        self._allowed = torch.from_numpy(_phases(tokens, header)).to(device)  # (phases, ids)
        self._phase = torch.zeros(batch, dtype=torch.int64, device=device)
        self._left = torch.full_like(self._phase, tokens.entries(task))  # numbers to come

    def constrain(self, logits: Tensor, slot: int, chosen: Mapping[int, Tensor]) -> Tensor:
        return logits.masked_fill(~self._allowed[self._phase, None], -torch.inf)

    def advance(self, words: Tensor) -> None:
        word, phase = words[:, 0, 0], self._phase
        in_number = (phase >= self._begin) & (phase < self._end)
        closes = in_number & (word >= self._last[0]) & (word < self._last[1])
        if self._fixed:  # every number has all its words
            closes = phase == self._end - 1
        self._left = self._left - closes.long()
        after_number = torch.where(self._left > 0, self._begin, self._end)
        self._phase = torch.where(closes, after_number, torch.clamp(phase + 1, max=self._end))


def _phases(tokens: Tokens, header: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The ids allowed in each phase of an answer: each word of its header, a number's first, second, … word,
    the mark."""
    ids = np.arange(tokens.size)
    slots = [(ids >= start) & (ids < stop) for start, stop in tokens.encoding.slots]
    digits = [slot & (ids != tokens.encoding.empty) for slot in slots[1:-1]]
    if tokens.encoding.empty is None:  # every number has all its words
        return np.array([*(ids == word for word in header), *slots, ids == tokens.mark])
    number = [slots[0]]
    for written in range(1, len(slots)):
        may_go_on, may_end = written <= len(digits), written > 1 or not digits
        number.append((digits[0] * may_go_on if digits else False) | slots[-1] * may_end)
    return np.array([*(ids == word for word in header), *number, ids == tokens.mark])
