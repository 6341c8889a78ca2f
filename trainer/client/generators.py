"""A generator as the client sees it: requests with limits of time and size, and how well it has answered."""

import asyncio
import json
import os
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.request import getproxies

import httpx

from matstream.shared.errors import UserError, first_line, one_line
from matstream.shared.urls import authorization, checked_url, is_loopback, without_password
from matstream.shared.wire import MEDIA_TYPE

MAX_ERROR_BYTES = 64 << 10  # read of an answer that is not a stream
MAX_WRONG = 3  # wrong answers in a row after which a generator that never answered rightly counts as wrong
WRONG_SECONDS = 60.0  # for which one that did must answer wrongly too: a proxy before it may be restarting
MAX_RETRY_AFTER = 15.0  # seconds; where no other generator answers, a longer Retry-After is cut to this

# How long a request may take. If there is no other generator to ask, it may take as long as over the slowest
# line that one could train over; else several times as long as is usual.
CONNECT_SECONDS = 10.0
START_SECONDS = 30.0  # before the first byte, and between two
SLOWEST = 64 << 10  # bytes a second
HURRIED_START_SECONDS = 4.0
HURRIED = 1 << 20  # bytes a second, until it is known what is usual
TIMES_USUAL = 8

_LEAST_REST, _MOST_REST = 0.5, 60.0  # seconds for which a generator that failed is left alone
_REST_FOR_LOST = 10  # it is left alone for so many times the seconds that its failure cost, if that is more
_BUSY = (408, 425, 429, 502, 503, 504)


class UnavailableError(Exception):
    """A generator gives no whole answer now; `seconds` is how long it asked to be left alone, if it did."""

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class WrongError(Exception):
    """An answer is not what was asked for; `for_good` if asking again would not change that."""

    def __init__(self, message: str, *, for_good: bool = False) -> None:
        super().__init__(message)
        self.for_good = for_good


class Generator:
    """One generator, used by the tasks of one event loop."""

    def __init__(self, url: str) -> None:
        self.name = without_password(checked_url(url))
        self._http = _http(url)
        self._in_a_row = 0  # failures since its last answer
        self._wrong = 0  # wrong answers since then
        self._wrong_since = 0.0  # the monotonic time of the first of them
        self._wrong_for_good = False
        self._has_answered = False
        self.failures = 0
        self.rests_until = 0.0  # the monotonic time before which it is asked only if all others rest too

    @property
    def is_wrong(self) -> bool:
        lasted = time.monotonic() - self._wrong_since >= WRONG_SECONDS or not self._has_answered
        return self._wrong_for_good or (self._wrong >= MAX_WRONG and lasted)

    async def ask(
        self, query: Mapping[str, Any], *, size: int, most: int, one: int, usual: float, hurried: bool
    ) -> tuple[bytearray, UnavailableError | WrongError | None]:
        """The body of its answer to /v1/stream, and the error if the answer is not complete.

        An answer has about `size` bytes and at most `most`, and a sample has `one`. Its time is limited by
        these; if `hurried`, more closely, by the `usual` bytes a second (0 if unknown).
        """
        body = bytearray()
        seconds = START_SECONDS + size / SLOWEST
        if hurried:
            seconds = min(
                seconds, HURRIED_START_SECONDS + (TIMES_USUAL * size / usual if usual else size / HURRIED)
            )
        waits = httpx.Timeout(START_SECONDS + one / SLOWEST, connect=CONNECT_SECONDS)
        begun, head = time.monotonic(), False
        try:
            async with (
                asyncio.timeout(seconds),
                self._http.stream("GET", f"{self.name}/v1/stream", params=query, timeout=waits) as response,
            ):
                head = True
                await _check(response)
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > most:
                        raise WrongError(f"sends more than {most:,} bytes, the most that were asked for")
        except (UnavailableError, WrongError) as error:
            return body, error
        except TimeoutError:
            return body, UnavailableError(f"sent {len(body):,} of about {size:,} bytes in {seconds:.1f} s")
        except (httpx.LocalProtocolError, httpx.InvalidURL, UnicodeError) as error:  # it will not pass
            return body, WrongError(first_line(error), for_good=True)
        except httpx.ConnectError as error:
            return body, UnavailableError(f"cannot be reached: {first_line(error)}")
        except httpx.TimeoutException:
            return body, UnavailableError(f"no answer within {time.monotonic() - begun:.0f} s")
        except httpx.HTTPError as error:
            if isinstance(error, httpx.RemoteProtocolError) and not head and "disconnected" not in str(error):
                return body, WrongError(f"answered something that is not HTTP: {first_line(error)}")
            return body, UnavailableError(f"broke off its answer: {first_line(error)}")
        return body, None

    def note_answer(self) -> None:
        """Note that it answered rightly."""
        self._has_answered = True
        self._in_a_row = self._wrong = 0
        self.rests_until = 0.0

    def note_failure(self, error: Exception, seconds: float, *, brought_some: bool) -> None:
        """Note that it failed, which cost `seconds`; `brought_some`: it sent some right samples before."""
        self.failures += 1
        self._in_a_row += 1
        if isinstance(error, WrongError) and not brought_some:
            if self._wrong == 0:
                self._wrong_since = time.monotonic()
            self._wrong += 1
            self._wrong_for_good = error.for_good
        rest = max(_LEAST_REST * 2 ** min(self._in_a_row - 1, 10), _REST_FOR_LOST * seconds)
        if isinstance(error, UnavailableError) and error.seconds is not None:
            rest = error.seconds
        self.rests_until = time.monotonic() + min(rest, _MOST_REST)

    async def close(self) -> None:
        await self._http.aclose()


async def _check(response: httpx.Response) -> None:
    """Raise an error for an answer that is not a stream, with the words of the answer."""
    media_type = response.headers.get("content-type", MEDIA_TYPE).partition(";")[0].strip()
    encoding = response.headers.get("content-encoding", "identity")
    if response.status_code == 200 and media_type == MEDIA_TYPE and encoding == "identity":
        return
    text = await _beginning(response)
    status = response.status_code
    if status == 200:
        what = media_type if encoding == "identity" else f"{media_type} in {encoding}"
        raise WrongError(
            f"answered {one_line(what, 100)}, which is no stream of samples: is this a generator's address?"
        )
    if 300 <= status < 400 and "location" in response.headers:
        where = response.headers["location"].partition("/v1/stream")[0]
        shown = one_line(without_password(where), 200)
        raise WrongError(f"answered {status} (moved to {shown}): give the address it has moved to")
    said = _detail(text) if status >= 400 else ""
    answered = f"answered {status}: {said}" if said else f"answered {status}"
    if status in _BUSY:
        retry_after = response.headers.get("retry-after", "")
        seconds = float(retry_after) if re.fullmatch("[0-9]{1,9}", retry_after) else None
        raise UnavailableError(answered, seconds)
    raise WrongError(answered, for_good=status == 422)


async def _beginning(response: httpx.Response) -> str:
    """The first MAX_ERROR_BYTES of a body, as they came."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= MAX_ERROR_BYTES:
            break
    return body[:MAX_ERROR_BYTES].decode(errors="replace")


def _detail(text: str) -> str:
    """What the body of an error says: the `detail` of a problem document, else its first words."""
    try:
        said = str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        said = text
    return one_line(said)


def _http(url: str) -> httpx.AsyncClient:
    """An HTTP client for a generator. It uses the environment's proxies and certificates for other machines.

    Raises UserError naming the variable of the environment that cannot be used.
    """
    direct = is_loopback(url)
    secure = url.startswith("https:")
    headers = {"Accept-Encoding": "identity"} | authorization()
    limits = httpx.Limits(max_connections=None)
    try:
        # certificates are loaded only for https
        address = httpx.URL(url)
        # user name and password are not left in the URL, which httpx logs
        auth = (address.username, address.password) if address.userinfo else None
        return httpx.AsyncClient(
            trust_env=not direct, verify=secure, headers=headers, limits=limits, auth=auth
        )
    except (ImportError, ValueError, OSError, httpx.InvalidURL) as error:
        raise UserError(_culprit(error)) from None


def _culprit(error: Exception) -> str:
    """Which variable of the environment cannot be used. A proxy is not shown: it may hold a password."""
    named = {name.lower(): name for name in os.environ if name.lower().endswith("_proxy")}
    for scheme, proxy in getproxies().items():
        name = named.get(f"{scheme}_proxy")
        if name is None or scheme == "no":
            continue
        try:
            httpx.AsyncHTTPTransport(proxy=proxy if "://" in proxy else f"http://{proxy}", verify=False)
        except ImportError:
            return (
                f"{name} in the environment: a SOCKS proxy needs another package: pip install 'httpx[socks]'"
            )
        except (ValueError, httpx.InvalidURL):
            return (
                f"{name} in the environment: must be the address of a proxy, like http://proxy.example:3128"
            )
    if isinstance(error, OSError):
        name = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        return f"{name} in the environment: {os.environ.get(name)}: {error.strerror or first_line(error)}"
    return (
        f"{named.get('no_proxy', 'NO_PROXY')} in the environment: must be names of hosts, separated by commas"
    )
