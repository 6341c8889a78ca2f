"""The model card: what a model does, how well, how it was made, how to use it."""

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.runs import checksums
from matstream.trainer.runs.folder import CARD, CONFIG


def written(recipe: Recipe, result: Mapping[str, Any], address: str = "path/of/this/folder") -> str:
    """The card of a recipe's model, with its result and the `address` by which it is loaded, as Markdown."""
    fields = recipe.stream.fields()
    shares = zip(*(result[name].items() for name in ("accuracy", "accuracy_strict", "ceiling")), strict=True)
    rows = "\n".join(
        f"| {float(tau):.1%} | {share:.2%} | {strict:.2%} | {ceiling:.2%} |"
        for (tau, share), (_, strict), (_, ceiling) in shares
    )
    return f"""# {result["run"]}: {fields["operation"]} of dimension {fields["dim"]}

An encoder–decoder transformer of {result["parameters"]:,} weights, trained by
matstream {importlib.metadata.version("matstream")} on {result["samples_seen"]:,} random problems, which were
made as the training went on, after
[Linear algebra with transformers](https://arxiv.org/abs/2112.01898).

| within | accuracy | strict | ceiling of the encoding |
|---|---|---|---|
{rows}

On {result["test_samples"]:,} held-out samples of the stream it was trained on, {result["invalid"]} outputs
invalid. *Strict* goes by the error alone, where accuracy as the paper defines it also takes answers whose
words are exactly those of the target; the *ceiling* is what the exact answer scores once it is rounded to
the words of `{recipe.tokens.output}`. The stream is
`{json.dumps(fields)}`, seed {recipe.stream.seed}.

```python
import matstream

answers = matstream.load("{address}").predict(matrices)  # of one input, or of several of one shape
```

Its answers to matrices unlike those that it was trained on are wrong; `predict` and `check` warn of these.
"""


def edited(model: Path) -> bytes | None:
    """The model card in a folder, if it was edited after it was written."""
    if not (model / CARD).is_file():
        return None
    card = (model / CARD).read_bytes()
    try:
        written = json.loads((model / CONFIG).read_bytes())["card"]
    except (OSError, ValueError, KeyError, TypeError):
        return card
    return None if checksums.digest(card) == written else card
