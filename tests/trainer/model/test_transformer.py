import numpy as np
import pytest
import torch

from matstream.generator_service.stream import generate
from matstream.shared.wire import flat, from_batch
from matstream.trainer.model.transformer import Heads, Transformer, build
from matstream.trainer.recipes.reading import read_recipe
from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.tokens.grammar import grammar
from matstream.trainer.tokens.tokens import encode

FIXED = {"operation": "eigenvectors", "dim": 2}
MIXED = {"operation": "add,svd", "dim": "1-3", "cols": "1-2"}
SEQUENTIAL = {"input_form": "sequential", "output_form": "sequential", "output": "P10"}
BATCH = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def recipe(stream: dict, tokens: dict | None = None, near: float = 0.01, **model: object) -> Recipe:
    sizes = {"width": 32, "heads": 4, "encoder_layers": 2, "decoder_layers": 2}
    document = {
        "stream": stream,
        "tokens": tokens or {},
        "model": sizes | model,
        "training": {"samples": 1, "near": near},
    }
    return read_recipe(document, {})


def batch(made: Recipe, count: int = 12) -> BATCH:
    samples = from_batch(generate(made.stream.spec(), 0, "train", 0, count))
    encoded = encode(samples, made.stream.operation, made.input_tokens(), made.target_tokens())
    inputs, targets, tasks = map(torch.from_numpy, encoded)
    return inputs, targets, tasks


CASES = [
    pytest.param(recipe(FIXED), id="fixed"),
    pytest.param(recipe(MIXED), id="mixed"),
    pytest.param(recipe(MIXED, parallel=True), id="parallel"),
    pytest.param(recipe(FIXED, relations=True), id="relations"),
    pytest.param(recipe(FIXED, values=True), id="values"),
    pytest.param(recipe(MIXED, relations=True), id="mixed relations"),
    pytest.param(recipe(MIXED, relations=True, values=True, parallel=True), id="all"),
    pytest.param(recipe(FIXED, SEQUENTIAL), id="sequential"),
    pytest.param(recipe(MIXED, SEQUENTIAL, paper=True), id="paper"),
    pytest.param(recipe(FIXED, None, paper=True, decoder_width=16, decoder_heads=2), id="asymmetric"),
]


@pytest.fixture(params=CASES)
def made(request) -> tuple[Recipe, Transformer, BATCH]:
    return request.param, build(request.param), batch(request.param)


def states(
    model: Transformer, inputs: torch.Tensor, targets: torch.Tensor, tasks: torch.Tensor
) -> torch.Tensor:
    """What the heads see, (B, T, D)."""
    seen = []
    hook = model.decoder_norm.register_forward_hook(lambda _, __, out: seen.append(out.detach()))
    model(inputs, targets, tasks)
    hook.remove()
    return seen[0]


def test_the_cached_greedy_output_is_that_of_the_whole_model_at_every_position(made):
    _, model, (inputs, _, tasks) = made
    length = model.write.places.shape[1]
    written = model.generate(inputs, tasks, length)
    assert written.shape[:2] == (len(inputs), length)
    again = model.heads.greedy(states(model, inputs, written, tasks))
    assert torch.equal(again, written)


def test_a_prediction_does_not_see_the_targets_from_its_position_on(made):
    _, model, (inputs, targets, tasks) = made
    if model.parallel:
        none = states(model, inputs, targets.flip(1), tasks)
        torch.testing.assert_close(states(model, inputs, targets, tasks), none)
        return
    changed = targets.clone()
    changed[:, 2:] = torch.where(targets[:, 2:] >= 0, model.heads.slots[0][0] + 1, -1)
    changed[:, 2:, 1:] = targets[:, 2:, 1:]
    before, after = states(model, inputs, targets, tasks), states(model, inputs, changed, tasks)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


def test_an_answer_depends_on_every_word_of_the_input(made):
    _, model, (inputs, targets, tasks) = made
    one = inputs[:1], targets[:1], tasks[:1]
    loss = model(*one).item()
    for position, slot in (inputs[0] >= 0).nonzero().tolist():
        changed = inputs[:1].clone()
        changed[0, position, slot] += 1 if changed[0, position, slot] == 0 else -1
        assert model(changed, *one[1:]).item() != loss


def test_the_order_of_input_positions_matters():
    made = recipe(FIXED)
    model, (inputs, targets, tasks) = build(made), batch(made)
    assert model(inputs, targets, tasks).item() != model(inputs.flip(1), targets, tasks).item()


@pytest.mark.parametrize("tokens", [{}, SEQUENTIAL])
def test_what_pads_a_batch_changes_no_answer(tokens):
    mixed = recipe(MIXED, tokens)
    model, (inputs, targets, tasks) = build(mixed), batch(mixed, 40)
    read, write = mixed.input_tokens(), mixed.target_tokens()
    for task in tasks.unique().tolist():
        rows = (tasks == task).nonzero()[:3, 0]
        one = inputs[rows], targets[rows], tasks[rows]
        short = inputs[rows, : read.lengths[task]], targets[rows, : write.lengths[task]], tasks[rows]
        torch.testing.assert_close(model(*one), model(*short))


def test_the_first_loss_is_about_that_of_guessing():
    made = recipe(FIXED)
    model, (inputs, targets, tasks) = build(made), batch(made, 200)
    guessing = sum(np.log(stop - start) for start, stop in model.heads.slots)
    positions = targets.shape[0] * targets.shape[1]
    assert model(inputs, targets, tasks).item() / positions == pytest.approx(guessing, rel=0.3)


@pytest.mark.parametrize("near", [0, 0.01])
def test_near_mantissas_are_partly_right_if_the_recipe_says_so(near):
    made = recipe({"operation": "transpose", "dim": 1}, near=near)
    heads = build(made).heads
    ids = made.target_tokens().encode(flat(np.array([[[3.14]], [[3.17]], [[3.3]]])), np.zeros(3, np.int64))
    exact, close, far = (torch.from_numpy(row)[None] for row in ids)

    def loss(answered: torch.Tensor) -> float:
        with torch.no_grad():
            heads.out.weight.zero_()
            heads.out.bias.zero_()
            heads.out.bias[answered.flatten()] = 100.0
            return heads(torch.zeros(1, 1, 32), exact).item()

    if near:
        assert loss(exact) < loss(close) < loss(far)
    else:
        assert loss(exact) < 1e-6
        assert loss(close) == loss(far) == pytest.approx(100, rel=1e-3)


def test_signs_are_louder_than_digits_at_the_start():
    made = recipe(FIXED, {"input": "P1000"})
    words = build(made).read.words.weight
    signs, digits = words[slice(*made.input_tokens().signs)], words[100:1000]
    assert (signs.std() / digits.std()).item() == pytest.approx(5, rel=0.3)


def test_every_parameter_is_trained(made):
    _, model, arguments = made
    model(*arguments).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def logits(heads: Heads, x: torch.Tensor, words: torch.Tensor) -> dict[int, torch.Tensor]:
    """Each slot's logits when these words are the truth."""
    seen = {}

    def spy(h: torch.Tensor, slot: int) -> torch.Tensor:
        seen[slot] = Heads._logits(heads, h, slot)
        return seen[slot]

    heads._logits = spy
    with torch.no_grad():
        heads(x, words)
    del heads._logits
    return seen


def test_each_word_of_a_number_is_predicted_knowing_those_before_it_in_turn():
    made = recipe({"operation": "transpose", "dim": 1})
    heads = build(made).heads
    x = torch.randn(1, 1, 32, generator=torch.Generator().manual_seed(0))
    number = made.target_tokens().encode(flat(np.array([[[3.14]]])), np.zeros(1, np.int64))
    words = torch.from_numpy(number)
    before = logits(heads, x, words)
    for changed, moved in {0: {1, 2}, 2: {1}, 1: set()}.items():  # sign, exponent, mantissa
        other = words.clone()
        other[..., changed] += 1
        after = logits(heads, x, other)
        assert {slot for slot in range(3) if not torch.equal(after[slot], before[slot])} == moved


def test_the_published_model_shares_its_table_of_output_words():
    paper, own = build(recipe(FIXED, paper=True)), build(recipe(FIXED))
    assert paper.heads.out.weight is paper.write.words.weight
    assert own.heads.out.weight is not own.write.words.weight


def test_widths_and_depths_of_encoder_and_decoder_are_chosen_apart():
    model = build(recipe(FIXED, width=36, heads=12, encoder_layers=3, decoder_width=16, decoder_heads=2))
    assert (len(model.encoder), len(model.decoder)) == (3, 2)
    assert model.read.words.embedding_dim == 36
    assert model.write.words.embedding_dim == 16


def test_the_forward_pass_is_one_graph_without_breaks(made):
    _, model, arguments = made
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*arguments), model(*arguments))


@pytest.mark.parametrize("stream", [FIXED, MIXED])
@pytest.mark.parametrize(
    ("form", "parallel"), [("factored", False), ("factored", True), ("sequential", False)]
)
@pytest.mark.parametrize("output", [("P10", 3), ("P1000", 3), ("P1000", 7), ("B1999", 2), ("FP15", 3)])
def test_an_untrained_model_kept_to_the_grammar_writes_matrices_only(stream, form, parallel, output):
    name, digits = output
    tokens = {"output": name, "output_digits": digits, "output_form": form}
    made = recipe(stream, tokens, parallel=parallel)
    model, write = build(made), made.target_tokens()
    inputs, _, tasks = batch(made, 60)
    for task in tasks.unique().tolist():
        asked = inputs[tasks == task], tasks[tasks == task]
        rules = grammar(write, task, len(asked[0]), torch.device("cpu"))
        written = model.generate(*asked, write.lengths[task], rules)
        assert not np.isnan(write.decode(written.numpy(), task)).any()
