"""An encoder–decoder transformer from matrices to matrices, in one readable file.

B: batch, L: input positions, T: target positions, D: width, H: heads. A position may hold several words,
one a slot (trainer.tokens): their embeddings are added on the way in, one head a slot predicts them on
the way out. Normalisation before each sublayer, learned positions, ReLU.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.tokens import START


@dataclass(frozen=True)
class Sequences:
    """What the model must know of its tokens: positions, and the alphabet size of each slot."""

    input_length: int
    input_alphabets: tuple[int, ...]
    target_length: int
    target_alphabets: tuple[int, ...]


class Transformer(nn.Module):
    def __init__(
        self, sequences: Sequences, width: int, heads: int, encoder_layers: int, decoder_layers: int
    ) -> None:
        super().__init__()
        self.target_length = sequences.target_length
        self.read_input = Embedding(sequences.input_alphabets, sequences.input_length, width)
        self.read_target = Embedding(sequences.target_alphabets, sequences.target_length, width)
        self.encoder = nn.ModuleList(EncoderLayer(width, heads) for _ in range(encoder_layers))
        self.encoder_norm = nn.LayerNorm(width)
        self.decoder = nn.ModuleList(DecoderLayer(width, heads) for _ in range(decoder_layers))
        self.decoder_norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList(nn.Linear(width, size) for size in sequences.target_alphabets)
        self.apply(_initialise)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy of targets (B, T, slots) given inputs (B, L, slots), summed over slots."""
        start = torch.full_like(targets[:, :1], START)
        x = self.read_target(torch.cat([start, targets[:, :-1]], dim=1))  # (B, T, D)
        memory = self._encode(inputs)
        for layer in self.decoder:
            x = layer(x, layer.cross.keys_values(memory))
        x = self.decoder_norm(x)
        losses = [
            F.cross_entropy(head(x).float().flatten(0, 1), targets[..., slot].flatten())
            for slot, head in enumerate(self.heads)
        ]
        return torch.stack(losses).sum()

    @torch.no_grad()
    def generate(self, inputs: Tensor) -> Tensor:
        """The greedy output (B, T, slots) for inputs (B, L, slots), a position at a time with cached keys."""
        memory = self._encode(inputs)
        crossed = [layer.cross.keys_values(memory) for layer in self.decoder]
        caches = [layer.attention.cache(len(inputs), self.target_length, memory) for layer in self.decoder]
        word = inputs.new_full((len(inputs), 1, len(self.heads)), START)
        words = []
        for position in range(self.target_length):
            x = self.read_target(word, position)  # (B, 1, D)
            for layer, cache, keys_values in zip(self.decoder, caches, crossed, strict=True):
                x = layer.step(x, position, cache, keys_values)
            x = self.decoder_norm(x)
            word = torch.stack([head(x).argmax(dim=-1) for head in self.heads], dim=-1)
            words.append(word)
        return torch.cat(words, dim=1)

    def _encode(self, inputs: Tensor) -> Tensor:
        x = self.read_input(inputs)  # (B, L, D)
        for layer in self.encoder:
            x = layer(x)
        return self.encoder_norm(x)


class Embedding(nn.Module):
    """Words and positions -> vectors: the sum over slots of each word's vector, and the position's."""

    def __init__(self, alphabets: tuple[int, ...], length: int, width: int) -> None:
        super().__init__()
        self.words = nn.ModuleList(nn.Embedding(size, width) for size in alphabets)
        self.positions = nn.Parameter(torch.empty(length, width).normal_(std=0.02))

    def forward(self, ids: Tensor, first: int = 0) -> Tensor:
        """ids (B, L, slots), standing at positions first, first+1, … -> (B, L, D)."""
        x = self.positions[first : first + ids.shape[1]]
        for slot, words in enumerate(self.words):
            x = x + words(ids[..., slot])
        return x


KeysValues = tuple[Tensor, Tensor]  # each (B, H, L, D/H)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, keys_values: KeysValues, causal: bool = False) -> Tensor:
        """x (B, T, D) attends to keys and values -> (B, T, D)."""
        attended = F.scaled_dot_product_attention(self._split(self.query(x)), *keys_values, is_causal=causal)
        return self.out(attended.transpose(1, 2).flatten(2))

    def keys_values(self, memory: Tensor) -> KeysValues:
        keys, values = self.key_value(memory).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def cache(self, batch: int, length: int, like: Tensor) -> KeysValues:
        """Room for the keys and values of `length` positions."""
        shape = (batch, self.heads, length, self.query.out_features // self.heads)
        return like.new_empty(shape), like.new_empty(shape)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, L, D) -> (B, H, L, D/H)


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.feed_norm, self.feed = nn.LayerNorm(width), _feed_forward(width)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.attention_norm(x)
        x = x + self.attention(normed, self.attention.keys_values(normed))
        return x + self.feed(self.feed_norm(x))


class DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.cross_norm, self.cross = nn.LayerNorm(width), Attention(width, heads)
        self.feed_norm, self.feed = nn.LayerNorm(width), _feed_forward(width)

    def forward(self, x: Tensor, memory: KeysValues) -> Tensor:
        normed = self.attention_norm(x)
        x = x + self.attention(normed, self.attention.keys_values(normed), causal=True)
        return self._after_attention(x, memory)

    def step(self, x: Tensor, position: int, cache: KeysValues, memory: KeysValues) -> Tensor:
        """One position x (B, 1, D), with the keys and values of those before it in `cache`."""
        normed = self.attention_norm(x)
        for kept, new in zip(cache, self.attention.keys_values(normed), strict=True):
            kept[:, :, position : position + 1] = new
        keys, values = (kept[:, :, : position + 1] for kept in cache)
        return self._after_attention(x + self.attention(normed, (keys, values)), memory)

    def _after_attention(self, x: Tensor, memory: KeysValues) -> Tensor:
        x = x + self.cross(self.cross_norm(x), memory)
        return x + self.feed(self.feed_norm(x))


def _feed_forward(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
