"""URLs of generators, as people write them, and API keys."""

import ipaddress
import os
import re
from urllib.parse import urlsplit

from matstream.shared.errors import UserError


def checked_url(url: str) -> str:
    """A generator's URL, to which a path can be added. Raises UserError if `url` is not such a URL."""
    try:
        address = urlsplit(url)
        plain = not (address.query or address.fragment) and "?" not in url and "#" not in url
        if plain and address.scheme in ("http", "https") and address.hostname and address.port != 0:
            return url.rstrip("/")
    except ValueError:  # an invalid port
        pass
    raise UserError(
        f"generator {without_password(url)!r}: must be a URL like http://127.0.0.1:8000, without ? and #"
    )


def without_password(url: str) -> str:
    """A URL, or a text meant as one, made safe to show: without the user name and password that it may hold.

    These are taken to end at the last @: if a password has / or # in it, the URL is refused, and then shown.
    """
    return re.sub(r"^(https?:/+)?.*@", r"\1", url, flags=re.DOTALL | re.IGNORECASE)


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine: it is reached directly, whatever proxy the environment names."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_key(text: str) -> bool:
    """Whether a text can be an API key: printable ASCII characters, which every client can send in a header,
    without spaces."""
    return re.fullmatch(r"[!-~]+", text) is not None


def authorization() -> dict[str, str]:
    """The header with the API key that the environment variable MATSTREAM_API_KEY holds, or no header.

    Raises UserError, which does not show the key, if no header can carry it.
    """
    key = os.environ.get("MATSTREAM_API_KEY", "").strip()
    if not key:
        return {}
    if not is_key(key):
        raise UserError(
            "MATSTREAM_API_KEY: must be one key of plain letters, digits and signs, without spaces or line "
            "breaks in it"
        )
    return {"Authorization": f"Bearer {key}"}
