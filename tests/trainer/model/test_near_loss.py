import numpy as np
import pytest
import torch
from torch.nn import functional as F

from matstream.shared.encodings import by_name
from matstream.shared.spec import StreamSpec
from matstream.shared.tasks import tasks_of
from matstream.trainer.model.near_loss import Near
from matstream.trainer.tokens.tokens import Tokens


def values_of(name: str, digits: int = 3) -> np.ndarray:
    """What the words of an encoding that hold a mantissa stand for."""
    tasks = tasks_of(StreamSpec(operation="transpose", dim=1))
    return Tokens(by_name(name, digits), "factored", "target", tasks, True).mantissas[1]


def law(values: np.ndarray, word: int, near: float) -> torch.Tensor:
    """The whole of a word's law, straight from its definition."""
    deviation = max(near * abs(values[word]), 1e-200)
    with np.errstate(over="ignore"):
        return torch.softmax(-torch.from_numpy((values - values[word]) / deviation).square() / 2, dim=0)


@pytest.mark.parametrize("near", [0.001, 0.01, 0.05])
@pytest.mark.parametrize(("name", "digits"), [("P1000", 3), ("P1000", 2), ("B1999", 3), ("FP15", 3)])
def test_it_is_the_divergence_from_a_normal_law_around_the_wanted_value(name, digits, near):
    values = values_of(name, digits)
    generator = torch.Generator().manual_seed(0)
    known = np.flatnonzero(np.isfinite(values))
    words = [*known[:: max(1, len(known) // 23)], known[-1], int(np.abs(values).argmin())]
    logits = torch.randn(len(words), len(values), generator=generator)
    expected = sum(
        F.kl_div(F.log_softmax(row, dim=0).double(), law(values, word, near), reduction="sum").item()
        for row, word in zip(logits, words, strict=True)
    )
    found = Near(values, near)(logits, torch.tensor(words)).item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_model_that_predicts_the_law_itself_is_wholly_right():
    values = values_of("P1000")
    words = [101, 500, 999]
    logits = torch.stack([law(values, word, 0.01).clamp(min=1e-30).log() for word in words])
    assert Near(values, 0.01)(logits, torch.tensor(words)).item() == pytest.approx(0, abs=1e-4)


def test_where_no_other_word_is_near_it_is_the_cross_entropy():
    values = values_of("B1999")
    wanted = torch.arange(len(values))
    logits = torch.randn(len(wanted), len(values), generator=torch.Generator().manual_seed(0))
    near = Near(values, 1e-6)
    assert near.words.shape[1] == 1
    torch.testing.assert_close(near(logits, wanted), F.cross_entropy(logits, wanted, reduction="sum"))


def test_words_that_are_never_written_are_near_none():
    values = values_of("P1000")  # word 100 is "99", which is written as 990
    near = Near(values, 0.01)
    assert near.words[101][near.shares[101] > 0].min() == 101


def test_positions_without_a_word_count_for_nothing():
    values = values_of("P1000")
    logits = torch.randn(3, len(values), generator=torch.Generator().manual_seed(0), requires_grad=True)
    near = Near(values, 0.01)
    loss = near(logits, torch.tensor([-1, 314, -1]))
    torch.testing.assert_close(loss, near(logits[1:2], torch.tensor([314])))
    loss.backward()
    assert logits.grad[[0, 2]].abs().max() == 0 < logits.grad[1].abs().max()
