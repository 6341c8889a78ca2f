"""Recipes: everything a run is made of, as TOML; a recipe is checked as a whole before anything starts."""

import itertools
import math
from typing import Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from matstream.shared.encodings import ENCODINGS, Encoding, by_name
from matstream.shared.errors import conflict, explain
from matstream.shared.fields import MAX_INDEX, Index
from matstream.shared.problems import Definitions, meaning
from matstream.shared.spec import StreamSpec
from matstream.shared.tasks import tasks_of
from matstream.trainer.tokens.magnitudes import Magnitudes, of_inputs, of_targets
from matstream.trainer.tokens.tokens import Form, Side, Tokens

MAX_PLACES = 4_000_000  # positions of all tasks together: what a model's tables of places may hold


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StreamSection(StreamSpec):
    """[stream]: the spec of the problems, and the seed of their stream."""

    seed: Index = 0


class TokensSection(_Section):
    """[tokens]: how numbers are written for the model, separately for input and output."""

    input: str = "P10"
    output: str = "P1000"
    input_digits: int = Field(
        3,
        description="significant digits, 2 to 9 for P10 and P1000, 2 to 5 for B1999; of Z10 and Z1000 all "
        "digits, 1 to 15",
    )
    output_digits: int = 3
    input_form: Form = "factored"
    output_form: Form = "factored"


class ModelSection(_Section):
    """[model]: sizes of the transformer."""

    width: int = Field(128, ge=8, le=65_536)
    heads: int = Field(8, ge=1)
    encoder_layers: int = Field(1, ge=1, le=1_000)
    decoder_layers: int = Field(1, ge=1, le=1_000)
    decoder_width: int | None = Field(None, ge=8, le=65_536, description="`width` where it is not given")
    decoder_heads: int | None = Field(None, ge=1, description="`heads` where it is not given")
    parallel: bool = Field(False, description="whether all numbers of an answer are written at once")
    relations: bool = Field(
        False, description="whether attention knows which entries share a row or a column, or lie mirrored"
    )
    values: bool = Field(
        False,
        description="whether the value of a number that is read is added to its words, as one coordinate",
    )
    paper: bool = Field(False, description="the published transformer")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise conflict("heads", self.heads, f"must divide model.width={self.width}")
        return self


class TrainingSection(_Section):
    """[training]: lengths of time are in samples seen; only `time_limit` is in seconds."""

    samples: int = Field(ge=1, le=MAX_INDEX, description="seen by the end of training")
    batch_size: int = Field(64, ge=1, le=1_000_000)
    accumulate: int = Field(1, ge=1, description="parts in which a batch is computed, to save memory")
    near: float = Field(
        0.01,
        ge=0,
        le=0.05,  # memory and work grow with it
        allow_inf_nan=False,
        description="relative distance at which other mantissas are partly right; 0: none are",
    )
    optimizer: Literal["adamw", "muon"] = "muon"
    learning_rate: float = Field(4e-3, gt=0, allow_inf_nan=False)
    schedule: Literal["constant", "cosine", "linear"] = Field("cosine", description="after the warmup")
    warmup: int = Field(6_400, ge=0, description="samples over which the learning rate rises from 0")
    period: int | None = Field(
        None, ge=1, description="samples over which the schedule falls; all the rest if not given"
    )
    final_learning_rate: float = Field(
        0.0, ge=0, le=1, description="share of the learning rate at which it ends"
    )
    beta2: float = Field(0.98, gt=0, lt=1, description="AdamW's memory of squared gradients")
    weight_decay: float = Field(0.01, ge=0, allow_inf_nan=False)
    gradient_clip: float = Field(5.0, gt=0, allow_inf_nan=False)
    average: int = Field(
        6_400, ge=0, description="half-life, in samples, of the average of weights that is scored; 0: none"
    )
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    seed: int = Field(0, ge=0, lt=2**63, description="of the model's initial weights")
    start_from: str | None = Field(
        None, description="a run, or a model that comes with matstream, whose weights are the initial ones"
    )
    log_every: int = Field(1_280, ge=1, description="samples between lines of metrics.jsonl")
    validate_every: int = Field(12_800, ge=1, description="samples between validations")
    checkpoint_every: int = Field(12_800, ge=1, description="samples between checkpoints")
    checkpoints: int = Field(2, ge=1, description="kept, the newest, beside the best weights")
    time_limit: float | None = Field(
        None, gt=0, description="seconds of training after which it stops; may be changed when it is resumed"
    )


class EvaluationSection(_Section):
    """[evaluation]: how many held-out samples scores are measured on."""

    validation_samples: int = Field(1_000, ge=1, le=1_000_000)
    test_samples: int = Field(10_000, ge=1, le=1_000_000)
    batch_size: int = Field(1_000, ge=1)
    constrained: bool = Field(False, description="whether only words that the grammar allows are written")


class FetchSection(_Section):
    """[fetch]: how samples travel. Never changes what is trained; may differ when a run is resumed."""

    connections: int = Field(1, ge=1, le=64)
    request_samples: int | None = Field(None, ge=1)
    patience: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="seconds to go on asking, after a request that failed, while no generator answers; if "
        "not given, as long as the run has trained, a minute at least",
    )
    numerics: Literal["same", "any"] = Field(
        "same", description="whether all samples must be of one numerics fingerprint"
    )


class Stage(_Section):
    """A table of [[curriculum]]: how many samples it lasts, and fields of [stream] that differ meanwhile."""

    model_config = ConfigDict(frozen=True, extra="allow")

    samples: int = Field(ge=1, le=MAX_INDEX)


class Segment(NamedTuple):
    """The samples [start, stop) that a run learns from are those with these indices in a stream."""

    stream: StreamSection
    start: int
    stop: int


class Recipe(_Section):
    """A whole recipe."""

    stream: StreamSection
    curriculum: tuple[Stage, ...] = ()
    tokens: TokensSection = TokensSection()
    model: ModelSection = ModelSection()
    training: TrainingSection
    evaluation: EvaluationSection = EvaluationSection()
    fetch: FetchSection = FetchSection()

    _streams: tuple[StreamSection, ...] = PrivateAttr()

    @field_validator("curriculum", mode="before")
    @classmethod
    def _tables(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not all(isinstance(a, dict | Stage) for a in value):
            raise ValueError("must be tables, each of which begins with [[curriculum]]")
        return value

    @property
    def streams(self) -> tuple[StreamSection, ...]:
        """The stream of each stage, and last the one that is learned from then on and scored."""
        return self._streams

    @property
    def definitions(self) -> Definitions:
        """What those names of its streams that are not built in mean."""
        found = Definitions()
        for stream in self.streams:
            found |= stream.definitions
        return found

    def segments(self) -> list[Segment]:
        """From which stream each sample of the training comes. It has the same index there as in the
        training, so that it depends on nothing but that."""
        ends = itertools.accumulate(stage.samples for stage in self.curriculum)
        stops = [min(end, self.training.samples) for end in ends] + [self.training.samples]
        starts = [0, *stops]
        found = map(Segment, self.streams, starts, stops)
        return [segment for segment in found if segment.start < segment.stop]

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        own = self.stream.fields() | {"seed": self.stream.seed}
        streams = []
        for number, stage in enumerate(self.curriculum):
            try:
                with meaning(self.stream.definitions):
                    streams.append(StreamSection.model_validate(own | (stage.model_extra or {})))
            except ValidationError as error:
                [problem, *_] = explain(error.errors(), StreamSection)
                field = f"curriculum.{number}.{problem.field}"
                raise conflict(field, problem.value, problem.message) from None
        self._streams = (*streams, self.stream)
        return self

    @model_validator(mode="after")
    def _can_be_trained(self) -> Self:
        bounds = [
            (side, magnitudes(stream))
            for stream in self.streams
            for side, magnitudes in (("input", of_inputs), ("output", of_targets))
        ]
        for side, magnitudes in bounds:
            name, digits = getattr(self.tokens, side), getattr(self.tokens, f"{side}_digits")
            if name not in ENCODINGS:
                raise conflict(f"tokens.{side}", name, f"must be one of {', '.join(ENCODINGS)}")
            allowed = ENCODINGS[name][1]
            if digits not in allowed:
                few, many = allowed[0], allowed[-1]
                must = f"must be from {few} to {many}" if few < many else f"must be {few}"
                raise conflict(f"tokens.{side}_digits", digits, f"{must} for {name}")
            _check_held(side, by_name(name, digits), magnitudes)
        model = self.model
        decoder_width, decoder_heads = model.decoder_width or model.width, model.decoder_heads or model.heads
        if decoder_width % decoder_heads:
            raise conflict(
                "model.decoder_heads", decoder_heads, f"must divide the decoder's width {decoder_width}"
            )
        if model.parallel and self.tokens.output_form != "factored":
            reason = "must be False with tokens.output_form='sequential', whose words follow on one another"
            raise conflict("model.parallel", True, reason)
        sequential = "sequential" in (self.tokens.input_form, self.tokens.output_form)
        for key in ("relations", "values"):
            if getattr(model, key) and (model.paper or sequential):
                other = "model.paper=True" if model.paper else "tokens of the sequential form"
                raise conflict(f"model.{key}", True, f"must be False with {other}")
        training = self.training
        if training.accumulate > training.batch_size:
            reason = f"must be at most training.batch_size={training.batch_size}"
            raise conflict("training.accumulate", training.accumulate, reason)
        if training.schedule == "constant" and training.period is not None:
            reason = "must not be given with training.schedule='constant'"
            raise conflict("training.period", training.period, reason)
        tasks, positions = self._tasks_and_positions()
        if tasks * positions > MAX_PLACES:
            reason = (
                f"makes {tasks:,} tasks of up to {positions:,} numbers, {tasks * positions:,} "
                f"together: must be at most {MAX_PLACES:,} to train on"
            )
            raise conflict("stream.dim", self.stream.fields()["dim"], reason)
        return self

    def _tasks_and_positions(self) -> tuple[int, int]:
        """How many tasks there are, and the most numbers that an input or a target has."""
        tasks = most = 0
        for stream in self.streams:
            (low, _), (m, n) = stream.extreme_dims()
            cols = stream.cols
            tasks += len(stream.operation) * (m - low + 1) * (cols.high - cols.low + 1 if cols else 1)
            most = max(most, stream.max_entries(m, n))
        return tasks, most

    def input_tokens(self) -> Tokens:
        """How the model reads."""
        tokens = self.tokens
        return self._tokens("input", by_name(tokens.input, tokens.input_digits), tokens.input_form)

    def target_tokens(self) -> Tokens:
        """How the model writes."""
        tokens = self.tokens
        return self._tokens("target", by_name(tokens.output, tokens.output_digits), tokens.output_form)

    def _tokens(self, side: Side, encoding: Encoding, form: Form) -> Tokens:
        in_grid = form == "factored" and not self.model.paper
        # those of the stream that is scored, then what only stages have
        tasks = dict.fromkeys(task for stream in self.streams[::-1] for task in tasks_of(stream))
        return Tokens(encoding, form, side, tuple(tasks), in_grid)


def _check_held(side: str, encoding: Encoding, magnitudes: Magnitudes) -> None:
    what = "inputs" if side == "input" else "targets"
    reason = None
    if encoding.exact and magnitudes.largest > encoding.largest:
        reason = (
            f"cannot hold the stream's {what}, up to {magnitudes.largest:.17g}, in {encoding.digits} digits: "
            f"needs tokens.{side}_digits={len(str(math.floor(magnitudes.largest)))}"
        )
        raise conflict(f"tokens.{side}", encoding.name, reason)
    if magnitudes.largest > encoding.largest:
        reason = (
            f"cannot hold the stream's {what}, up to {magnitudes.largest:.3g}: its largest is "
            f"{encoding.largest:g}"
        )
    elif magnitudes.usual < encoding.smallest:
        reason = (
            f"cannot hold the stream's {what}, usually near {magnitudes.usual:.3g}: it loses digits below "
            f"{encoding.smallest:g}"
        )
    if reason is not None:
        raise conflict(f"tokens.{side}", encoding.name, f"{reason}; choose another encoding or stream.scale")
