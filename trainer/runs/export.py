"""A trained model as a folder to hand over: weights, configuration, checksums, model card."""

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matstream.shared.files import written_aside
from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.runs import checkpoints, checksums
from matstream.trainer.runs.folder import CARD, CONFIG, MODEL, OF_MODEL, SUMS, WEIGHTS
from matstream.trainer.runs.kept_recipe import keep_problems
from matstream.trainer.runs.model_card import edited, written

# without any times: a run that was resumed exports the same folder, to the last bit
_OF_RESULT = (
    *("accuracy", "accuracy_strict", "ceiling", "test_samples", "samples_seen", "parameters"),
    "largest_entry",
)


def export(run: Path, recipe: Recipe, result: Mapping[str, Any]) -> Path:
    """Write a run's best model as the folder `run`/model, with its result; a model card that somebody has
    edited is kept."""
    weights = checksums.read(checkpoints.best_weights(run))
    write_model(run / MODEL, recipe, result, weights, written(recipe, result))
    return run / MODEL


def write_model(folder: Path, recipe: Recipe, result: Mapping[str, Any], weights: bytes, card: str) -> None:
    """Write a model as a folder: its weights, config.json with its recipe and result, checksums, and a
    model card, unless there is one that somebody has edited."""
    config = {
        "matstream": importlib.metadata.version("matstream"),
        "recipe": recipe.model_dump(mode="json", exclude_none=True),
        "result": {name: result.get(name) for name in _OF_RESULT},
        "card": checksums.digest(card.encode()),
    }
    files = {WEIGHTS: weights, CONFIG: (json.dumps(config, indent=2) + "\n").encode()}
    files |= {SUMS: checksums.sums(files), CARD: edited(folder) or card.encode()}
    with written_aside(folder, OF_MODEL) as aside:
        aside.mkdir()
        for name, content in files.items():
            (aside / name).write_bytes(content)
        keep_problems(recipe, aside)
