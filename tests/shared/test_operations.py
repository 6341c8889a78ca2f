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
    ],
)
def test_shapes_are_the_papers(name, input_shape, target_shape):
    operation = OPERATIONS[name]
    m, n = (3, 3) if operation.square else (2, 3)
    assert operation.input_shape(m, n) == input_shape
    assert operation.target_shape(m, n) == target_shape


def test_symmetric_operations_are_square():
    assert all(operation.square for operation in OPERATIONS.values() if operation.symmetric)
