"""Validation errors as sentences: the field, the value, what is allowed."""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = _shorten.maxlong = 80


class Problem(NamedTuple):
    """One thing wrong with what a user gave."""

    field: str
    value: object
    message: str

    def __str__(self) -> str:
        named = self.field if self.value is None else f"{self.field}={shortened(self.value)}"
        return f"{named}: {self.message}"


class UserError(Exception):
    """A user's mistake, or trouble outside the program, said in one sentence that can be acted on."""


class RefusedError(UserError, ValueError):
    """A user's request that is refused; `problems` say why, one sentence each."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def shortened(value: object) -> str:
    """A value as Python writes it, without its middle if it is long."""
    return _shorten.repr(value)


def one_line(text: str, most: int = 300) -> str:
    """A text from elsewhere, made safe to show: one line of at most `most` printable characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, made safe to show, or the error's type if it has no message."""
    return one_line((str(error).splitlines() or [""])[0]) or type(error).__name__


def raised(error: BaseException) -> str:
    """An error's type and the first line of its message."""
    name = type(error).__name__
    return f"{name}: {first_line(error)}" if str(error) else name


def conflict(field: str, value: object, reason: str) -> PydanticCustomError:
    """The error that a validator raises if a rule over several fields is broken; `field` is to blame."""
    about = {"said": f"{field}={value!r}: {reason}", "field": field, "value": value, "reason": reason}
    return PydanticCustomError("conflict", "{said}", about)


def explain(errors: Sequence[Mapping[str, Any]], model: type[BaseModel]) -> list[Problem]:
    """Turn pydantic's errors (`ValidationError.errors()`) about a model into problems a person can act on."""
    problems = []
    for item in errors:
        error = item.get("ctx", {}).get("error")
        if isinstance(error, RefusedError):  # raised by a user's own function, say
            problems += error.problems
            continue
        field = ".".join(str(part) for part in item["loc"]) or "request"
        value: object = item["input"]
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "missing":
            value, message = None, "is required"
        elif item["type"] == "extra_forbidden":
            owner: Any = model
            for section in item["loc"][:-1]:
                owner = owner.model_fields[section].annotation
            names = ", ".join(owner.model_fields)
            message = (
                f"is not a known name; known are {names}"
                if names
                else "is not known: no name is allowed here"
            )
        elif item["type"] == "conflict":
            field = ".".join([*map(str, item["loc"]), item["ctx"]["field"]])
            value, message = item["ctx"]["value"], item["ctx"]["reason"]
        elif item["type"] == "model_type":
            message = "must be a section of keys and values"
        problems.append(Problem(field, value, message[:1].lower() + message[1:]))
    return problems
