import math

import numpy as np
import pytest
import scipy.stats

from matstream.generator_service.ensembles.coefficients import coefficients, scale_of_uniform
from matstream.shared.fields import COEFFICIENTS, SPREAD, WITH_ZEROS

EVEN = (np.arange(200_000) + 0.5) / 200_000  # uniforms, evenly spaced: shares are exact to 1 / 200,000
EXTREME = np.array([2.0**-54, 0.25, 0.5 - 2.0**-53, 0.5, 0.5 + 2.0**-53, 0.75, 1 - 2.0**-53])
SCALES = [1.0, 3.7, 10.0, 1e6]


def cdf(law: str, scale: float, x: np.ndarray) -> np.ndarray:
    """P(X ≤ x), written out."""
    if law == "uniform":
        return scipy.stats.uniform(-scale, 2 * scale).cdf(x)
    if law == "gaussian":
        return scipy.stats.norm(0, scale / math.sqrt(3)).cdf(x)
    if law == "integers":
        most = math.floor(scale)
        return scipy.stats.randint(-most, most + 1).cdf(x)
    if law == "sparse":
        return (scipy.stats.uniform(-scale, 2 * scale).cdf(x) + (x >= 0)) / 2
    positive = scipy.stats.loguniform(scale / SPREAD, scale)
    return (positive.cdf(x) + positive.sf(-x)) / 2


def variance(law: str, scale: float) -> float:
    """As an integral of the density, or a sum over whole numbers."""
    most = math.floor(scale)
    return {
        "uniform": scale**2 / 3,
        "gaussian": scale**2 / 3,
        "integers": most * (most + 1) / 3,
        "sparse": scale**2 / 6,
        "log_uniform": (scale**2 - (scale / SPREAD) ** 2) / (2 * math.log(SPREAD)),
    }[law]


@pytest.mark.parametrize("law", COEFFICIENTS)
@pytest.mark.parametrize("scale", SCALES)
def test_each_law_is_that_of_its_name(law, scale):
    drawn = coefficients(law, scale, EVEN)
    assert (np.diff(drawn) >= 0).all()  # an inverse CDF
    places = np.unique(np.append(np.linspace(-1.2 * scale, 1.2 * scale, 999), [-1, 0, 1, scale / SPREAD]))
    shares = np.searchsorted(drawn, places, side="right") / len(drawn)
    np.testing.assert_allclose(shares, cdf(law, scale, places), atol=1.01 / len(EVEN), rtol=0)


@pytest.mark.parametrize("law", COEFFICIENTS)
@pytest.mark.parametrize("scale", SCALES)
def test_the_mean_is_0_and_the_deviation_that_of_uniform_ones_at_the_scale_that_is_said(law, scale):
    drawn = coefficients(law, scale, EVEN)
    assert abs(drawn.mean()) < 1e-9 * scale
    assert drawn.var() == pytest.approx(variance(law, scale), rel=1e-4)
    assert scale_of_uniform(law, scale) == pytest.approx(math.sqrt(3 * variance(law, scale)))


@pytest.mark.parametrize("law", COEFFICIENTS)
def test_no_uniform_makes_minus_zero_or_a_number_beyond_the_scale(law):
    for scale in (*SCALES, 2.0**40, 1e-100) if law != "integers" else (*SCALES, 2.0**40):
        drawn = coefficients(law, scale, EXTREME)
        assert not (np.signbit(drawn) & (drawn == 0)).any()
        assert np.isfinite(drawn).all()
        if law != "gaussian":
            assert np.abs(drawn).max() <= scale
        if law == "log_uniform":
            assert np.abs(drawn).min() >= scale / SPREAD * (1 - 1e-12)
        if law == "integers":
            assert (drawn == np.rint(drawn)).all()
            assert drawn[0] == -math.floor(scale)
            assert drawn[-1] == math.floor(scale)


@pytest.mark.parametrize("law", COEFFICIENTS)
def test_a_scale_of_each_sample_gives_what_it_gives_alone(law):
    scales, uniforms = np.array([[1.0], [2.5], [40.0]]), np.random.default_rng(0).uniform(size=(3, 50))
    drawn, wide = coefficients(law, scales, uniforms), scale_of_uniform(law, scales)
    for i, scale in enumerate(scales[:, 0]):
        np.testing.assert_array_equal(drawn[i], coefficients(law, scale, uniforms[i]))
        assert wide[i] == scale_of_uniform(law, scale)


def test_those_laws_have_zeros_that_are_said_to():
    for law in COEFFICIENTS:
        share = np.mean(coefficients(law, 1.0, EVEN) == 0)
        assert (share > 0.3) == (law in WITH_ZEROS)
