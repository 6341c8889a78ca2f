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


def export(run: Path, recipe: Recipe, result: Mapping[str, Any]) -> Path:
    """Write a run's best model as the folder `run`/model: its weights and config.json, their checksums, and a
    model card; a card that somebody has edited is kept."""
    card = written(recipe, result).encode()
    config = {
        "matstream": importlib.metadata.version("matstream"),
        "recipe": recipe.model_dump(mode="json", exclude_none=True),
        "card": checksums.digest(card),
    }
    files = {
        WEIGHTS: checksums.read(checkpoints.best_weights(run)),
        CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
    }
    files |= {SUMS: checksums.sums(files), CARD: edited(run / MODEL) or card}
    with written_aside(run / MODEL, OF_MODEL) as aside:
        aside.mkdir()
        for name, content in files.items():
            (aside / name).write_bytes(content)
        keep_problems(recipe, aside)
    return run / MODEL
