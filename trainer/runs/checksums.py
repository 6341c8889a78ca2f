"""SHA256SUMS: the checksums of a folder's files, as `sha256sum --check` reads them too."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from matstream.trainer.runs.folder import SUMS


def sums(files: Mapping[str, bytes | memoryview]) -> bytes:
    """The content of SHA256SUMS for a folder of files, by name."""
    return "".join(f"{digest(content)}  {name}\n" for name, content in files.items()).encode()


def listed(folder: Path) -> list[Path]:
    """The files whose checksums are in the SHA256SUMS of a folder; none if there is no such file."""
    path = folder / SUMS
    if not path.is_file():
        return []
    names = [line.split("  ", 1)[-1] for line in path.read_text("utf-8", errors="replace").splitlines()]
    return [folder / name for name in names if "/" not in name]


def digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()


def read(path: Path) -> bytes:
    """The content of a file whose checksum is in SHA256SUMS beside it. Raises ValueError if it has another
    checksum, or there is none."""
    listed = path.with_name(SUMS)
    if not listed.is_file():
        raise ValueError(
            f"there is no {SUMS} beside it to check it by: if you trust it, write one there by sha256sum"
        )
    content = path.read_bytes()
    if f"{digest(content)}  {path.name}".encode() not in listed.read_bytes().splitlines():
        raise ValueError(f"it is damaged: {SUMS} beside it has another checksum")
    return content
