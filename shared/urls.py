"""Addresses of generators, as people give them, and the key for them."""

import os
from urllib.parse import urlsplit

from shared.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")  # reached directly, whatever proxy the environment names


def host_of(url: str) -> str:
    """The host of a generator's URL. Raises UserError for what is no such URL."""
    try:
        address = urlsplit(url)
        if address.scheme in ("http", "https") and address.hostname and address.port != 0:
            return address.hostname
    except ValueError:  # a port that is none
        pass
    raise UserError(f"generator {url!r}: must be a URL like http://127.0.0.1:8000")


def authorization() -> dict[str, str]:
    """The header that holds the API key of MATSTREAM_API_KEY in the environment, if there is one."""
    key = os.environ.get("MATSTREAM_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}
