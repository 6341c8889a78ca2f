"""The names of the structures that come with matstream; beside them there is condition-κ."""

STRUCTURES = (
    "banded",
    "circulant",
    "kronecker",
    "laplacian",
    "low_rank",
    "none",
    "orthogonal",
    "toeplitz",
)
