import pytest
import torch

from trainer.model import Sequences, Transformer

SEQUENCES = Sequences(input_length=5, input_alphabets=(7, 11), target_length=4, target_alphabets=(5, 9))


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(SEQUENCES, width=32, heads=4, encoder_layers=2, decoder_layers=2)


def _ids(alphabets: tuple[int, ...], batch: int, length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    slots = [torch.randint(0, size, (batch, length), generator=generator) for size in alphabets]
    return torch.stack(slots, dim=-1)


def _logits(model: Transformer, inputs: torch.Tensor, targets: torch.Tensor) -> list[torch.Tensor]:
    """Each head's logits (B, T, size), as the loss sees them."""
    seen = []
    hooks = [head.register_forward_hook(lambda _, __, out: seen.append(out)) for head in model.heads]
    model(inputs, targets)
    for hook in hooks:
        hook.remove()
    return seen


def test_the_cached_greedy_output_is_that_of_the_whole_model_at_every_position(model):
    inputs = _ids(SEQUENCES.input_alphabets, 6, 5)
    words = model.generate(inputs)
    for slot, logits in enumerate(_logits(model, inputs, words)):
        assert torch.equal(logits.argmax(-1), words[..., slot])


def test_a_prediction_does_not_see_the_targets_from_its_position_on(model):
    inputs, targets = _ids(SEQUENCES.input_alphabets, 3, 5), _ids(SEQUENCES.target_alphabets, 3, 4)
    changed = targets.clone()
    changed[:, 2:] = (changed[:, 2:] + 1) % torch.tensor(SEQUENCES.target_alphabets)
    for before, after in zip(_logits(model, inputs, targets), _logits(model, inputs, changed), strict=True):
        torch.testing.assert_close(before[:, :3], after[:, :3])
        assert not torch.allclose(before[:, 3], after[:, 3])


def test_an_output_depends_on_every_word_of_the_input(model):
    inputs, targets = _ids(SEQUENCES.input_alphabets, 1, 5), _ids(SEQUENCES.target_alphabets, 1, 4)
    loss = model(inputs, targets).item()
    for position in range(5):
        for slot, size in enumerate(SEQUENCES.input_alphabets):
            changed = inputs.clone()
            changed[0, position, slot] = (changed[0, position, slot] + 1) % size
            assert model(changed, targets).item() != loss


def test_the_order_of_input_positions_matters(model):
    inputs, targets = _ids(SEQUENCES.input_alphabets, 1, 5), _ids(SEQUENCES.target_alphabets, 1, 4)
    assert model(inputs, targets).item() != model(inputs.flip(1), targets).item()


def test_the_first_loss_is_that_of_guessing(model):
    inputs, targets = _ids(SEQUENCES.input_alphabets, 64, 5), _ids(SEQUENCES.target_alphabets, 64, 4)
    guessing = sum(torch.log(torch.tensor(float(size))) for size in SEQUENCES.target_alphabets)
    assert model(inputs, targets).item() == pytest.approx(guessing.item(), rel=0.3)


def test_every_parameter_is_trained(model):
    model(_ids(SEQUENCES.input_alphabets, 8, 5), _ids(SEQUENCES.target_alphabets, 8, 4)).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
