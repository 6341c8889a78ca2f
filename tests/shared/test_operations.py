import pytest

from matstream.shared.operations import OPERATIONS


@pytest.mark.parametrize(
    ("name", "input_shape", "target_shape"),
    [
        ("add", (2, 6), (2, 3)),
        ("transpose", (2, 3), (3, 2)),
        ("eigenvalues", (3, 3), (3, 1)),
        ("eigenvectors", (3, 3), (4, 3)),
        ("inverse", (3, 3), (3, 3)),
        ("matmul", (2, 6), (3, 3)),
        ("matvec", (2, 4), (3, 1)),
        ("singular_values", (2, 3), (2, 1)),
        ("svd", (2, 3), (6, 2)),
        ("symmetric_inverse", (3, 3), (3, 3)),
        ("cholesky", (3, 3), (3, 3)),
        ("completion", (2, 3), (2, 3)),
        ("determinant", (3, 3), (1, 1)),
        ("effective_resistance", (3, 3), (3, 3)),
        ("gcd", (2, 6), (2, 3)),
        ("general_eigenvalues", (3, 3), (3, 2)),
        ("heat_kernel", (3, 3), (3, 3)),
        ("integer_product", (2, 6), (2, 3)),
        ("least_squares", (4, 4), (3, 1)),
        ("log_determinant", (3, 3), (1, 1)),
        ("lu", (3, 3), (4, 3)),
        ("matrix_exponential", (3, 3), (3, 3)),
        ("matrix_square_root", (3, 3), (3, 3)),
        ("polynomial_roots", (3, 1), (3, 2)),
        ("potentials", (3, 4), (3, 1)),
        ("pseudo_inverse", (2, 3), (3, 2)),
        ("qr", (4, 3), (7, 3)),
        ("rank", (2, 3), (1, 1)),
        ("regression", (2, 3), (1, 1)),
        ("solve", (3, 4), (3, 1)),
        ("trace", (3, 3), (1, 1)),
        ("transformed_product", (2, 5), (2, 3)),
    ],
)
def test_shapes_are_those_that_are_said(name, input_shape, target_shape):
    operation = OPERATIONS[name]
    m, n = (3, 3) if operation.square else (2, 3) if operation.spare_rows is None else (4, 3)
    assert operation.input_shape(m, n) == input_shape
    assert operation.target_shape(m, n) == target_shape


def test_every_operation_says_what_it_is_and_stands_in_a_group():
    for operation in OPERATIONS.values():
        assert len(operation.about) > 20
        assert operation.group != "your own"
        assert operation.residual_bound is not None


def test_symmetric_operations_are_square():
    assert all(operation.square for operation in OPERATIONS.values() if operation.symmetric)
