import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from pydantic import ValidationError

from matstream.generator_service.ensembles.coefficients import scale_of_uniform
from matstream.generator_service.ensembles.draws import row_layout
from matstream.generator_service.stream import generate
from matstream.generator_service.variates import uniforms
from matstream.shared.errors import explain
from matstream.shared.fields import COEFFICIENTS, POSITIVE_SPECTRA, SPECTRA
from matstream.shared.operations import OPERATIONS
from matstream.shared.spec import StreamSpec, stream_key
from tests.specs import fields_of

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "ensembles.json").read_text())
# whether an operation takes matrices without a structure
ANY = {name: not operation.structures and not operation.spare_rows for name, operation in OPERATIONS.items()}
SYMMETRIC = sorted(name for name, operation in OPERATIONS.items() if operation.symmetric)
POSITIVE = ["abs_laplace", "marchenko_pastur", "positive"]

# the law of one eigenvalue, by its σ
IID = {
    "uniform": lambda sigma: scipy.stats.uniform(-math.sqrt(3) * sigma, 2 * math.sqrt(3) * sigma),
    "gaussian": lambda sigma: scipy.stats.norm(0, sigma),
    "laplace": lambda sigma: scipy.stats.laplace(0, sigma / math.sqrt(2)),
    "abs_laplace": lambda sigma: scipy.stats.expon(0, sigma / math.sqrt(2)),
}


def drawn(count, **fields):
    """Inputs (count, n, n) and eigenvalues (count, n), descending."""
    spec = StreamSpec(**({"operation": "eigenvalues"} | fields))
    n = spec.dim.low
    inputs = np.array(generate(spec, 0, "train", 0, count).column("input").storage.to_pylist())
    inputs = inputs.reshape(count, n, n)
    return inputs, np.linalg.eigvalsh(inputs)[:, ::-1]


def words(count, **fields):
    """The row of uniforms of each sample."""
    spec = StreamSpec(operation="eigenvalues", **fields)
    return uniforms(stream_key(spec, 0, "train", 0), 0, count, row_layout(spec).words)


def follows(values, law):
    return scipy.stats.kstest(np.ravel(values), law.cdf).pvalue > 1e-6


def refusal(**fields):
    with pytest.raises(ValidationError) as refused:
        StreamSpec(**fields)
    [problem] = explain(refused.value.errors(), StreamSpec)
    return problem


# seeds are fixed; bounds are 5 standard errors or a chance of 1e-6


@pytest.mark.parametrize("pair", GOLDEN)
def test_eigenvalues_are_spread_as_those_of_the_published_code(pair):
    golden = GOLDEN[pair]
    coefficients, spectrum = pair.split("/")
    count, quantiles = golden["samples"], golden["pooled_quantiles"]
    _, values = drawn(count, dim=golden["n"], coefficients=coefficients, spectrum=spectrum)
    spread = quantiles["0.9"] - quantiles["0.1"]
    for level, published in quantiles.items():
        bound = 0.07 if level in ("0.01", "0.99") else 0.04
        assert abs(np.quantile(values, float(level)) - published) < bound * spread, level
    for name, sample in (("largest", values[:, 0]), ("smallest", values[:, -1])):
        deviation = golden[f"std_of_{name}"]
        assert abs(sample.mean() - golden[f"mean_of_{name}"]) < 5 * deviation * math.sqrt(2 / count)
        error = math.sqrt((scipy.stats.kurtosis(sample) + 2) / (2 * count))
        assert sample.std() == pytest.approx(deviation, rel=5 * error)
    traces = values.sum(axis=1)
    assert abs(traces.mean() - golden["mean_trace"]) < 5 * golden["std_trace"] * math.sqrt(2 / count)
    error = math.sqrt((scipy.stats.kurtosis(traces) + 2) / (2 * count))
    assert traces.std() == pytest.approx(golden["std_trace"], rel=5 * error)


def test_there_is_a_published_sample_for_every_spectrum():
    assert {pair.split("/")[1] for pair in GOLDEN} == set(SPECTRA)
    assert len(GOLDEN) == 14


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("fields", [{"dim": 1}, {"dim": 2}, {"dim": 8}, {"dim": 33, "scale": "1-100"}])
@pytest.mark.parametrize("coefficients", ["uniform", "gaussian"])
def test_matrices_are_exactly_symmetric_and_positive_ones_positive(spectrum, fields, coefficients):
    inputs, values = drawn(60, spectrum=spectrum, coefficients=coefficients, **fields)
    assert np.array_equal(inputs, inputs.swapaxes(1, 2))
    assert len(np.unique(inputs[:, 0, 0])) == 60
    if spectrum in POSITIVE:
        assert (values[:, -1] >= -1e-14 * fields["dim"] * values[:, 0]).all()
    elif fields["dim"] > 2:
        assert (values[:, -1] < 0).any()


@pytest.mark.parametrize("spectrum", IID)
@pytest.mark.parametrize("n", [3, 8])
@pytest.mark.parametrize(("scale", "coefficients"), [(4, "uniform"), (0.3, "gaussian"), (1e100, "uniform")])
def test_independent_eigenvalues_have_their_law(spectrum, n, scale, coefficients):
    _, values = drawn(3000, dim=n, scale=scale, coefficients=coefficients, spectrum=spectrum)
    sigma = math.sqrt(n / 3)
    assert follows(values / scale, IID[spectrum](sigma))
    largest = np.abs(values[:, 0] / scale) if spectrum == "abs_laplace" else values[:, 0] / scale
    law = IID[spectrum](sigma)
    assert scipy.stats.kstest(largest, lambda x: law.cdf(x) ** n).pvalue > 1e-6  # that of independent ones


@pytest.mark.parametrize("spectrum", IID)
@pytest.mark.parametrize("coefficients", COEFFICIENTS)
def test_eigenvalues_have_the_deviation_that_the_coefficients_decide(spectrum, coefficients):
    _, values = drawn(4000, dim=4, scale=2, coefficients=coefficients, spectrum=spectrum)
    wigner, _ = drawn(20_000, dim=4, scale=2, coefficients=coefficients)
    sigma = math.sqrt(np.square(wigner).sum(axis=(1, 2)).mean() / 4)
    ratio = scale_of_uniform(coefficients, 2.0) / 2
    assert sigma == pytest.approx(2 * ratio * math.sqrt(4 / 3), rel=0.02)
    assert follows(values, IID[spectrum](2 * ratio * math.sqrt(4 / 3)))


@pytest.mark.parametrize("spectrum", IID)
def test_eigenvalues_follow_the_scale_of_their_sample(spectrum):
    fields = {"dim": 3, "scale": "2-4", "spectrum": spectrum}
    _, values = drawn(4000, **fields)
    scales = 2 + np.floor(words(4000, **fields)[:, 0] * 3)
    assert follows(values / scales[:, None], IID[spectrum](1))


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize("spectrum", [name for name in SPECTRA if name != "marchenko_pastur"])
def test_eigenvectors_are_those_of_the_symmetric_draw(n, spectrum):
    inputs, _ = drawn(50, dim=n, spectrum=spectrum)
    triangles = 10 * (2 * words(50, dim=n, spectrum=spectrum) - 1)
    for matrix, triangle in zip(inputs, triangles, strict=True):
        wigner = np.zeros((n, n))
        lower = np.tril_indices(n)  # row by row
        wigner[lower] = wigner.T[lower] = triangle[: len(lower[0])]
        size = np.linalg.norm(wigner) * np.linalg.norm(matrix)
        assert np.abs(matrix @ wigner - wigner @ matrix).max() <= 1e-14 * n * size
        if spectrum == "semicircle":
            assert np.array_equal(matrix, wigner)
        elif spectrum == "positive":  # |A| is the positive root of A²
            assert np.abs(matrix @ matrix - wigner @ wigner).max() <= 1e-14 * n * size


@pytest.mark.parametrize("coefficients", ["uniform", "gaussian"])
def test_marchenko_pastur_matrices_are_gram_matrices_at_the_root_of_the_scale(coefficients):
    fields = {"dim": 4, "spectrum": "marchenko_pastur", "coefficients": coefficients, "scale": 7}
    inputs, _ = drawn(4000, **fields)
    u = words(4000, **fields)
    free = 2 * u - 1 if coefficients == "uniform" else scipy.stats.norm.ppf(u) / math.sqrt(3)
    g = (math.sqrt(7) * free).reshape(-1, 4, 4)
    assert inputs == pytest.approx(np.einsum("bki,bkj->bij", g, g), rel=1e-10, abs=1e-12)
    diagonal = inputs[:, np.arange(4), np.arange(4)]
    assert diagonal.mean() == pytest.approx(4 * 7 / 3, abs=5 * diagonal.std() / math.sqrt(diagonal.size))


# --- mixtures


@pytest.mark.parametrize(
    ("spectrum", "share"),
    [
        ("positive,semicircle", 1 / 2),
        ("abs_laplace,positive,semicircle", 2 / 3),
        (POSITIVE, 1),
        ("positive:3,semicircle:1", 3 / 4),
        ("abs_laplace:1,positive:2,semicircle:7", 3 / 10),
    ],
)
def test_a_mixture_has_each_component_in_its_share(spectrum, share):
    count = 4000
    _, values = drawn(count, dim=8, spectrum=spectrum)
    positive = np.count_nonzero(values[:, -1] > -1e-12 * values[:, 0])  # a semicircle, by a chance of 2e-8
    assert abs(positive - share * count) <= 5 * math.sqrt(count * share * (1 - share))


def test_operations_and_coefficients_are_drawn_by_their_weights():
    spec = StreamSpec(operation="add:3,svd:1,transpose:6", dim=2, coefficients="gaussian:1,uniform:4")
    batch = generate(spec, 0, "train", 0, 10_000)
    names = batch.column("operation").to_pylist()
    assert [round(names.count(name) / 1000) for name in ("add", "svd", "transpose")] == [3, 1, 6]
    largest = [max(map(abs, stored["data"])) for stored in batch.column("input").storage.to_pylist()]
    matrices = [each for each, name in zip(largest, names, strict=True) if name == "transpose"]
    over = scipy.stats.norm(0, 10 / math.sqrt(3)).sf(10) * 2
    expected = 0.2 * (1 - (1 - over) ** 4)  # only a normal entry exceeds the scale
    share = np.mean(np.array(matrices) > 10)
    assert abs(share - expected) < 5 * math.sqrt(expected / len(matrices))


def test_a_mixture_is_distributed_as_its_components_in_equal_shares():
    _, values = drawn(6000, dim=4, spectrum=list(IID), coefficients="gaussian", scale=3)
    one_each = np.take_along_axis(values, np.random.default_rng(0).integers(0, 4, (6000, 1)), axis=1)
    laws = [law(math.sqrt(4 / 3) * 3) for law in IID.values()]
    assert scipy.stats.kstest(one_each[:, 0], lambda x: sum(law.cdf(x) for law in laws) / 4).pvalue > 1e-6


@pytest.mark.parametrize(
    "fields",
    [
        {"dim": 4, "spectrum": SPECTRA},
        {"dim": "1-6", "spectrum": "laplace,positive", "coefficients": "gaussian", "scale": "1-9"},
        {
            "dim": 3,
            "spectrum": SPECTRA,
            "operation": [a for a in SYMMETRIC if ANY[a] and not OPERATIONS[a].positive],
            "max_abs": 1e4,
        },
        {"dim": 20, "spectrum": "marchenko_pastur,uniform", "noise": 0.1},
    ],
)
def test_a_mixture_is_the_same_matrices_however_the_range_is_split(rows, fields):
    spec = StreamSpec(**({"operation": "eigenvectors"} | fields))
    whole = rows([generate(spec, 4, "valid", 100, 120)])
    assert rows(generate(spec, 4, "valid", 100 + 40 * i, 40) for i in range(3)) == whole
    assert rows(generate(spec, 4, "valid", 100 + i, 1) for i in range(30)) == whole[:30]


# --- which operations take a spectrum


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - set(SYMMETRIC)))
@pytest.mark.parametrize("spectrum", ["laplace", "positive,semicircle"])
def test_operations_that_are_not_symmetric_refuse_a_spectrum(operation, spectrum):
    problem = refusal(**fields_of(operation, 3), spectrum=spectrum)
    assert problem.field == "spectrum"
    assert problem.value == spectrum
    allowed = [name for name in SYMMETRIC if ANY[name] and not OPERATIONS[name].positive]
    assert problem.message.endswith(f"is only for {', '.join(sorted(allowed))}")


@pytest.mark.parametrize("operation", sorted(name for name in set(OPERATIONS) - set(SYMMETRIC) if ANY[name]))
def test_beside_a_symmetric_operation_any_other_may_stand(operation):
    spec = StreamSpec(operation=["eigenvalues", operation], dim=4, spectrum="abs_laplace")
    batch = generate(spec, 0, "train", 0, 100)
    assert set(batch.column("operation").to_pylist()) == {"eigenvalues", operation}
    inputs = getattr(batch.column("input"), "storage", batch.column("input")).to_pylist()
    for name, stored in zip(batch.column("operation").to_pylist(), inputs, strict=True):
        entries = stored["data"] if isinstance(stored, dict) else stored
        matrix = np.reshape(entries, (4, -1))
        if name == "eigenvalues":
            assert np.array_equal(matrix, matrix.T)
            assert np.linalg.eigvalsh(matrix)[0] > -1e-12
        else:
            assert np.abs(matrix).max() <= 10
            assert not np.array_equal(matrix, matrix.T)


@pytest.mark.parametrize("operation", [name for name in SYMMETRIC if ANY[name]])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_every_symmetric_operation_takes_every_spectrum_for_which_it_has_answers(operation, spectrum):
    if OPERATIONS[operation].positive and spectrum not in POSITIVE_SPECTRA:
        assert refusal(operation=operation, dim=5, spectrum=spectrum).field == "spectrum"
        return
    batch = generate(StreamSpec(operation=operation, dim=5, spectrum=spectrum), 0, "train", 0, 50)
    matrices = np.reshape(batch.column("input").storage.to_pylist(), (50, 5, 5))
    assert np.array_equal(matrices, matrices.swapaxes(1, 2))
    assert max(batch.column("residual").to_pylist()) <= 1e-10
