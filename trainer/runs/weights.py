"""Files of weights: written, read and checked, and loaded into a model."""

import json
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from matstream.shared.errors import UserError, first_line
from matstream.trainer.model.transformer import Transformer
from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.runs import checksums
from matstream.trainer.tokens.tokens import Tokens

# The format of files of weights, which they state. Those of format 1, which state none, have a word for each
# of ten operations. A file also states the unit in which its model reads the values of numbers; where it does
# not, this is the usual magnitude of the stream's.
FORMAT = 2
_UNIT = "unit"

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


class CheckpointError(UserError):
    """A checkpoint that cannot be read."""


def as_file(model: Transformer, dtype: torch.dtype = torch.float32) -> bytes:
    """The weights of a model, rounded to `dtype`, as the content of a safetensors file."""
    # a weight that has two names is written under its first
    weights = {name: weight.detach().to(dtype) for name, weight in model.named_parameters()}
    stated = {"format": str(FORMAT)} | ({} if model.unit is None else {_UNIT: repr(model.unit)})
    return safetensors.torch.save(weights, stated)


def load(path: Path, model: Transformer, way_out: str, recipe: Recipe | None = None) -> None:
    """Load a file of weights into its model; given the model's recipe, a file of format 1 too.

    Raises CheckpointError, naming the file and the `way_out`, for one that is damaged or of another model.
    """
    found, stated = read(path, way_out)
    if int(stated["format"]) == 1 and recipe is not None:
        for name, tokens in tables_of_words(recipe).items():
            if name in found:
                found[name] = _without_words_of_others(found[name], tokens)
    own = dict(model.named_parameters())
    if found.keys() != own.keys() or any(found[name].shape != own[name].shape for name in own):
        raise CheckpointError(f"{path} holds the weights of another model: {way_out}")
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(found[name])
    if model.unit is not None and _UNIT in stated:
        model.unit = float(stated[_UNIT])


def read(path: Path, way_out: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, by name, and what it states, its format at least. Raises
    CheckpointError for one that is damaged, or of a format that this version of matstream does not know."""
    try:
        content = checksums.read(path)
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        stated = {"format": "1"} | header.get("__metadata__", {})
        version = int(stated["format"])
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read ({first_line(error)}): {way_out}") from error
    if not 1 <= version <= FORMAT:
        raise CheckpointError(
            f"{path} is of format {version}, which a later matstream writes; this one reads up to {FORMAT}"
        )
    return tensors, stated


def tables_of_words(recipe: Recipe) -> dict[str, Tokens]:
    """The weights that have a row for each word (token), by name, and the tokens whose words these are."""
    read, write = recipe.input_tokens(), recipe.target_tokens()
    written = ("write.words.weight", "heads.out.weight", "heads.out.bias", "heads.known.weight")
    return {"read.words.weight": read, **dict.fromkeys(written, write)}


def _without_words_of_others(table: Tensor, tokens: Tokens) -> Tensor:
    """A table of format 1, without the rows of operations that are not in the stream."""
    first = tokens.mark + 1
    dims = first + len(_OF_FORMAT_1)
    named = [first + _OF_FORMAT_1.index(operation) for operation in tokens.operations]
    return table[[*range(first), *named, *range(dims, len(table))]]
