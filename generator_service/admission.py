"""Who is let in, and how many at a time: API keys, their rates, and the slots for streams."""

import asyncio
import hashlib
import hmac
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pyrate_limiter import AbstractBucket, Duration, InMemoryBucket, Rate, RateItem, SQLiteBucket
from starlette.exceptions import HTTPException

from generator_service import metrics

_UNITS = {"second": Duration.SECOND, "minute": Duration.MINUTE, "hour": Duration.HOUR, "day": Duration.DAY}
_RETRY_BUSY = 1  # seconds after which a busy service may be asked again: streams end often

_bearer = HTTPBearer(auto_error=False, description="One of the service's API keys, if it has any.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


class Access(BaseSettings):
    """Who may use a service, each settable as MATSTREAM_<NAME> in the environment."""

    model_config = SettingsConfigDict(env_prefix="MATSTREAM_", frozen=True)

    api_keys: SecretStr = Field(
        SecretStr(""), description="keys separated by commas; without any, all are let in"
    )
    rate: str | None = Field(None, description="most requests of each key, such as 600/minute")
    max_streams: int = Field(32, ge=1, description="streams a worker sends at a time")
    cors_origins: str = Field(
        "", description="origins, separated by commas, whose pages may read the service"
    )

    @field_validator("rate")
    @classmethod
    def _is_a_rate(cls, value: str | None) -> str | None:
        if value is not None:
            number, _, unit = value.partition("/")
            if not number.isdecimal() or int(number) < 1 or unit not in _UNITS:
                raise ValueError(f"must be a number per {', '.join(_UNITS)}, such as 600/minute")
        return value

    def keys(self) -> list[bytes]:
        """Digests of the keys."""
        given = self.api_keys.get_secret_value().split(",")
        return [_digest(key.strip()) for key in given if key.strip()]


class Door:
    """Lets requests in, or raises the HTTPException that says why not."""

    def __init__(self, access: Access) -> None:
        self.private = bool(access.keys())
        self._keys = access.keys()
        self._rate = access.rate
        self._buckets = _buckets(access, len(self._keys))
        self._slots = asyncio.Semaphore(access.max_streams)

    async def check(self, request: Request, credentials: Credentials) -> None:
        """A dependency, where there are keys: the request has one that has not used up its rate."""
        digest = _digest("" if credentials is None else credentials.credentials)
        # every key is compared, in constant time, so that the time taken tells nothing
        matches = [hmac.compare_digest(digest, key) for key in self._keys]
        if not any(matches):
            metrics.refusals.labels("key").inc()
            detail = "an API key is needed: send it as the header Authorization: Bearer KEY"
            raise HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})
        number = matches.index(True)
        request.state.key = number  # for the log, which never has the key itself
        if self._rate is not None and not _takes(self._buckets[number]):
            metrics.refusals.labels("rate").inc()
            detail = f"this key has used up its {self._rate} requests"
            raise HTTPException(429, detail, {"Retry-After": str(_seconds_between(self._rate))})

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """One of the slots for streams, while it is used."""
        if self._slots.locked():
            metrics.refusals.labels("busy").inc()
            detail = "all slots for streams are taken: ask again"
            raise HTTPException(503, detail, {"Retry-After": str(_RETRY_BUSY)})
        async with self._slots:
            with metrics.open_streams.track_inprogress():
                yield


def _buckets(access: Access, keys: int) -> list[AbstractBucket]:
    """What each key has used of its rate: in a file, if several workers share it."""
    if access.rate is None:
        return []
    number, _, unit = access.rate.partition("/")
    rates = [Rate(int(number), _UNITS[unit])]
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return [InMemoryBucket(rates) for _ in range(keys)]
    file = str(Path(folder) / "rates.sqlite")
    return [SQLiteBucket.init_from_file(rates, f"key_{key}", file, use_file_lock=True) for key in range(keys)]


def _takes(bucket: AbstractBucket) -> bool:
    """Whether a bucket has room for one more request now, which it then takes."""
    now = bucket.now()
    bucket.leak(now)
    return bool(bucket.put(RateItem("request", now)))


def _seconds_between(rate: str) -> int:
    """Whole seconds in which the rate allows one more request."""
    number, _, unit = rate.partition("/")
    return math.ceil(int(_UNITS[unit]) / 1000 / int(number))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
