"""Who is let in: API keys, and how many requests each may make."""

import asyncio
import hashlib
import hmac
import math
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pyrate_limiter import AbstractBucket, Duration, InMemoryBucket, Rate, RateItem, SQLiteBucket
from starlette.exceptions import HTTPException

from matstream.generator_service.service import metrics
from matstream.shared.errors import Problem, RefusedError
from matstream.shared.fields import whole
from matstream.shared.urls import is_key

MAX_SHOWN = 1000  # characters of a path or a query; longer texts, which our clients never send, are not shown
HIDDEN = "***"
KEY_IN_QUERY = Problem("query", None, "has an API key in it: keys belong in the Authorization header only")

_UNITS = {"second": Duration.SECOND, "minute": Duration.MINUTE, "hour": Duration.HOUR, "day": Duration.DAY}

_bearer = HTTPBearer(auto_error=False, description="One of the service's API keys, if it has any.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


class Access(BaseSettings):
    """Who may use a service, each settable as MATSTREAM_<NAME> in the environment."""

    model_config = SettingsConfigDict(env_prefix="MATSTREAM_", frozen=True)

    api_keys: SecretStr = Field(
        SecretStr(""), description="keys separated by commas or lines; without any, all are let in"
    )
    rate: str | None = Field(None, description="most requests of each key, such as 600/minute")
    max_streams: Annotated[int, *whole(1, 10**6)] = Field(32, description="streams a worker sends at a time")
    cors_origins: str = Field(
        "", description="origins, separated by commas, whose pages may read the service"
    )

    @field_validator("api_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr) -> SecretStr:
        keys = _keys(value)
        if value.get_secret_value() and not keys:
            raise ValueError("must have a key in it, or not be set: without keys all are let in")
        if not all(map(is_key, keys)):
            raise ValueError("must be keys of plain letters, digits and signs, without spaces in them")
        return value

    @field_validator("rate")
    @classmethod
    def _is_a_rate(cls, value: str | None, others: ValidationInfo) -> str | None:
        if value is not None:
            if not re.fullmatch(rf"[1-9][0-9]{{0,8}}/({'|'.join(_UNITS)})", value):
                raise ValueError(f"must be a number per {', '.join(_UNITS)}, such as 600/minute")
            if not others.data.get("api_keys"):
                raise ValueError("is the rate of each key: set MATSTREAM_API_KEYS too")
        return value


class Door:
    """Lets requests in, or raises the HTTPException that says why not."""

    def __init__(self, access: Access) -> None:
        self._texts = frozenset(_keys(access.api_keys))
        self._lengths = {len(key) for key in self._texts}
        self._keys = [_digest(key.encode()) for key in _keys(access.api_keys)]
        self.private = bool(self._keys)
        self._rate = access.rate
        self._buckets = _buckets(access.rate, len(self._keys))
        self._counting = ThreadPoolExecutor(1)  # the event loop must not wait for a bucket in a file

    async def check(self, request: Request, credentials: Credentials) -> None:
        """A dependency, if there are keys: the request must have a key that has not used up its rate."""
        given = "" if credentials is None else credentials.credentials
        matches = self._matches(
            given.encode("latin-1")
        )  # the bytes of the header, as ASGI servers decode them
        if not any(matches):
            metrics.refusals.labels("key").inc()
            detail = "an API key is needed: send it as the header Authorization: Bearer KEY"
            raise HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})
        number = matches.index(True)
        request.state.key = number  # for the log, which never has the key itself
        parameters = request.scope["query_string"].decode("latin-1").split("&")
        texts = (text for part in parameters for text in (part, *part.split("=", 1)))
        if any(unquote(text) in self._texts for text in texts):
            raise RefusedError([KEY_IN_QUERY])
        if self._rate is None:
            return
        wait = await asyncio.wrap_future(self._counting.submit(_take, self._buckets[number]))
        if wait:
            metrics.refusals.labels("rate").inc()
            detail = f"this key has used up its {self._rate} requests"
            raise HTTPException(429, detail, {"Retry-After": str(wait)})

    def shown(self, text: str) -> str:
        """A text of a request as it may be logged and sent back: replaced if it is long or contains a key."""
        if len(text) > MAX_SHOWN:
            return "…"
        return HIDDEN if self.has_key(text) else text

    def has_key(self, text: str) -> bool:
        """Whether one of the keys stands in a text, plain or percent-encoded."""
        # looked up by Python's hash, which is secret to each process, so that the time taken tells nothing
        return any(
            form[first : first + length] in self._texts
            for form in {text, unquote(text)}
            for length in self._lengths
            for first in range(len(form) - length + 1)
        )

    def _matches(self, given: bytes) -> list[bool]:
        # every key is compared, in constant time, so that the time taken tells nothing
        return [hmac.compare_digest(_digest(given), key) for key in self._keys]


def client_of(request: Request) -> str:
    """Who sends a request: the number of a key if the service has keys, else an address."""
    number = getattr(request.state, "key", None)
    return f"key {number}" if number is not None else str(request.client and request.client.host)


def listed(setting: str) -> list[str]:
    """The values of a setting that separates them by commas or lines."""
    return [value.strip() for value in re.split("[,\r\n]", setting) if value.strip()]


def _keys(setting: SecretStr) -> list[str]:
    return listed(setting.get_secret_value())


def _buckets(rate: str | None, keys: int) -> list[AbstractBucket]:
    """For each key a bucket, which counts what is used of its rate; in a file if several workers share it."""
    if rate is None:
        return []
    number, _, unit = rate.partition("/")
    rates = [Rate(int(number), _UNITS[unit])]
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return [InMemoryBucket(rates) for _ in range(keys)]
    file = str(Path(folder) / "rates.sqlite")
    return [SQLiteBucket.init_from_file(rates, f"key_{key}", file, use_file_lock=True) for key in range(keys)]


def _take(bucket: AbstractBucket) -> int:
    """Take one request from a bucket: return 0 if there was one, else the seconds until there will be."""
    now = bucket.now()
    bucket.leak(now)
    item = RateItem("request", now)
    if bucket.put(item):
        return 0
    milliseconds = bucket.waiting(item)
    assert isinstance(milliseconds, int)  # not a coroutine, as asynchronous buckets return
    return max(1, math.ceil(milliseconds / 1000))


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
