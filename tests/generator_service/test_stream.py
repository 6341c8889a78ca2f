import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from matstream.generator_service.stream import UndrawableError, batches, default_batch_rows, generate, makers
from matstream.shared.fields import SPECTRA
from matstream.shared.operations import OPERATIONS
from matstream.shared.spec import SampleRange, StreamSpec, stream_key
from matstream.trainer import client
from tests.specs import OF_ANY_MATRIX


def drawn(spec, count, start=0, seed=0, split="train"):
    """Inputs and targets as lists of matrices, and the other columns as lists."""
    batch = generate(spec, seed, split, start, count)
    columns = {}
    for name in batch.schema.names:
        column = batch.column(name)
        if name not in ("input", "target"):
            columns[name] = column.to_pylist()
        elif shape := getattr(column.type, "shape", None):
            columns[name] = list(np.array(column.storage.to_pylist()).reshape(count, *shape))
        else:
            stored = getattr(column, "storage", column).to_pylist()
            columns[name] = [np.reshape(matrix["data"], matrix["shape"]) for matrix in stored]
    return columns


# matrix_exponential is left out: its answers overflow where matrices are large
SIMPLE = [name for name in OF_ANY_MATRIX if name not in ("matrix_exponential", "polynomial_roots", "qr")]


@st.composite
def specs(draw):
    """Small specs of every kind, all of which can be drawn."""
    operation = draw(st.sets(st.sampled_from(SIMPLE), min_size=1, max_size=3))
    square = any(OPERATIONS[name].square for name in operation)
    symmetric = any(OPERATIONS[name].symmetric for name in operation)
    structures = {"banded", "circulant", "kronecker", "low_rank", "toeplitz", "condition-50"}
    structures |= set() if symmetric else {"orthogonal"}
    structures |= set() if any(OPERATIONS[name].invertible for name in operation) else {"laplacian"}
    structure = draw(st.sampled_from(["none"] * 4 + sorted(structures)))
    dims = st.sampled_from(["8-9", 4, "8-10"] if structure == "kronecker" else [1, 3, "1-2", "2-4"])
    scale, largest = draw(st.sampled_from([(10, 10), (0.5, 0.5), ("1-3", 3), ("2-20", 20)]))
    fields = {
        "operation": sorted(operation),
        "dim": draw(dims),
        "coefficients": draw(st.sampled_from(["uniform", "gaussian"])),
        "scale": scale,
        "noise": draw(st.sampled_from([0, 0.5])),
        "structure": sorted({structure, draw(st.sampled_from([structure, "toeplitz"]))}),
    }
    if not square and structure not in ("circulant", "laplacian"):
        fields["cols"] = draw(st.none() | dims)
    if symmetric and structure == "none":
        fields["spectrum"] = draw(st.sets(st.sampled_from(SPECTRA), min_size=1, max_size=3))
    if structure == "none" and "spectrum" not in fields and operation <= {"add", "transpose"}:
        fields["max_abs"] = draw(st.sampled_from([None, 1.5 * largest, 3 * largest]))
    elif structure == "none":
        fields["max_abs"] = draw(st.sampled_from([None, 30 * max(1, largest) ** 2]))
    return StreamSpec(**fields)


addresses = st.fixed_dictionaries(
    {
        "seed": st.sampled_from([0, 1, 2**63 - 1]),
        "split": st.sampled_from(["train", "valid", "test"]),
        "start": st.integers(0, 1000) | st.integers(0, 2**63 - 100),
    }
)


def pooled(spec, samples, batch_rows, pool):
    """The batches of a range, made in a pool of threads, yielded in order."""
    return pool.map(lambda make: make(), makers(spec, samples, batch_rows))


@settings(max_examples=120)
@given(specs(), addresses, st.integers(1, 40), st.data())
def test_a_sample_is_the_same_in_any_range_and_any_batch(rows, spec, address, count, data):
    whole = rows([generate(spec, **address, count=count)])
    batch_rows = data.draw(st.integers(1, count))
    assert rows(batches(spec, SampleRange(**address, count=count), batch_rows)) == whole
    with ThreadPoolExecutor(2) as pool:
        assert rows(pooled(spec, SampleRange(**address, count=count), batch_rows, pool)) == whole
    first = data.draw(st.integers(0, count - 1))
    asked = data.draw(st.integers(1, count - first))
    part = generate(spec, **(address | {"start": address["start"] + first}), count=asked)
    assert rows([part]) == whole[first : first + asked]


@settings(max_examples=40)
@given(specs(), addresses, st.integers(1, 60), st.data())
def test_a_sample_is_the_same_from_any_process_in_any_request(rows, replicas, spec, address, count, data):
    asked = {"request_samples": data.draw(st.integers(1, count)), "connections": data.draw(st.integers(1, 4))}
    served = rows(client.stream(replicas, spec, **address, count=count, **asked))
    assert served == rows([generate(spec, **address, count=count)])


@pytest.mark.parametrize(
    "fields",
    [
        {"operation": "eigenvalues", "dim": 5},
        {"operation": "add", "dim": "2-6", "cols": "1-4", "coefficients": "gaussian", "scale": "1-100"},
        {"operation": "add,eigenvalues,transpose", "dim": "2-5", "noise": 0.05, "max_abs": 18},
        {"operation": SIMPLE, "dim": "1-5", "spectrum": SPECTRA, "max_abs": 1e5},
        {"operation": "add:7,svd:2,transpose", "dim": "1-3", "coefficients": "gaussian:1,uniform:3"},
        {"operation": "cholesky", "dim": 3, "spectrum": "abs_laplace:5,positive"},
        {"operation": "inverse,svd", "dim": 4, "structure": "low_rank", "max_abs": 12},
        {"operation": "inverse", "dim": 6, "structure": "condition-5000000"},
    ],
)
def test_a_thousand_samples_are_three_hundred_and_seven_hundred(rows, fields):
    spec = StreamSpec(**fields)
    parts = [generate(spec, 1, "train", 0, 300), generate(spec, 1, "train", 300, 700)]
    assert rows(parts) == rows([generate(spec, 1, "train", 0, 1000)])


@pytest.mark.parametrize("n", [17, 40, 64])
@pytest.mark.parametrize(
    "fields",
    [
        {"operation": name}
        for name in sorted(OPERATIONS)
        if name not in ("least_squares", "matrix_exponential")
    ]
    + [{"operation": "eigenvectors", "spectrum": name} for name in ("laplace", "marchenko_pastur")]
    + [{"operation": "transpose", "structure": name} for name in ("orthogonal", "low_rank", "laplacian")]
    + [{"operation": "svd", "structure": "condition-100"}]
    + [{"operation": name, "structure": "laplacian"} for name in ("eigenvectors", "svd")],
    ids=lambda fields: "-".join(fields.values()),
)
def test_large_matrices_have_the_same_bits_alone_and_in_a_batch(rows, n, fields):
    spec = StreamSpec(dim=n, coefficients="gaussian", **fields)
    alone = [generate(spec, 0, "train", i, 1) for i in range(12)]
    assert rows(alone) == rows([generate(spec, 0, "train", 0, 12)])


@pytest.mark.parametrize("start", [2**32 - 5, 2**53 - 5, 2**62, 2**63 - 1 - 10])
def test_samples_at_large_indices_are_samples_like_any_other(rows, start):
    spec = StreamSpec(operation="add", dim="1-3", noise=0.1)
    batch = generate(spec, 0, "train", start, 10)
    assert batch.column("index").to_pylist() == list(range(start, start + 10))
    assert rows([batch]) == rows(generate(spec, 0, "train", start + i, 1) for i in range(10))
    assert len(set(rows([batch]))) == 10
    assert rows([batch])[0] != rows([generate(spec, 0, "train", 0, 1)])[0]


def test_no_sample_is_in_two_splits_or_two_seeds():
    spec = StreamSpec(operation="transpose", dim=2)
    entries = [
        tuple(matrix.flat)
        for seed in (0, 1, 2**63 - 1)
        for split in ("train", "valid", "test")
        for matrix in drawn(spec, 500, seed=seed, split=split)["input"]
    ]
    assert len(set(entries)) == len(entries) == 9 * 500


def test_samples_are_those_of_every_release():
    first = drawn(StreamSpec(operation="eigenvalues", dim=2), 1)
    assert first["input"][0] == pytest.approx(
        np.array([[8.682010178909811, 4.72665579060987], [4.72665579060987, 8.859855855615802]]), rel=1e-14
    )
    assert first["target"][0][:, 0] == pytest.approx([13.498425189026452, 4.04344084549916], rel=1e-13)
    far = drawn(StreamSpec(operation="add", dim=2, coefficients="gaussian"), 1, start=2**40)
    assert far["input"][0] == pytest.approx(
        np.array(
            [
                [-3.05994997, -2.1591343, 7.87789592, -5.57490099],
                [1.8899871, 0.51353931, -0.88082636, 5.12705576],
            ]
        ),
        rel=1e-8,
    )


@pytest.mark.parametrize(
    "address",
    [
        {"seed": -1},
        {"seed": 2**63},
        {"split": "dev"},
        {"start": -1},
        {"start": 2**63 - 1},
        {"count": 0},
        {"count": 2**63},
    ],
)
def test_an_address_out_of_range_is_a_value_error(address):
    with pytest.raises(ValueError, match=next(iter(address)).replace("start", "start|count")):
        generate(
            StreamSpec(operation="add", dim=2),
            **({"seed": 0, "split": "train", "start": 0, "count": 1} | address),
        )


def test_batches_have_the_rows_asked_for_and_the_last_what_is_left():
    made = batches(StreamSpec(operation="add", dim=2), SampleRange(start=3, count=10), 4)
    assert [(batch.column("index")[0].as_py(), batch.num_rows) for batch in made] == [(3, 4), (7, 4), (11, 2)]


def test_a_batch_is_made_only_when_it_is_asked_for():
    endless = batches(StreamSpec(operation="add", dim=2), SampleRange(count=2**63 - 1), 10)
    assert [next(endless).num_rows for _ in range(3)] == [10, 10, 10]


POOLED = [
    {"operation": "eigenvectors", "dim": 5, "spectrum": "laplace,positive"},
    {"operation": "inverse", "dim": 2, "max_abs": 12},
    {"operation": SIMPLE, "dim": "1-6", "noise": 0.1},
    {"operation": "svd", "dim": "2-9", "cols": "1-4", "structure": "banded"},
    {"operation": "matmul", "dim": 12},
]


@pytest.mark.parametrize("fields", POOLED)
@pytest.mark.parametrize(("workers", "batch_rows"), [(1, 7), (2, 1), (2, 50), (8, 33), (4, 1000)])
def test_batches_made_in_a_pool_of_threads_are_those_made_without(rows, fields, workers, batch_rows):
    spec, samples = StreamSpec(**fields), SampleRange(start=9, count=200)
    without = list(batches(spec, samples, batch_rows))
    with ThreadPoolExecutor(workers) as pool:
        made = list(pooled(spec, samples, batch_rows, pool))
        assert [batch.num_rows for batch in made] == [batch.num_rows for batch in without]
        assert rows(made) == rows(without)
        assert all(a.schema.equals(b.schema, check_metadata=True) for a, b in zip(made, without, strict=True))


def test_streams_that_share_a_pool_harm_one_another_in_nothing(rows):
    specs = [StreamSpec(**fields) for fields in POOLED]
    samples = SampleRange(count=120)
    with ThreadPoolExecutor(3) as pool:
        streams = [pooled(spec, samples, 20, pool) for spec in specs]
        turns = list(zip(*streams, strict=True))
    for spec, made in zip(specs, zip(*turns, strict=True), strict=True):
        assert rows(made) == rows([generate(spec, 0, "train", 0, 120)])


def test_in_a_pool_batches_before_one_that_cannot_be_drawn_are_made():
    spec, samples = StreamSpec(operation="transpose", dim=1, max_abs=0.5), SampleRange(count=10_000)
    with ThreadPoolExecutor(2) as pool:
        outcomes = []
        for made in (batches(spec, samples, 1), pooled(spec, samples, 1, pool)):
            indices = []
            with pytest.raises(UndrawableError) as refused:
                indices.extend(b.column("index")[0].as_py() for b in made)
            outcomes.append((indices, str(refused.value)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0]


@pytest.mark.parametrize("dim", [1, 5, 30, 128, "1-128"])
def test_default_batches_are_of_two_megabytes_or_one_row(dim):
    spec = StreamSpec(operation="add,transpose", dim=dim)
    rows = default_batch_rows(spec)
    assert 1 <= rows <= 8192
    [batch] = batches(spec, SampleRange(count=rows), rows)
    assert batch.nbytes < 2.5 * 2**20


# --- laws; seeds are fixed, bounds are 5 standard errors or a chance of 1e-6


def follows(entries, law):
    return scipy.stats.kstest(np.ravel(entries), law.cdf).pvalue > 1e-6


def as_likely_as(counts, chance):
    total = sum(counts)
    return all(abs(c - total * chance) < 5 * math.sqrt(total * chance * (1 - chance)) for c in counts)


@pytest.mark.parametrize("scale", [10, 0.25, 1e-100, 1e100])
def test_uniform_coefficients_are_uniform_up_to_the_scale(scale):
    entries = np.array(drawn(StreamSpec(operation="transpose", dim=4, scale=scale), 2000)["input"])
    assert np.abs(entries).max() < scale
    assert follows(entries / scale, scipy.stats.uniform(-1, 2))


@pytest.mark.parametrize("scale", [10, 0.25, 1e-100, 1e100])
def test_gaussian_coefficients_have_deviation_s_over_sqrt_3(scale):
    spec = StreamSpec(operation="transpose", dim=4, scale=scale, coefficients="gaussian")
    entries = np.array(drawn(spec, 2000)["input"]) / scale
    assert follows(entries, scipy.stats.norm(0, 1 / math.sqrt(3)))
    assert entries.std() * math.sqrt(3) == pytest.approx(1, abs=5 / math.sqrt(2 * entries.size))


@pytest.mark.parametrize("coefficients", ["uniform", "gaussian"])
def test_entries_samples_and_seeds_are_uncorrelated(coefficients):
    spec = StreamSpec(operation="transpose", dim=2, coefficients=coefficients)
    tables = [np.reshape(drawn(spec, 4001, seed=seed)["input"], (4001, 4)) for seed in (0, 1)]
    together = np.hstack([tables[0][:-1], tables[0][1:], tables[1][:-1]])
    correlations = np.corrcoef(together, rowvar=False)[np.triu_indices(12, 1)]
    assert np.abs(correlations).max() < 5 / math.sqrt(4000)


@pytest.mark.parametrize("coefficients", ["uniform", "gaussian"])
def test_symmetric_matrices_are_a_mirrored_triangle_of_coefficients(coefficients):
    inputs = np.array(
        drawn(StreamSpec(operation="eigenvalues", dim=5, coefficients=coefficients), 4000)["input"]
    )
    assert np.array_equal(inputs, inputs.swapaxes(1, 2))
    triangle = inputs[:, *np.tril_indices(5)]
    assert len(np.unique(triangle)) == triangle.size
    law = (
        scipy.stats.uniform(-10, 20) if coefficients == "uniform" else scipy.stats.norm(0, 10 / math.sqrt(3))
    )
    assert all(follows(entry, law) for entry in triangle.T)


def test_a_scale_range_is_drawn_per_sample_each_whole_number_as_likely():
    inputs = np.array(drawn(StreamSpec(operation="transpose", dim=9, scale="2-5"), 4000)["input"])
    scales = np.ceil(np.abs(inputs).max(axis=(1, 2)))
    assert set(scales) == {2, 3, 4, 5}
    assert as_likely_as([int((scales == s).sum()) for s in (2, 3, 4, 5)], 1 / 4)
    assert follows(inputs / scales[:, None, None], scipy.stats.uniform(-1, 2))


def test_dims_are_drawn_per_sample_each_as_likely_and_square_without_cols():
    shapes = [matrix.shape for matrix in drawn(StreamSpec(operation="transpose", dim="2-6"), 5000)["input"]]
    assert set(shapes) == {(n, n) for n in range(2, 7)}
    assert as_likely_as([shapes.count((n, n)) for n in range(2, 7)], 1 / 5)


def test_rows_and_cols_are_drawn_apart():
    spec = StreamSpec(operation="transpose", dim="2-4", cols="1-2")
    shapes = [matrix.shape for matrix in drawn(spec, 6000)["input"]]
    pairs = list(itertools.product((2, 3, 4), (1, 2)))
    assert set(shapes) == set(pairs)
    assert as_likely_as([shapes.count(pair) for pair in pairs], 1 / 6)


def test_cols_equal_to_dim_are_still_drawn_apart():
    shapes = [m.shape for m in drawn(StreamSpec(operation="transpose", dim="1-2", cols="1-2"), 100)["input"]]
    assert set(shapes) == {(1, 1), (1, 2), (2, 1), (2, 2)}


def test_a_dimension_tells_nothing_about_the_entries():
    samples = drawn(StreamSpec(operation="transpose", dim="1-3"), 6000)["input"]
    for n in (1, 2, 3):
        assert follows([m[-1, -1] for m in samples if len(m) == n], scipy.stats.uniform(-10, 20))


@pytest.mark.parametrize("operation", ["add", "transpose", "eigenvalues"])
@pytest.mark.parametrize(("scale", "coefficients"), [(10, "uniform"), (2, "gaussian"), (2, "uniform")])
def test_noise_is_normal_and_only_in_the_input(operation, scale, coefficients):
    spec = StreamSpec(operation=operation, dim=4, scale=scale, coefficients=coefficients, noise=0.3)
    samples = drawn(spec, 3000)
    inputs, targets = np.array(samples["input"]), np.array(samples["target"])
    deviation = 0.3 * scale / math.sqrt(3)
    noise, terms = {
        "transpose": lambda: (inputs - targets.swapaxes(1, 2), 1),
        "add": lambda: (inputs[:, :, :4] + inputs[:, :, 4:] - targets, 2),
        "eigenvalues": lambda: (np.trace(inputs, axis1=1, axis2=2) - targets.sum(axis=(1, 2)), 4),
    }[operation]()
    assert follows(noise, scipy.stats.norm(0, deviation * math.sqrt(terms)))
    assert max(samples["residual"]) <= 1e-12


def test_noise_follows_the_scale_of_its_sample():
    samples = drawn(StreamSpec(operation="transpose", dim=9, scale="1-3", noise=1), 3000)
    inputs, exact = np.array(samples["input"]), np.array(samples["target"]).swapaxes(1, 2)
    scales = np.ceil(np.abs(exact).max(axis=(1, 2)))
    for scale in (1, 2, 3):
        noise = (inputs - exact)[scales == scale]
        assert follows(noise, scipy.stats.norm(0, scale / math.sqrt(3)))


def test_noise_is_independent_of_the_matrix():
    samples = drawn(StreamSpec(operation="transpose", dim=2, noise=1), 4000)
    exact = np.array(samples["target"]).swapaxes(1, 2).reshape(4000, 4)
    noise = np.array(samples["input"]).reshape(4000, 4) - exact
    correlations = np.corrcoef(exact, noise, rowvar=False)[:4, 4:]
    assert np.abs(correlations).max() < 5 / math.sqrt(4000)


def test_operations_are_drawn_per_sample_each_as_likely():
    samples = drawn(StreamSpec(operation="add,eigenvalues,transpose", dim=2), 6000)
    names = samples["operation"]
    assert set(names) == {"add", "eigenvalues", "transpose"}
    assert as_likely_as([names.count(name) for name in set(names)], 1 / 3)
    for name, matrix, target in zip(names, samples["input"], samples["target"], strict=True):
        if name == "transpose":
            assert np.array_equal(matrix.T, target)
        elif name == "add":
            assert np.array_equal(matrix[:, :2] + matrix[:, 2:], target)
        else:
            assert target.sum() == pytest.approx(np.trace(matrix), abs=1e-12)


# --- redraws


@pytest.mark.parametrize(
    "fields",
    [
        {"operation": "transpose", "dim": 2, "max_abs": 6},
        {"operation": "transpose", "dim": 2, "max_abs": 10, "noise": 0.5},
        {"operation": "add", "dim": "1-2", "cols": "1-2", "max_abs": 8, "coefficients": "gaussian"},
        {"operation": "eigenvalues", "dim": "1-4", "max_abs": 12, "scale": "5-15"},
        {"operation": "add,eigenvalues,transpose", "dim": 2, "max_abs": 9},
    ],
)
def test_no_entry_exceeds_max_abs(fields):
    samples = drawn(StreamSpec(**fields), 500)
    largest = [np.abs(matrix).max() for name in ("input", "target") for matrix in samples[name]]
    assert 0.8 * fields["max_abs"] < max(largest) <= fields["max_abs"]
    assert 0 < np.count_nonzero(samples["attempt"]) < 500


def test_a_sample_is_the_first_attempt_that_is_small_enough():
    spec = StreamSpec(operation="transpose", dim=2, max_abs=5)
    samples = drawn(spec, 200, start=1000)
    for i in range(200):
        for attempt in range(100):
            key = stream_key(spec, 0, "train", attempt)
            words = np.random.Philox(key=key, counter=1000 + i).random_raw(4) >> np.uint64(11)
            entries = (2 * (words * 2.0**-53) - 1) * 10
            if np.abs(entries).max() <= 5:
                break
        assert samples["attempt"][i] == attempt
        assert np.array_equal(samples["input"][i].ravel(), entries)
    assert len(set(samples["attempt"])) > 10


def test_a_bound_nothing_reaches_draws_nothing_again():
    samples = drawn(StreamSpec(operation="add", dim=3, max_abs=20), 300)
    assert set(samples["attempt"]) == {0}


def test_what_cannot_be_drawn_is_an_error_that_names_the_sample_and_max_abs():
    spec = StreamSpec(operation="add", dim=2, max_abs=1e-30)
    with pytest.raises(UndrawableError, match=r"max_abs=1e-30: .*sample 7 was over it") as refused:
        generate(spec, 0, "valid", 7, 3)
    assert isinstance(refused.value, ValueError)


def test_batches_before_one_that_cannot_be_drawn_are_made():
    stream = batches(StreamSpec(operation="transpose", dim=1, max_abs=0.5), SampleRange(count=10_000), 1)
    indices = []
    with pytest.raises(UndrawableError) as refused:
        indices.extend(batch.column("index")[0].as_py() for batch in stream)
    assert indices
    assert indices == list(range(len(indices)))
    assert f"sample {len(indices)} was over it" in str(refused.value)
