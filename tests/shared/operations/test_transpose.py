import numpy as np

import matstream


def test_the_transpose_has_row_i_column_j_in_row_j_column_i():
    s = matstream.sample("transpose", dim=4, cols=3, count=100)
    inputs, targets = np.asarray(s.inputs), np.asarray(s.targets)
    assert targets.shape == (100, 3, 4)
    for i, j in np.ndindex(4, 3):
        np.testing.assert_array_equal(targets[:, j, i], inputs[:, i, j])
