"""What holds for every operation: its samples do not depend on how a range is split, and coefficients of
every law make samples of it."""

import warnings

import numpy as np
import pytest
from pydantic import ValidationError

from matstream.generator_service.stream import generate
from matstream.shared.fields import WITH_ZEROS
from matstream.shared.operations import OPERATIONS
from matstream.shared.scoring import score
from matstream.shared.spec import StreamSpec
from matstream.shared.wire import flat, from_batch
from tests.specs import fields_of

# beside square ones: tall, wide, and drawn per sample
SHAPES = [(3, None), (5, 3), (2, 4), ("2-4", None), ("5-7", "1-4")]
MORE = [
    {"operation": "cholesky", "structure": "covariance"},
    {"operation": "symmetric_inverse", "structure": "covariance"},
    {"operation": "log_determinant", "spectrum": "abs_laplace:1,positive:3"},
    {"operation": "eigenvalues", "structure": "kronecker_sum:toeplitz"},
    {"operation": "solve", "structure": "block_diagonal:condition-30"},
    {"operation": "pseudo_inverse", "structure": "chosen_rank"},
    {"operation": "svd", "structure": "low_rank:banded", "coefficients": "gaussian:2,uniform"},
    {"operation": "transpose", "structure": "masked", "scale": "1-9"},
    {"operation": "add", "structure": "whole_numbers", "scale": 1000},
    {"operation": "lu:4,qr:1,trace:2"},
    {"operation": "inverse:2,svd", "coefficients": "integers,sparse:3,log_uniform,uniform", "scale": "1-9"},
    {"operation": "eigenvectors", "structure": "kronecker:banded", "coefficients": "sparse"},
    {"operation": "potentials", "coefficients": "sparse,integers:2"},
    {"operation": "log_determinant", "spectrum": "marchenko_pastur,positive", "coefficients": "integers"},
]


def spec_of(operation: str, m, n) -> StreamSpec | None:
    """A spec of these dimensions, None if the operation takes none of them."""
    found = OPERATIONS[operation]
    if isinstance(m, int):
        return None if n and found.square else StreamSpec(**fields_of(operation, m, n))
    if operation == "regression":  # takes an example at least, and a feature
        n = n and n.replace("1-", "2-")
    fields = {"operation": operation, "dim": m} | ({} if n is None else {"cols": n})
    if (n and found.square) or (n is None and found.spare_rows):
        return None
    return StreamSpec(**fields, scale=2)


SPECS = [spec for name in OPERATIONS for m, n in SHAPES if (spec := spec_of(name, m, n))]
SPECS += [StreamSpec(**{"dim": dim} | fields) for fields in MORE for dim in (4, "8-9")]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.canonical())
def test_a_range_has_the_same_bits_however_it_is_split(rows, spec):
    whole = rows([generate(spec, 3, "valid", 17, 40)])
    assert rows([generate(spec, 3, "valid", 17, 13), generate(spec, 3, "valid", 30, 27)]) == whole
    assert rows(generate(spec, 3, "valid", 17 + i, 1) for i in range(8)) == whole[:8]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.canonical())
def test_samples_have_the_shapes_that_are_said_and_no_negative_zero(spec):
    samples = from_batch(generate(spec, 0, "train", 0, 100))
    inputs, targets = flat(samples.input), flat(samples.target)
    for matrices in (inputs, targets):
        assert np.isfinite(matrices.entries).all()
        assert not (np.signbit(matrices.entries) & (matrices.entries == 0)).any()
    shapes = {
        (*operation.input_shape(m, n), *operation.target_shape(m, n))
        for operation in spec.operations.values()
        for m in range(spec.dim.low, spec.dim.high + 1)
        for n in (range(spec.cols.low, spec.cols.high + 1) if spec.cols else [m])
    }
    assert set(map(tuple, np.hstack([inputs.shapes, targets.shapes]).tolist())) <= shapes


def test_every_operation_is_tried_at_more_than_one_shape():
    for name in OPERATIONS:
        assert sum(spec.operation == (name,) for spec in SPECS) >= 2


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("law", ["integers", "sparse", "log_uniform"])
def test_every_law_of_coefficients_makes_samples_of_every_operation_or_is_refused(rows, operation, law):
    found = OPERATIONS[operation]
    if found.hides and law in WITH_ZEROS:
        with pytest.raises(
            ValidationError, match=f"coefficients='{law}': is not for {operation}: a 0 in the"
        ):
            StreamSpec(**fields_of(operation, 5), coefficients=law)
        return
    for dim in (1, 2, 3, 5):
        for scale in (1, 3) if law == "integers" else (2,):
            spec = StreamSpec(**fields_of(operation, max(dim, found.least)), coefficients=law, scale=scale)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                batch = generate(spec, 0, "train", 0, 2000)
            samples = from_batch(batch)
            residuals = batch.column("residual").to_numpy()
            assert (residuals <= found.residual_bound).all()
            if found.invertible:
                cols = found.operands(spec.dim.low, (spec.cols or spec.dim).low)[0].cols
                matrices = samples.input[:, :, :cols]
                assert np.linalg.cond(matrices).max() < 1e13
            for matrices in (samples.input, samples.target):
                assert np.isfinite(matrices).all()
                assert not (np.signbit(matrices) & (matrices == 0)).any()
            assert rows([generate(spec, 0, "train", 600, 40)]) == rows([batch])[600:640]
            with warnings.catch_warnings():  # right answers score as right, and are compared with methods
                warnings.simplefilter("error")
                scores = score(found, samples.input, samples.target, samples.target)
                for method in found.methods:
                    method.answer(samples.input[:200], method.steps[0])
            assert (scores.l1 < 1e-9).all()
