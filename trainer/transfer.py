"""Starting from the weights of another run, of smaller problems or others."""

from pathlib import Path

from torch import nn

from shared.errors import UserError
from trainer import checkpoint
from trainer.model import Transformer
from trainer.recipe import Recipe, differences, recipe_of


def start_from(folder: str, recipe: Recipe, model: Transformer) -> None:
    """Copy a run's best weights into a recipe's model; of tables that are longer here, the first rows.

    A larger dimension adds positions and words at the end of its tables: those rows keep the weights they
    have. Raises UserError if there are no weights, or those of a model that was made otherwise.
    """
    theirs = recipe_of(Path(folder))
    for key, now, before in differences(recipe, theirs, "tokens", "model"):
        raise UserError(f"{key}={now!r}: must be {before!r}, as in {folder}")
    path = checkpoint.best_weights(Path(folder))
    tables = {name for name, _ in model.named_parameters() if _is_table(name, model)}
    checkpoint.load_weights(path, model, "choose another run for training.start_from", tables)


def _is_table(name: str, model: Transformer) -> bool:
    """Whether a weight is a table with a row for each word or place."""
    owner = model.get_submodule(name.rpartition(".")[0])
    return isinstance(owner, nn.Embedding) or owner is model.heads.out
