"""Starting from the weights of another run, of smaller problems or others."""

from pathlib import Path

import torch
from torch import nn

from shared.errors import UserError
from trainer import checkpoint
from trainer.model import Transformer


def start_from(folder: str, model: Transformer) -> None:
    """Copy a run's best weights into a model; of tables that are longer here, the first rows.

    A larger dimension adds positions and words at the end of its tables: those rows keep the weights they
    have. Raises UserError if there are no weights, or some that do not fit.
    """
    path = checkpoint.best_weights(Path(folder))
    found = checkpoint.read_weights(path, "choose another run for training.start_from")
    own = dict(model.named_parameters())
    if found.keys() != own.keys():
        odd = min(found.keys() ^ own.keys())
        raise UserError(
            f"training.start_from={folder!r}: its model is another ({odd} is in one of them only)"
        )
    with torch.no_grad():
        for name, weight in own.items():
            theirs = found[name]
            if theirs.shape[1:] != weight.shape[1:] or (
                theirs.shape != weight.shape and not _is_table(name, model)
            ):
                raise UserError(
                    f"training.start_from={folder!r}: its {name} is {tuple(theirs.shape)}, here it is "
                    f"{tuple(weight.shape)}; [model] and [tokens] must be as in that run"
                )
            rows = min(len(theirs), len(weight))
            weight[:rows] = theirs[:rows]


def _is_table(name: str, model: Transformer) -> bool:
    """Whether a weight is a table with a row for each word or place."""
    owner = model.get_submodule(name.rpartition(".")[0])
    return isinstance(owner, nn.Embedding) or owner is model.heads.out
