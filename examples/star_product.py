"""The ⋆_M product of third-order tensors (Kilmer et al.; "matrix-mimetic" algebras, arXiv 2406.06942):

matstream sample star_product --problems examples/star_product.py --dim 2 -n 3
"""

import numpy as np

import matstream

FACES = 3  # of each tensor, side by side: A (m×m×3) is written as m×3m
K = np.arange(FACES)
M = np.sqrt(2 / FACES) * np.cos(np.pi * np.outer(K, K + 0.5) / FACES)  # the cosine transform, orthogonal
M[0] /= np.sqrt(2)


def faces(matrix):  # (B, m, 3·n) -> (B, 3, m, n)
    return matrix.reshape(*matrix.shape[:2], FACES, -1).swapaxes(1, 2)


def star(a, b):  # transform along the third axis, multiply face by face, transform back
    return np.einsum("fg,gh,gk,bhij,bkjl->bfil", M.T, M, M, faces(a), faces(b), optimize=True)


def second_way(inputs, targets):  # the same through the transformed faces
    m = inputs.shape[1]
    tensors = (inputs[:, :, : FACES * m], inputs[:, :, FACES * m :], targets)
    a, b, c = (np.einsum("fg,bgij->bfij", M, faces(x)) for x in tensors)
    sizes = [np.sqrt(np.square(x).sum(axis=(1, 2, 3))) for x in (a, b)]
    return np.abs(a @ b - c).max(axis=(1, 2, 3)) / (sizes[0] * sizes[1])


@matstream.operation(
    operands=lambda m, n: [(m, FACES * m), (m, FACES * n)],
    target=lambda m, n: (m, FACES * n),
    residual=second_way,
    residual_bound=1e-12,
)
def star_product(inputs):  # (B, m, 3·(m+n)) -> (B, m, 3·n)
    """A ⋆_M B, its faces side by side"""
    m = inputs.shape[1]
    product = star(inputs[:, :, : FACES * m], inputs[:, :, FACES * m :])
    return product.swapaxes(1, 2).reshape(len(inputs), m, -1)
