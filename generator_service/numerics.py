"""The numerics of this process: one BLAS thread, and a fingerprint of all that the bits of samples depend on.

Import it before anything is computed. Processes with equal fingerprints are promised to make bitwise equal
samples. Where fingerprints differ but DRAWING is the same, samples agree to within rounding, except where
rounding decides whether a sample is drawn again, or which of several possible bases is the answer.
"""

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import version
from typing import Any

from numpy._core._multiarray_umath import __cpu_features__  # what np.show_runtime() reads
from threadpoolctl import ThreadpoolController

# Small matrices gain nothing from more threads, and the bits of large ones change with the number of threads.
_blas = ThreadpoolController().select(user_api="blas")
_blas.limit(limits=1)

# The version of the rules by which samples are drawn and answered; raised when a sample of any spec changes.
DRAWING = 2


@cache
def numerics() -> dict[str, Any]:
    """What the bits of a sample depend on, besides its address."""
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
