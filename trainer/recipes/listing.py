"""The recipes that come with matstream, as a table."""

from rich.console import Console
from rich.table import Column, Table

from matstream.trainer.recipes.reading import load_recipe, recipe_names


def recipes() -> None:
    """List the recipes that come with matstream."""
    names = recipe_names()
    table = Table(
        Column("recipe", min_width=max(map(len, names))),  # to be copied, so never cut
        "operation",
        "dim",
        "samples",
        "reads → writes",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for name in names:
        _, recipe = load_recipe(name, {})
        fields, tokens = recipe.stream.spec().fields(), recipe.tokens
        operation = fields["operation"] if "," not in fields["operation"] else "several"
        written = f"{tokens.input} → {tokens.output}{', as published' if recipe.model.paper else ''}"
        table.add_row(name, operation, str(fields["dim"]), f"{recipe.training.samples:,}", written)
    Console().print(table)
