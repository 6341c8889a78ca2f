"""Validation errors as sentences: the field, the value, what is allowed."""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = _shorten.maxlong = 80


class Problem(NamedTuple):
    """One thing wrong with what a user gave."""

    field: str
    value: object
    message: str

    def __str__(self) -> str:
        named = self.field if self.value is None else f"{self.field}={_shorten.repr(self.value)}"
        return f"{named}: {self.message}"


class UserError(Exception):
    """A user's mistake, or trouble outside the program, said in one sentence that can be acted on."""


class RefusedError(UserError, ValueError):
    """A user's request that is refused; `problems` say why, one sentence each."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def explain(errors: Sequence[Mapping[str, Any]], known: Iterable[str]) -> list[Problem]:
    """Turn pydantic's errors (`ValidationError.errors()`) into problems a person can act on.

    `known` are the names to offer when a field is unknown.
    """
    problems = []
    for item in errors:
        field = ".".join(str(part) for part in item["loc"]) or "request"
        value: object = item["input"]
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "missing":
            value, message = None, "is required"
        elif item["type"] == "extra_forbidden":
            message = f"is not a known name; known are {', '.join(known)}"
        elif item["type"] == "conflict":
            field, value = item["ctx"]["field"], item["ctx"]["value"]
        problems.append(Problem(field, value, message[:1].lower() + message[1:]))
    return problems
