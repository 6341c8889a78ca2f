"""The initial weights of a run, taken from another run, whose vocabulary may be different.

Rows of the tables of words (tokens) are matched by what the words mean: streams of different operations or
dimensions have the words of numbers in common, and each has words of its own besides.
"""

from collections.abc import Sequence

import torch

from matstream.shared.errors import UserError
from matstream.trainer.model.transformer import Transformer, build
from matstream.trainer.recipes.reading import differences
from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.runs import checkpoints
from matstream.trainer.runs.kept_recipe import recipe_of
from matstream.trainer.runs.shipped import folder_of
from matstream.trainer.runs.weights import tables_of_words
from matstream.trainer.tokens.tokens import Tokens


def start_from(folder: str, recipe: Recipe, model: Transformer) -> None:
    """Copy the best weights of a run, or those of a model that comes with matstream, into a recipe's model,
    which may read and write more or other words, and have more places; for these the model keeps its own
    initial weights.

    Raises UserError if there are no weights, or if the [tokens] or [model] of the two recipes differ.
    """
    place = folder_of(folder)
    theirs = recipe_of(place)
    for key, now, before in differences(recipe, theirs, "tokens", "model"):
        raise UserError(f"{key}={now!r}: must be {before!r}, as in {folder}")
    source = build(theirs)
    checkpoints.load_best(place, theirs, source)
    own_words, their_words = tables_of_words(recipe), tables_of_words(theirs)
    found = dict(source.named_parameters())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in own_words:
                own, other = _words_in_common(own_words[name], their_words[name])
            else:  # all of it, or of a table of places the first rows
                own = other = range(min(len(weight), len(found[name])))
            weight[own] = found[name][other]
    model.unit = source.unit


def _words_in_common(own: Tokens, theirs: Tokens) -> tuple[Sequence[int], Sequence[int]]:
    """The ids, in each of two vocabularies of one encoding, of the words that they have in common."""
    headers = [word for word in own.headers if word in theirs.headers]
    own_ids, their_ids = (
        [*range(side.mark), *(side.mark + side.headers.index(word) for word in headers)]
        for side in (own, theirs)
    )
    return own_ids, their_ids
