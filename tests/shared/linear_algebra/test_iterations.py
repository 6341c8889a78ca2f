"""The numerical methods that models are compared with."""

import math

import numpy as np
import pytest

import matstream
from matstream.shared.linear_algebra import iterations
from matstream.shared.operations import OPERATIONS
from matstream.shared.scoring import right_by_error, score
from tests.specs import fields_of

RNG = np.random.default_rng(0)
GENERAL = RNG.normal(size=(30, 4, 4))
DEFINITE = GENERAL @ GENERAL.swapaxes(1, 2) + np.eye(4)
SYMMETRIC = GENERAL + GENERAL.swapaxes(1, 2)
VECTORS = RNG.normal(size=(30, 4, 1))


def test_conjugate_gradients_end_in_as_many_steps_as_there_are_unknowns_and_stay():
    for steps in (4, 5, 9, 50):
        x = iterations.conjugate_gradients(DEFINITE, VECTORS, steps)
        np.testing.assert_allclose(x, np.linalg.solve(DEFINITE, VECTORS), atol=1e-9)
    x = iterations.conjugate_gradients_of_normal_equations(GENERAL, VECTORS, 12)
    exact = np.linalg.solve(GENERAL, VECTORS)
    assert np.median(np.abs(x - exact) / np.abs(exact).max(axis=1, keepdims=True)) < 1e-9
    before = iterations.conjugate_gradients(DEFINITE, VECTORS, 3)
    assert np.abs(before - np.linalg.solve(DEFINITE, VECTORS)).max() > 1e-6


def test_a_step_of_conjugate_gradients_is_the_best_along_the_right_side():
    x = iterations.conjugate_gradients(DEFINITE, VECTORS, 1)
    for a, b, found in zip(DEFINITE, VECTORS[:, :, 0], x[:, :, 0], strict=True):
        np.testing.assert_allclose(found, (b @ b) / (b @ a @ b) * b)


def test_gradient_descent_never_leaves_a_larger_rest_and_is_conjugate_gradients_in_its_first_step():
    rests = [
        np.linalg.norm(VECTORS - GENERAL @ iterations.gradient_descent(GENERAL, VECTORS, k), axis=1)
        for k in range(6)
    ]
    assert (np.diff(rests, axis=0) <= 1e-12).all()
    first = iterations.conjugate_gradients_of_normal_equations(GENERAL, VECTORS, 1)
    np.testing.assert_allclose(iterations.gradient_descent(GENERAL, VECTORS, 1), first)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
def test_newton_and_schulz_come_to_the_pseudo_inverse_twice_as_near_each_step(shape):
    a = np.random.default_rng(1).normal(size=(30, *shape))
    np.testing.assert_allclose(iterations.newton_schulz(a, 60), np.linalg.pinv(a), atol=1e-8)
    identity = np.eye(4)[None]
    np.testing.assert_allclose(iterations.newton_schulz(2 * identity, 0), identity / 2)


@pytest.mark.parametrize("method", [iterations.jacobi, iterations.qr_iteration])
def test_eigenvalues_and_vectors_are_found_in_the_end(method):
    steps = 6 if method is iterations.jacobi else 3000
    values, vectors = method(DEFINITE, steps)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(DEFINITE)[:, ::-1], rtol=1e-8)
    np.testing.assert_allclose(DEFINITE @ vectors, vectors * values[:, None], atol=1e-6)
    np.testing.assert_allclose(
        vectors.swapaxes(1, 2) @ vectors, np.broadcast_to(np.eye(4), (30, 4, 4)), atol=1e-12
    )


def test_a_sweep_of_jacobi_solves_2x2_matrices():
    a = SYMMETRIC[:, :2, :2]
    np.testing.assert_allclose(iterations.jacobi(a, 1)[0], np.linalg.eigvalsh(a)[:, ::-1], atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5), (1, 4)])
def test_singular_values_and_vectors_are_found_in_the_end(shape):
    a = np.random.default_rng(2).normal(size=(30, *shape))
    values, left, right = iterations.qr_iteration_of_rectangles(a, 3000)
    np.testing.assert_allclose(values, np.linalg.svd(a, compute_uv=False), rtol=1e-8)
    np.testing.assert_allclose((left * values[:, None]) @ right.swapaxes(1, 2), a, atol=1e-6)


def test_a_taylor_series_has_the_terms_that_are_asked_for():
    a = np.array([[[0.5]]])
    assert iterations.taylor_series(a, 0) == 1
    assert iterations.taylor_series(a, 3)[0, 0, 0] == pytest.approx(1 + 0.5 + 0.125 + 0.125 / 6)
    assert iterations.taylor_series(a, 30)[0, 0, 0] == pytest.approx(math.exp(0.5), rel=1e-15)


def test_square_roots_and_roots_are_found_in_the_end():
    root = iterations.denman_beavers(DEFINITE, 15)
    np.testing.assert_allclose(root @ root, DEFINITE, rtol=1e-9)
    coefficients = np.random.default_rng(3).normal(size=(20, 4))
    found = iterations.durand_kerner(coefficients, 60)
    for c, x in zip(coefficients, found, strict=True):
        np.testing.assert_allclose(np.sort_complex(x), np.sort_complex(np.roots([1, *c])), atol=1e-8)


def of_many_steps(name):
    samples = matstream.sample(**fields_of(name, 3), count=60, scale=30 if name == "gcd" else 1)
    return np.asarray(samples.inputs), np.asarray(samples.targets)


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.methods])
def test_every_method_of_every_operation_comes_to_its_target(name):
    """With far more steps than in a table; but for regression, where no method knows the noise."""
    inputs, targets = of_many_steps(name)
    many = {"gradient descent": 20_000, "QR iteration": 2000, "Denman–Beavers": 20, "Newton–Schulz": 60}
    for method in OPERATIONS[name].methods:
        if name == "regression":
            continue
        with np.errstate(all="ignore"):
            answers = method.answer(inputs, many.get(method.name, 50))
            few = method.answer(inputs, 1)
        assert answers.shape == few.shape == targets.shape
        right = right_by_error(score(name, inputs, targets, answers))[:, 0]
        assert right.mean() > 0.9, method.name
        assert right_by_error(score(name, inputs, targets, few))[:, 0].mean() < right.mean()
