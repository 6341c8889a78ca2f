import pytest

from shared.operations import OPERATIONS


@pytest.mark.parametrize(
    ("name", "letter", "input_shape", "target_shape"),
    [
        ("add", "A", (2, 6), (2, 3)),
        ("transpose", "T", (2, 3), (3, 2)),
        ("eigenvalues", "E", (3, 3), (3, 1)),
        ("eigenvectors", "F", (3, 3), (4, 3)),
        ("inverse", "I", (3, 3), (3, 3)),
        ("matmul", "M", (2, 6), (3, 3)),
        ("matvec", "D", (2, 4), (3, 1)),
        ("singular_values", "V", (2, 3), (2, 1)),
        ("svd", "U", (2, 3), (6, 2)),
        ("symmetric_inverse", "S", (3, 3), (3, 3)),
    ],
)
def test_letters_and_shapes_are_the_papers(name, letter, input_shape, target_shape):
    operation = OPERATIONS[name]
    m, n = (3, 3) if operation.square else (2, 3)
    assert operation.letter == letter
    assert operation.input_shape(m, n) == input_shape
    assert operation.target_shape(m, n) == target_shape


def test_every_operation_has_a_letter_of_its_own():
    assert len({operation.letter for operation in OPERATIONS.values()}) == len(OPERATIONS)


def test_symmetric_operations_are_square():
    assert all(operation.square for operation in OPERATIONS.values() if operation.symmetric)
