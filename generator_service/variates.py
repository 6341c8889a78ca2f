"""(key, index range) -> uniforms: every sample has its own row of a counter-based generator."""

import numpy as np
from numpy.typing import NDArray


def uniforms(key: int, start: int, count: int, words: int) -> NDArray[np.float64]:
    """Rows [start, start+count) of the table of uniforms in (0, 1) that `key` addresses, (count, words).

    A row has `words` uniforms. Philox-4x64 makes 4 of them a counter step, so `words` must be a multiple of
    4: row i then comes from steps [i·words/4, (i+1)·words/4), whichever rows are asked for with it.
    """
    assert words % 4 == 0
    philox = np.random.Philox(key=key, counter=start * (words // 4))
    table = np.random.Generator(philox).random((count, words))
    # 0 would be −∞ under an inverse CDF; (k+½)·2⁻⁵³ would not do instead: its largest value rounds to 1
    return np.maximum(table, 2.0**-54, out=table)
