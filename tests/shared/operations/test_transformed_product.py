import math

import pytest

from tests.shared.operations.answers import answers


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 2), (3, 5), (5, 1), (9, 9)])
def test_products_are_sums_written_out(m, n):
    for matrix, target in zip(*answers("transformed_product", m, n, 5), strict=True):
        a, b = matrix[:, :m], matrix[:, m:]
        for i in range(m):
            for j in range(n):
                terms = [math.log1p(abs(a[i, k])) * b[k, j] for k in range(m)]
                assert abs(target[i, j] - math.fsum(terms)) <= 1e-14 * sum(map(abs, terms))
