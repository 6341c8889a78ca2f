"""An encoder–decoder transformer from matrices to matrices, in one readable file.

B: batch, L: input positions, T: target positions, D: width, H: heads, K: tasks. A word is a token; a task is
one operation at one size. A position may hold several words, one in each slot (trainer.tokens.tokens): their
embeddings are added on input; on output the words of a number are predicted one after another, each from the
ones before it (in the published transformer, without these).
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matstream.shared.encodings import POWERS
from matstream.trainer.model.attention import Attention, KeysValues, relation_count, relations_between
from matstream.trainer.model.near_loss import Near
from matstream.trainer.recipes.recipe import ModelSection, Recipe
from matstream.trainer.tokens.grammar import Grammar
from matstream.trainer.tokens.magnitudes import of_inputs
from matstream.trainer.tokens.tokens import Tokens

LOUDNESS = 5.0  # factor of the embeddings of signs in the initial weights
BIAS = 2.0  # deviation of the initial biases of relations


class Transformer(nn.Module):
    """From input ids (B, L, slots) to target ids (B, T, slots), both -1 where there is no word."""

    opening: Tensor  # (K,), the id that stands before the first word of an answer

    def __init__(
        self, read: Tokens, write: Tokens, sizes: ModelSection, near: float = 0.0, unit: float = 1.0
    ) -> None:
        """`unit` is that in which a model with values reads numbers."""
        super().__init__()
        paper = sizes.paper
        width, heads = sizes.width, sizes.heads
        self.related = sizes.relations
        blocks = 1 + max(int(tokens.places[..., 0].max()) for tokens in (read, write))
        relations = relation_count(blocks) if self.related else 0
        self.read = Embedding(read, width, unit if sizes.values else None)
        self.encoder = nn.ModuleList(
            EncoderLayer(width, heads, paper, relations) for _ in range(sizes.encoder_layers)
        )
        self.encoder_norm = nn.Identity() if paper else nn.LayerNorm(width)
        memory_width, width, heads = width, sizes.decoder_width or width, sizes.decoder_heads or heads
        self.write = Embedding(write, width)
        self.decoder = nn.ModuleList(
            DecoderLayer(width, heads, memory_width, paper, relations) for _ in range(sizes.decoder_layers)
        )
        self.decoder_norm = nn.Identity() if paper else nn.LayerNorm(width)
        self.heads = Heads(write, width, chained=not paper, near=near)
        self.parallel = sizes.parallel
        self.padded = len(set(read.lengths)) > 1 or read.form == "sequential"
        self.register_buffer("opening", torch.from_numpy(write.opening), persistent=False)
        self.apply(_initialise_as_published if paper else _initialise)
        if paper:
            self.heads.out.weight = self.write.words.weight

    @property
    def unit(self) -> float | None:
        """That in which the values of numbers are read, None if they are not. It belongs to the weights."""
        return self.read.unit

    @unit.setter
    def unit(self, unit: float | None) -> None:
        self.read.unit = unit

    def forward(self, inputs: Tensor, targets: Tensor, tasks: Tensor) -> Tensor:
        """The loss of targets given inputs of these `tasks` (B,), in nats, summed over all words.

        It is the cross-entropy, except that mantissas near a target's may be partly right (model.near).
        """
        before = self._opened(targets, tasks).expand(-1, targets.shape[1], -1)
        if not self.parallel:
            before = torch.cat([before[:, :1], targets[:, :-1]], dim=1)
        return self.heads(self._decode(before, tasks, *self._encode(inputs, tasks)), targets)

    @torch.no_grad()
    def generate(self, inputs: Tensor, tasks: Tensor, length: int, grammar: Grammar | None = None) -> Tensor:
        """The greedy output (B, length, slots); with a grammar, only words that it allows. It is generated
        one position at a time with cached keys and values, or by a parallel model all at once."""
        memory, mask = self._encode(inputs, tasks)
        if self.parallel:
            before = self._opened(inputs, tasks).expand(-1, length, -1)
            return self.heads.greedy(self._decode(before, tasks, memory, mask), grammar)
        crossed = [layer.cross.keys_values(memory) for layer in self._decoder_layers()]
        relations = self._answer_relations(tasks, length, memory)
        caches = [layer.attention.cache(len(inputs), length, memory) for layer in self._decoder_layers()]
        word = self._opened(inputs, tasks)
        words = []
        for position in range(length):
            x = self.write(word, tasks, position)  # (B, 1, D)
            for layer, cache, keys_values in zip(self._decoder_layers(), caches, crossed, strict=True):
                x = layer.step(x, position, cache, keys_values, mask, relations)
            word = self.heads.greedy(self.decoder_norm(x), grammar)
            if grammar is not None:
                grammar.advance(word)
            words.append(word)
        return torch.cat(words, dim=1)

    def _decode(self, before: Tensor, tasks: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """The decoder's output (B, T, D) for the heads, given the ids (B, T, slots) before each position."""
        x = self.write(before, tasks)
        relations = self._answer_relations(tasks, x.shape[1], memory)
        for layer in self._decoder_layers():
            x = layer(x, layer.cross.keys_values(memory), mask, relations)
        return self.decoder_norm(x)

    def _decoder_layers(self) -> "list[DecoderLayer]":
        return cast("list[DecoderLayer]", list(self.decoder))  # torch knows them as modules

    def _answer_relations(self, tasks: Tensor, length: int, memory: Tensor) -> "AnswerRelations":
        """Those of the first positions of an answer to one another, and to the memory (B, L, D)."""
        to_memory = self._relations(tasks, (self.write, length), (self.read, memory.shape[1]))
        return self._relations(tasks, (self.write, length), (self.write, length)), to_memory

    def _relations(self, tasks: Tensor, *sides: "tuple[Embedding, int]") -> Tensor | None:
        """The relations (B or 1, T, L) of the first T places of one side to the first L of the other."""
        if not self.related:
            return None
        queries, keys = (side.places_of(tasks, 0, length) for side, length in sides)
        return relations_between(queries, keys)

    def _opened(self, like: Tensor, tasks: Tensor) -> Tensor:
        """The ids before the first position of an answer, (B, 1, slots): the opening of its task in the first
        slot, -1 in the others."""
        nothing = like.new_full((len(like), 1, len(self.heads.slots) - 1), -1)
        return torch.cat([self.opening[tasks, None, None], nothing], dim=-1)

    def _encode(self, inputs: Tensor, tasks: Tensor) -> tuple[Tensor, Tensor | None]:
        """The memory (B, L, D), and the mask (B, 1, 1, L) of where to attend to it, None if everywhere."""
        mask = (inputs >= 0).any(dim=-1)[:, None, None] if self.padded else None
        x = self.read(inputs, tasks)  # (B, L, D)
        own = self.read, inputs.shape[1]
        relations = self._relations(tasks, own, own)
        for layer in self.encoder:
            x = layer(x, mask, relations)
        return self.encoder_norm(x), mask


def build(recipe: Recipe) -> Transformer:
    """The recipe's model with its initial weights."""
    with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU
        torch.manual_seed(recipe.training.seed)
        return _made(recipe)


def parameters(recipe: Recipe) -> int:
    """How many weights the recipe's model has, without making any."""
    with torch.device("meta"):
        model = _made(recipe)
    return sum(weight.numel() for weight in model.parameters())


def _made(recipe: Recipe) -> Transformer:
    read, write = recipe.input_tokens(), recipe.target_tokens()
    unit = of_inputs(recipe.stream).usual  # until the model gets weights that were trained with another
    return Transformer(read, write, recipe.model, recipe.training.near, unit)


def device() -> torch.device:
    """Where models compute: on the GPU of a machine that has one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Embedding(nn.Module):
    """Words and places -> vectors: the sum of the vectors of a position's words and of its coordinates, and,
    given a `unit`, of one more vector times the position's number in this unit."""

    places: Tensor  # (K, L, coordinates)
    powers: Tensor  # of ten, by which ids are read as numbers

    def __init__(self, tokens: Tokens, width: int, unit: float | None = None) -> None:
        super().__init__()
        self.tokens = tokens
        self.words = nn.Embedding(tokens.size, width)
        self.signs = tokens.signs
        places = torch.from_numpy(tokens.places)
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("powers", torch.from_numpy(POWERS), persistent=False)
        self.coordinates = nn.ModuleList(
            nn.Embedding(int(size), width) for size in places.amax(dim=(0, 1)) + 1
        )
        self.unit = unit
        self.value = None if unit is None else nn.Linear(1, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor, tasks: Tensor, first: int = 0) -> Tensor:
        """ids (B, L, slots) of these tasks (B,), at positions first, first+1, … -> (B, L, D)."""
        words = self.words(ids.clamp(min=0)) * (ids >= 0).unsqueeze(-1)  # (B, L, slots, D)
        x = words.sum(dim=2)
        places = self.places_of(tasks, first, ids.shape[1])
        for coordinate, table in enumerate(self.coordinates):
            x = x + table(places[..., coordinate])
        if self.value is not None and self.unit is not None:
            # asinh is about the number itself while that is small, and about its logarithm when it is large
            number = self.tokens.values(ids, self.powers)
            x = x + self.value(torch.asinh(number / self.unit)[..., None].to(x.dtype))
        return self.norm(x)

    def places_of(self, tasks: Tensor, first: int, count: int) -> Tensor:
        """The places of `count` positions from `first` on, (B, count, coordinates), or with a single task
        (1, count, coordinates): then their vectors and relations are looked up only once."""
        places = self.places[tasks] if len(self.places) > 1 else self.places
        return places[:, first : first + count]


class Heads(nn.Module):
    """Vectors -> the words of a number, in the order sign, exponent, mantissa. If `chained`, each word is
    predicted from the ones before it too."""

    def __init__(self, tokens: Tokens, width: int, chained: bool, near: float = 0.0) -> None:
        super().__init__()
        self.slots = tokens.slots
        last = len(self.slots) - 1
        self.order = [0, last, *range(1, last)] if last > 0 else [0]
        self.out = nn.Linear(width, tokens.size)
        self.mantissa: int | None = None  # the slot whose words may be partly right
        self.near: Near | None = None  # the loss of that slot
        if near and tokens.mantissas is not None:
            self.mantissa, values = tokens.mantissas
            self.near = Near(values, near)
        self.chained = chained and last > 0
        if self.chained:
            self.hidden = nn.Linear(width, width)
            self.known = nn.Embedding(tokens.size, width)

    def forward(self, x: Tensor, targets: Tensor) -> Tensor:
        """The summed loss of targets (B, T, slots) given x (B, T, D); targets of -1 are ignored."""
        losses = []
        h = self.hidden(x) if self.chained else x
        for slot in self.order:
            words = targets[..., slot]
            wanted = torch.where(words < 0, -1, words - self.slots[slot][0])
            logits = self._logits(h, slot).flatten(0, 1).float()
            if self.near is not None and slot == self.mantissa:
                losses.append(self.near(logits, wanted.flatten()))
            else:
                losses.append(F.cross_entropy(logits, wanted.flatten(), ignore_index=-1, reduction="sum"))
            if self.chained and slot != self.order[-1]:
                h = h + self.known(words.clamp(min=0))
        return torch.stack(losses).sum()

    def greedy(self, x: Tensor, grammar: Grammar | None = None) -> Tensor:
        """The likeliest words (B, T, slots) given x (B, T, D); those of a number are chosen in turn."""
        chosen: dict[int, Tensor] = {}
        h = self.hidden(x) if self.chained else x
        for slot in self.order:
            logits = self._logits(h, slot)
            if grammar is not None:
                logits = grammar.constrain(logits, slot, chosen)
            chosen[slot] = logits.argmax(dim=-1) + self.slots[slot][0]
            if self.chained and slot != self.order[-1]:
                h = h + self.known(chosen[slot])
        return torch.stack([chosen[slot] for slot in range(len(self.slots))], dim=-1)

    def _logits(self, h: Tensor, slot: int) -> Tensor:
        start, stop = self.slots[slot]
        return F.linear(
            F.gelu(h) if self.chained else h, self.out.weight[start:stop], self.out.bias[start:stop]
        )


class EncoderLayer(nn.Module):
    """Attention and feed-forward; normalised before each, or, as published, after each."""

    def __init__(self, width: int, heads: int, paper: bool, relations: int) -> None:
        super().__init__()
        self.after = paper
        self.attention_norm, self.attention = nn.LayerNorm(width), Attention(width, heads, width, relations)
        self.feed_norm, self.feed = nn.LayerNorm(width), _feed_forward(width)

    def forward(self, x: Tensor, mask: Tensor | None, relations: Tensor | None) -> Tensor:
        y = x if self.after else self.attention_norm(x)
        x = x + self.attention(y, self.attention.keys_values(y), mask, relations)
        if self.after:
            x = self.attention_norm(x)
            return self.feed_norm(x + self.feed(x))
        return x + self.feed(self.feed_norm(x))


AnswerRelations = tuple[Tensor | None, Tensor | None]  # to the answer's own positions, to the memory's


class DecoderLayer(nn.Module):
    """Attention to the positions so far, attention to the memory, and feed-forward; normalised as in
    EncoderLayer."""

    def __init__(self, width: int, heads: int, memory_width: int, paper: bool, relations: int) -> None:
        super().__init__()
        self.after = paper
        self.attention_norm, self.attention = nn.LayerNorm(width), Attention(width, heads, width, relations)
        self.cross_norm, self.cross = nn.LayerNorm(width), Attention(width, heads, memory_width, relations)
        self.feed_norm, self.feed = nn.LayerNorm(width), _feed_forward(width)

    def forward(
        self, x: Tensor, memory: KeysValues, mask: Tensor | None, relations: AnswerRelations
    ) -> Tensor:
        y = x if self.after else self.attention_norm(x)
        to_own, to_memory = relations
        attended = self.attention(y, self.attention.keys_values(y), None, to_own, causal=True)
        return self._after_attention(x, attended, memory, mask, to_memory)

    def step(
        self,
        x: Tensor,
        position: int,
        cache: KeysValues,
        memory: KeysValues,
        mask: Tensor | None,
        relations: AnswerRelations,
    ) -> Tensor:
        """One position x (B, 1, D), with the keys and values of those before it in `cache`."""
        y = x if self.after else self.attention_norm(x)
        for kept, new in zip(cache, self.attention.keys_values(y), strict=True):
            kept[:, :, position : position + 1] = new
        keys, values = (kept[:, :, : position + 1] for kept in cache)
        here = slice(position, position + 1)
        to_own, to_memory = (None if r is None else r[:, here] for r in relations)
        to_own = None if to_own is None else to_own[:, :, : position + 1]
        attended = self.attention(y, (keys, values), None, to_own)
        return self._after_attention(x, attended, memory, mask, to_memory)

    def _after_attention(
        self,
        x: Tensor,
        attended: Tensor,
        memory: KeysValues,
        mask: Tensor | None,
        relations: Tensor | None,
    ) -> Tensor:
        if self.after:  # the published decoder attends to the memory from the layer's own input
            y = self.attention_norm(x + attended)
            y = self.cross_norm(y + self.cross(x, memory, mask, relations))
            return self.feed_norm(y + self.feed(y))
        x = x + attended
        x = x + self.cross(self.cross_norm(x), memory, mask, relations)
        return x + self.feed(self.feed_norm(x))


def _feed_forward(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    """Deviations 1/√inputs, but larger embeddings for signs than for digits: otherwise what depends on the
    signs of several entries together, as a determinant does, is learned late or never (docs/LOG.md). Biases
    of relations are large enough for heads to differ from the beginning."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
    elif isinstance(module, Attention) and module.related is not None:  # initialised after its parts
        nn.init.normal_(module.related.weight, std=BIAS)
    elif isinstance(module, Embedding):
        module.words.weight[slice(*module.signs)] *= LOUDNESS


def _initialise_as_published(module: nn.Module) -> None:
    """PyTorch's own for linear layers, deviation 1/√width for embeddings."""
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
