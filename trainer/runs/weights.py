"""Files of weights: written, read and checked, and loaded into a model."""

import json
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from matstream.shared.errors import UserError, first_line
from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.runs import checksums
from matstream.trainer.tokens.tokens import Tokens

# The format of files of weights, which they state. Those of format 1, which state none, have a word for each
# of ten operations.
FORMAT = 2

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


def as_file(model: nn.Module, dtype: torch.dtype = torch.float32) -> bytes:
    """The weights of a model, rounded to `dtype`, as the content of a safetensors file."""
    # a weight that has two names is written under its first
    weights = {name: weight.detach().to(dtype) for name, weight in model.named_parameters()}
    return safetensors.torch.save(weights, {"format": str(FORMAT)})


def load(path: Path, model: nn.Module, way_out: str, recipe: Recipe | None = None) -> None:
    """Load a file of weights into its model; given the model's recipe, a file of format 1 too.

    Raises CheckpointError, naming the file and the `way_out`, for one that is damaged or of another model.
    """
    found, version = read(path, way_out)
    if version == 1 and recipe is not None:
        for name, tokens in tables_of_words(recipe).items():
            if name in found:
                found[name] = _without_words_of_others(found[name], tokens)
    own = dict(model.named_parameters())
    if found.keys() != own.keys() or any(found[name].shape != own[name].shape for name in own):
        raise CheckpointError(f"{path} holds the weights of another model: {way_out}")
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(found[name])


def read(path: Path, way_out: str) -> tuple[dict[str, Tensor], int]:
    """The tensors of a safetensors file, by name, and their format. Raises CheckpointError for one that is
    damaged, or of a format that this version of matstream does not know."""
    try:
        content = checksums.read(path)
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        version = int(header.get("__metadata__", {}).get("format", 1))
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read ({first_line(error)}): {way_out}") from error
    if not 1 <= version <= FORMAT:
        raise CheckpointError(
            f"{path} is of format {version}, which a later matstream writes; this one reads up to {FORMAT}"
        )
    return tensors, version


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
