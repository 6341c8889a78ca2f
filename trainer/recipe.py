"""Recipes: everything a run is made of, as TOML; checked whole before anything starts."""

import json
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.encodings import ENCODINGS, by_name
from shared.errors import RefusedError, UserError, conflict, explain
from shared.spec import MAX_INDEX, Index, StreamSpec
from trainer.tokens import Form, Tokens

RECIPES = files("trainer") / "recipes"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StreamSection(StreamSpec):
    """[stream]: the spec of the problems, and the seed of their stream."""

    seed: Index = 0


class TokensSection(_Section):
    """[tokens]: how numbers are written for the model, input and output apart."""

    input: str = "P1000"
    output: str = "P1000"
    input_form: Form = "factored"
    output_form: Form = "factored"


class ModelSection(_Section):
    """[model]: sizes of the transformer."""

    width: int = Field(128, ge=8)
    heads: int = Field(8, ge=1)
    encoder_layers: int = Field(1, ge=1)
    decoder_layers: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise conflict("heads", self.heads, f"must divide model.width={self.width}")
        return self


class TrainingSection(_Section):
    """[training]: every quantity over time is in samples seen, never in seconds."""

    samples: int = Field(ge=1, le=MAX_INDEX, description="seen by the end of training")
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(2e-3, gt=0, allow_inf_nan=False)
    warmup: int = Field(6_400, ge=0, description="samples over which the learning rate rises from 0")
    final_learning_rate: float = Field(0.0, ge=0, description="share of it that the cosine ends at", le=1)
    weight_decay: float = Field(0.01, ge=0, allow_inf_nan=False)
    gradient_clip: float = Field(5.0, gt=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = Field(0, ge=0, lt=2**63, description="of the model's first weights")
    log_every: int = Field(1_280, ge=1, description="samples between lines of metrics.jsonl")
    validate_every: int = Field(12_800, ge=1, description="samples between validations")
    checkpoint_every: int = Field(12_800, ge=1, description="samples between checkpoints")
    time_limit: float | None = Field(
        None, gt=0, description="seconds of training after which it stops, to be resumed; may be changed then"
    )


class EvaluationSection(_Section):
    """[evaluation]: how many held-out samples scores are measured on."""

    validation_samples: int = Field(1_000, ge=1, le=1_000_000)
    test_samples: int = Field(10_000, ge=1, le=1_000_000)
    batch_size: int = Field(1_000, ge=1)


class FetchSection(_Section):
    """[fetch]: how samples travel. Never changes what is trained; may differ when a run is resumed."""

    connections: int = Field(1, ge=1, le=64)
    request_samples: int | None = Field(None, ge=1)


class Recipe(_Section):
    """A whole recipe."""

    stream: StreamSection
    tokens: TokensSection = TokensSection()
    model: ModelSection = ModelSection()
    training: TrainingSection
    evaluation: EvaluationSection = EvaluationSection()
    fetch: FetchSection = FetchSection()

    @model_validator(mode="after")
    def _can_be_trained(self) -> Self:
        spec = self.stream
        if len(spec.operation) > 1:
            raise conflict("stream.operation", ",".join(spec.operation), "must be one operation")
        if spec.input_shape() is None:
            field = "dim" if spec.cols is None or not spec.dim.fixed else "cols"
            raise conflict(f"stream.{field}", spec.fields()[field], "must be fixed to be trained on")
        for field in ("input", "output"):
            name = getattr(self.tokens, field)
            if name not in ENCODINGS:
                raise conflict(f"tokens.{field}", name, f"must be one of {', '.join(ENCODINGS)}")
        return self

    def input_tokens(self) -> Tokens:
        shape = self.stream.input_shape()
        assert shape is not None
        return Tokens(by_name(self.tokens.input), self.tokens.input_form, shape, with_shape=True)

    def target_tokens(self) -> Tokens:
        shape = self.stream.target_shape()
        assert shape is not None
        return Tokens(by_name(self.tokens.output), self.tokens.output_form, shape, with_shape=False)


def load_recipe(name: str, overrides: Mapping[str, Mapping[str, Any]]) -> tuple[str, Recipe]:
    """The name and the content of a recipe that comes with matstream, or of a file.

    `overrides` are values by section and key. Raises RefusedError naming the key that is wrong.
    """
    if name in recipe_names():
        content = (RECIPES / f"{name}.toml").read_bytes()
    elif name.endswith(".toml"):
        content = Path(name).read_bytes()
    else:
        raise UserError(f"recipe {name!r}: must be one of {', '.join(recipe_names())}, or a .toml file")
    try:
        document = tomllib.loads(content.decode())
    except ValueError as error:  # not TOML, or not UTF-8
        raise UserError(f"recipe {name!r} is not TOML: {error}") from None
    return Path(name).stem, read_recipe(document, overrides)


def read_recipe(document: Mapping[str, Any], overrides: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """Validate a recipe's document. Raises RefusedError naming the key that is wrong."""
    merged: dict[str, Any] = dict(document)
    for section, values in overrides.items():
        given = {key.replace("-", "_"): value for key, value in values.items()}
        if isinstance(merged.setdefault(section, {}), dict):  # else the section itself is refused below
            merged[section] = merged[section] | given
    try:
        return Recipe.model_validate(merged)
    except ValidationError as error:
        raise RefusedError(explain(error.errors(), Recipe)) from None


def recipe_names() -> list[str]:
    """The recipes that come with matstream."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in RECIPES.iterdir() if entry.name.endswith(".toml")
    )


def write_recipe(recipe: Recipe) -> str:
    """A recipe as TOML, every value in it."""
    return tomli_w.dumps(json.loads(recipe.model_dump_json(exclude_none=True)))
