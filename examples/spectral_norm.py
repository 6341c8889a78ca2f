import numpy as np

import matstream


@matstream.operation(target=lambda m, n: (1, 1))
def spectral_norm(a):  # (B, m, n) -> (B, 1, 1)
    """‖A‖₂, how much A stretches a vector at most"""
    return np.linalg.norm(a, 2, axis=(1, 2))[:, None, None]
