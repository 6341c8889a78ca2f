"""The numerics of this process: one BLAS thread, and the fingerprint under which bits are promised.

Import it before anything is computed. Bitwise equality of samples is promised between processes
whose fingerprints are equal; across fingerprints of one DRAWING they agree to rounding, except where a
redraw, or a basis that is not the only one, is decided.
"""

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import version
from typing import Any

from numpy._core._multiarray_umath import __cpu_features__  # what np.show_runtime() reads
from threadpoolctl import ThreadpoolController

# Small matrices gain nothing from more threads, and large ones change bits with their number.
_blas = ThreadpoolController().select(user_api="blas")
_blas.limit(limits=1)

# The version of the rules by which samples are drawn and answered: raised when a sample of any spec changes.
DRAWING = 2


@cache
def numerics() -> dict[str, Any]:
    """What the bits of a sample depend on beside its address."""
    packages = {name: version(name) for name in ("matstream", "numpy", "scipy", "pyarrow")}
    libraries = _blas.info()
    numpys_own = [lib for lib in libraries if "numpy" in lib["filepath"]]  # SciPy may bring another
    blas = sorted(
        f"{lib['internal_api']} {lib['version']} {lib.get('architecture', '')} {lib['num_threads']} thread"
        for lib in numpys_own or libraries
    )
    return {
        "drawing": DRAWING,
        **packages,
        "blas": blas,
        "cpu_features": sorted(name for name, active in __cpu_features__.items() if active),
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine(),
    }


@cache
def fingerprint() -> str:
    """16 hex digits over `numerics()`."""
    return hashlib.sha256(json.dumps(numerics(), sort_keys=True).encode()).hexdigest()[:16]
