"""Weights -> a model whose vocabulary may be another than the one they were trained with.

Rows of the tables of words are taken by what the words mean: a stream of other operations, or of other
dimensions, has the words of numbers in common, and those of its own beside them.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from matstream.shared.errors import UserError
from matstream.trainer import checkpoint
from matstream.trainer.model import Transformer, build
from matstream.trainer.recipe import Recipe, differences, recipe_of
from matstream.trainer.tokens import Tokens

# the operations that had a word in every vocabulary of format 1, in their order there
_OF_FORMAT_1 = (
    "add",
    "eigenvalues",
    "eigenvectors",
    "inverse",
    "matmul",
    "matvec",
    "singular_values",
    "svd",
    "symmetric_inverse",
    "transpose",
)


def load_best(folder: Path, recipe: Recipe, model: Transformer) -> None:
    """Load the best weights of a run, or those of an exported model, into the model of its recipe.

    Raises UserError if there are none, or if they are damaged or of another model.
    """
    path = checkpoint.best_weights(folder)
    way_out = checkpoint.remedy(path.parent)
    found, version = checkpoint.read_weights(path, way_out)
    if version == 1:
        for name, tokens in _tables_of_words(recipe).items():
            if name in found:
                found[name] = _without_words_of_others(found[name], tokens)
    checkpoint.put_weights(found, model, path, way_out)


def start_from(folder: str, recipe: Recipe, model: Transformer) -> None:
    """Copy a run's best weights into a recipe's model, which may read and write more or other words, and have
    more places: where the run has none, the model keeps its own first weights.

    Raises UserError if there are no weights, or those of a model that was made otherwise.
    """
    theirs = recipe_of(Path(folder))
    for key, now, before in differences(recipe, theirs, "tokens", "model"):
        raise UserError(f"{key}={now!r}: must be {before!r}, as in {folder}")
    source = build(theirs)
    load_best(Path(folder), theirs, source)
    own_words, their_words = _tables_of_words(recipe), _tables_of_words(theirs)
    found = dict(source.named_parameters())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in own_words:
                own, other = _words_in_common(own_words[name], their_words[name])
            else:  # all of it, or of a table of places the first rows
                own = other = range(min(len(weight), len(found[name])))
            weight[own] = found[name][other]


def _tables_of_words(recipe: Recipe) -> dict[str, Tokens]:
    """The weights that have a row for each word, by name, and whose words these are."""
    read, write = recipe.input_tokens(), recipe.target_tokens()
    written = ("write.words.weight", "heads.out.weight", "heads.out.bias", "heads.known.weight")
    return {"read.words.weight": read, **dict.fromkeys(written, write)}


def _words_in_common(own: Tokens, theirs: Tokens) -> tuple[Sequence[int], Sequence[int]]:
    """The ids of the words that two vocabularies of one encoding have in common, in either."""
    headers = [word for word in own.headers if word in theirs.headers]
    own_ids, their_ids = (
        [*range(side.mark), *(side.mark + side.headers.index(word) for word in headers)]
        for side in (own, theirs)
    )
    return own_ids, their_ids


def _without_words_of_others(table: Tensor, tokens: Tokens) -> Tensor:
    """A table of format 1, without the rows of operations that are not in the stream."""
    first = tokens.mark + 1
    dims = first + len(_OF_FORMAT_1)
    named = [first + _OF_FORMAT_1.index(operation) for operation in tokens.operations]
    return table[[*range(first), *named, *range(dims, len(table))]]
