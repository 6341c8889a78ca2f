import hashlib
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from matstream.shared.errors import RefusedError, explain
from matstream.shared.fields import MAX_DIM, MAX_INDEX, POSITIVE_SPECTRA, SPECTRA
from matstream.shared.operations import OPERATIONS
from matstream.shared.spec import SampleRange, StreamSpec, stream_key
from tests.specs import fields_of


def spec(**fields) -> StreamSpec:
    return StreamSpec(**({"operation": "add", "dim": 5} | fields))


# operations that take matrices of any law
ANY_MATRIX = sorted(
    name
    for name, operation in OPERATIONS.items()
    if not operation.structures and not operation.positive and operation.spare_rows is None
)
ranges = st.tuples(st.integers(1, MAX_DIM), st.integers(1, MAX_DIM)).map(sorted)
dims = ranges.map(lambda ends: f"{ends[0]}-{ends[1]}") | st.integers(1, MAX_DIM)
numbers = st.floats(1e-100, 1e100) | st.integers(1, 10**100)


@st.composite
def fields(draw) -> dict:
    """The fields of any valid spec, defaults left out at times."""
    operation = draw(st.lists(st.sampled_from(ANY_MATRIX), min_size=1, max_size=4))
    operation += draw(st.sampled_from([[], [], ["cholesky"], ["matrix_square_root"]]))
    positive = any(OPERATIONS[name].positive for name in operation)
    optional = {
        "coefficients": st.sampled_from(["uniform", "gaussian"]),
        "scale": numbers | st.tuples(st.integers(1, 99), st.integers(99, 10**6)).map("{0[0]}-{0[1]}".format),
        "spectrum": st.just("semicircle"),
        "noise": st.floats(0, 1e6),
        "max_abs": numbers,
    }
    conditioned = (st.floats(1, 1e12) | st.integers(1, 10**12)).map("condition-{}".format)
    if not any(OPERATIONS[name].square for name in operation):
        optional["cols"] = dims
    if any(OPERATIONS[name].symmetric for name in operation) and draw(st.booleans()):
        spectra = POSITIVE_SPECTRA if positive else SPECTRA
        optional["spectrum"] = st.lists(st.sampled_from(spectra), min_size=1, max_size=8)
    elif positive:
        optional |= {"structure": conditioned, "spectrum": st.just(POSITIVE_SPECTRA[0])}
        optional.pop(draw(st.sampled_from(["structure", "spectrum"])))
    else:
        named = ["banded", "low_rank", "none", "toeplitz", "low_rank:toeplitz", "block_diagonal:banded"]
        optional["structure"] = st.lists(st.sampled_from(named) | conditioned, min_size=1, max_size=3)
    return {"operation": operation, "dim": draw(dims)} | draw(st.fixed_dictionaries({}, optional=optional))


@given(fields())
def test_the_canonical_form_reads_back_as_the_same_spec(given_fields):
    original = StreamSpec(**given_fields)
    again = StreamSpec(**json.loads(original.canonical()))
    assert again == original
    assert hash(again) == hash(original)
    assert again.canonical() == original.canonical()
    assert stream_key(again, 1, "test", 2) == stream_key(original, 1, "test", 2)


@given(fields())
def test_values_written_as_in_a_url_make_the_same_spec(given_fields):
    original = StreamSpec(**given_fields)
    url = {name: str(value) for name, value in original.fields().items()}
    assert StreamSpec(**url).canonical() == original.canonical()


@given(fields(), st.randoms(use_true_random=False))
def test_the_order_in_which_fields_and_names_are_given_changes_nothing(given_fields, random):
    shuffled = list(given_fields.items())
    random.shuffle(shuffled)
    other = dict(shuffled)
    other["operation"] = random.sample(given_fields["operation"], len(given_fields["operation"]))
    assert StreamSpec(**other).canonical() == StreamSpec(**given_fields).canonical()


def test_the_canonical_form_has_sorted_keys_and_no_defaults():
    assert spec().canonical() == '{"dim":5,"operation":"add"}'
    text = spec(
        operation="eigenvalues,add",
        dim="2-3",
        coefficients="gaussian",
        scale="1-9",
        noise=0.05,
        max_abs=50.0,
        spectrum="semicircle",
    ).canonical()
    assert text == (
        '{"coefficients":"gaussian","dim":"2-3","max_abs":50,"noise":0.05,'
        '"operation":"add,eigenvalues","scale":"1-9"}'
    )


def test_the_canonical_form_of_spectra_and_structures_is_what_a_url_says():
    mixed = spec(operation="svd,eigenvectors", spectrum=["positive", "laplace", "positive"]).canonical()
    assert mixed == '{"dim":5,"operation":"eigenvectors,svd","spectrum":"laplace,positive"}'
    banded = spec(operation="inverse", structure="banded").canonical()
    assert banded == '{"dim":5,"operation":"inverse","structure":"banded"}'
    conditioned = spec(cols="3-3", structure="condition-1e3").canonical()
    assert conditioned == '{"cols":3,"dim":5,"operation":"add","structure":"condition-1000"}'


def test_several_structures_are_a_mixture_with_weights():
    mixed = spec(structure=["toeplitz:2", "block_diagonal:banded:4", "condition-1e2:6"])
    said = "block_diagonal:banded:2,condition-100:3,toeplitz:1"
    assert mixed.fields()["structure"] == said
    assert spec(structure=said) == mixed == StreamSpec(**json.loads(mixed.canonical()))
    assert spec(structure="banded:3").canonical() == spec(structure=["banded"]).canonical()
    with pytest.raises(ValidationError, match="must name banded once"):
        spec(structure="banded,banded:2")
    for weight in ("0", "1.5", "-1", "10000000"):
        with pytest.raises(ValidationError, match="whole numbers from 1 to 1000000 as weights"):
            spec(structure=f"banded:{weight},none")
    many = ",".join(f"condition-{kappa}" for kappa in range(1, 18))
    with pytest.raises(ValidationError, match="at most 16 of them"):
        spec(structure=many)


def test_free_matrices_among_others_have_the_spectrum_that_an_operation_needs():
    mixed = StreamSpec(operation="cholesky", dim=4, structure="none,covariance")
    assert mixed.spectrum == ("positive",)
    alone = StreamSpec(operation="cholesky", dim=4, structure="none")
    assert alone == StreamSpec(operation="cholesky", dim=4)


def test_a_spec_without_a_structure_has_the_form_and_the_key_it_had_before_there_were_any():
    for given_fields in ({}, {"structure": "none"}):
        plain = StreamSpec(operation="transpose", dim=5, **given_fields)
        assert plain.canonical() == '{"dim":5,"operation":"transpose"}'
        assert f"{stream_key(plain, 0, 'train', 0):032x}" == "d78cfd615474b15552d6ecacbd95b8bc"
    # the hash that defines a key, by hand
    text = r'["{\"dim\":5,\"operation\":\"transpose\"}",0,"train",0]'
    digest = hashlib.sha256(text.encode()).digest()
    assert digest[15::-1].hex() == "d78cfd615474b15552d6ecacbd95b8bc"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"dim": 5}, {"dim": "5-5"}),
        ({"dim": 5}, {"dim": "5"}),
        ({"dim": 5}, {"dim": np.int64(5)}),
        ({"dim": 5}, {"dim": "005"}),
        ({"cols": "7"}, {"cols": "7-7"}),
        ({"scale": 10}, {"scale": 10.0}),
        ({"scale": 10}, {"scale": "10.0"}),
        ({"scale": 10}, {"scale": "1e1"}),
        ({"scale": 10}, {}),
        ({"scale": 3}, {"scale": "3-3"}),
        ({"scale": 1e20}, {"scale": 10**20}),
        ({"scale": "0.1"}, {"scale": 0.1}),
        ({"noise": 0}, {"noise": -0.0}),
        ({"noise": "0"}, {}),
        ({"max_abs": None}, {}),
        ({"cols": None}, {}),
        ({"max_abs": "1e3"}, {"max_abs": 1000}),
        ({"operation": "add,transpose"}, {"operation": ["transpose", "add"]}),
        ({"operation": "add,transpose"}, {"operation": ("transpose,add", "add")}),
        ({"operation": "add"}, {"operation": ["add", "add"]}),
        ({"spectrum": "semicircle"}, {"spectrum": ["semicircle"]}),
        ({"structure": "none"}, {}),
        ({"structure": "condition-100"}, {"structure": "condition-1e2"}),
        ({"structure": "condition-100"}, {"structure": "condition-100.0"}),
        ({"structure": "condition-100"}, {"structure": "condition-0100"}),
        ({"structure": "condition-2.5"}, {"structure": "condition-2.50"}),
        ({"structure": "condition-1000000000000"}, {"structure": "condition-1e12"}),
        (
            {"operation": "eigenvalues", "spectrum": "positive,laplace"},
            {"operation": "eigenvalues", "spectrum": ("laplace", "positive", "laplace")},
        ),
        ({"operation": "eigenvalues", "spectrum": "semicircle"}, {"operation": "eigenvalues"}),
        ({"operation": "inverse,matmul"}, {"operation": ["matmul", "inverse"]}),
        ({"operation": "inverse:2,matmul:6"}, {"operation": ["matmul:3", "inverse"]}),
        ({"operation": "add:7"}, {"operation": "add"}),
        ({"coefficients": "uniform,gaussian"}, {"coefficients": "gaussian:4,uniform:4"}),
        ({"operation": "cholesky"}, {"operation": "cholesky", "spectrum": "positive"}),
        ({"operation": "rank"}, {"operation": "rank", "structure": "chosen_rank"}),
        (
            {"structure": "kronecker:condition-1e2", "dim": 4},
            {"structure": "kronecker:condition-100", "dim": 4},
        ),
    ],
)
def test_two_ways_to_write_a_spec_have_one_key(one, other):
    one, other = spec(**one), spec(**other)
    assert one == other
    assert hash(one) == hash(other)
    assert one.canonical() == other.canonical()
    assert stream_key(one, 0, "train", 0) == stream_key(other, 0, "train", 0)


def test_whatever_differs_has_another_key():
    specs = [
        spec(),
        spec(dim=6),
        spec(dim="5-6"),
        spec(cols=5),
        spec(cols=6),
        spec(operation="transpose"),
        spec(operation="add,transpose"),
        spec(coefficients="gaussian"),
        spec(coefficients="gaussian,uniform"),
        spec(coefficients="gaussian:2,uniform"),
        spec(operation="add:3,transpose"),
        spec(scale=11),
        spec(scale="1-10"),
        spec(noise=0.1),
        spec(max_abs=10),
        spec(structure="banded"),
        spec(structure="toeplitz"),
        spec(structure="condition-1"),
        spec(structure="condition-1.5"),
        *(spec(**fields_of(name, 5)) for name in OPERATIONS if name not in ("add", "transpose")),
        *(spec(operation="eigenvalues", spectrum=name) for name in SPECTRA if name != "semicircle"),
        spec(operation="eigenvalues", spectrum="positive,semicircle"),
    ]
    addresses = [(one, 0, "train", 0) for one in specs]
    addresses += [
        (spec(), 1, "train", 0),
        (spec(), 0, "valid", 0),
        (spec(), 0, "test", 0),
        (spec(), 0, "train", 1),
    ]
    keys = {stream_key(*address) for address in addresses}
    assert len(keys) == len(addresses)
    assert all(0 <= key < 2**128 for key in keys)


def test_keys_are_those_of_every_release():
    plain = StreamSpec(operation="eigenvalues", dim=5)
    mixed = StreamSpec(
        operation="add,eigenvalues", dim="2-3", scale="1-9", noise=0.05, max_abs=50, coefficients="gaussian"
    )
    assert f"{stream_key(plain, 0, 'train', 0):032x}" == "a77cac8154f6b4f2b9f4850d89491bfc"
    assert f"{stream_key(mixed, 7, 'valid', 3):032x}" == "21b4b692a2a6a9785368c263def19cdf"


def test_a_spec_is_frozen_and_hashable():
    original = spec()
    with pytest.raises(ValidationError):
        original.dim = 6
    assert {original: "a value"}[spec(dim="5")] == "a value"
    assert pickle.loads(pickle.dumps(original)) == original


def test_shapes_are_known_where_no_sample_can_have_another():
    assert spec().input_shape() == (5, 10)
    assert spec(dim=2, cols=3).input_shape() == (2, 6)
    assert spec(dim=2, cols=3).target_shape() == (2, 3)
    assert spec(operation="transpose", dim=2, cols=3).target_shape() == (3, 2)
    assert spec(operation="eigenvalues").target_shape() == (5, 1)
    assert spec(dim="2-3").input_shape() is None
    assert spec(cols="2-3").target_shape() is None
    assert spec(operation="add,transpose").input_shape() is None
    assert spec(operation="add,transpose").target_shape() == (5, 5)
    assert spec(operation="eigenvalues,transpose").input_shape() == (5, 5)
    assert spec(operation="eigenvalues,transpose").target_shape() is None
    assert spec(operation="svd", dim=2, cols=5).target_shape() == (8, 2)
    assert spec(operation="singular_values", dim="2-3", cols=1).target_shape() == (1, 1)
    assert spec(operation="matmul", dim="2-9", cols=3).target_shape() == (3, 3)
    assert spec(operation="matmul", dim="2-9", cols=3).input_shape() is None
    assert spec(operation="matvec", dim=4, cols=3).input_shape() == (4, 4)
    assert spec(operation="eigenvectors").target_shape() == (6, 5)
    assert spec(operation="inverse,symmetric_inverse").target_shape() == (5, 5)


NOT_FINITE = [math.nan, math.inf, -math.inf, "nan", "inf", "Infinity", "1e999"]
REFUSED_FIELDS = [
    *[
        (name, value)
        for name in ("dim", "cols")
        for value in [
            *(0, -1, MAX_DIM + 1, 10**9, 10**400, 5.0, True, [5], (2, 3), {"low": 2}, b"5", math.nan),
            *(
                "0",
                "-1",
                "5-3",
                "0-3",
                "1e3",
                "5.0",
                "+5",
                " 5",
                "5 ",
                "5-",
                "-5",
                "1-2-3",
                "5–6",
                "٥",
                "1_0",
            ),
            *("", "five", "9" * 60, f"2-{10**9}"),
        ]
    ],
    ("dim", None),
    *[
        ("scale", value)
        for value in [*NOT_FINITE, 1e308, "1e308", 0, -1, "0", "-1", "9-3", "0-5", "1-2-3", f"1-{10**9}"]
    ],
    *[
        ("scale", value)
        for value in [5e-324, 10**400, True, None, "", "ten", "1,2", [10], "1_0", "٣", "0x10"]
    ],
    *[("noise", value) for value in [*NOT_FINITE, -1, "-1", -1e-9, 1e308, True, None, "", "1-2", "low"]],
    *[("max_abs", value) for value in [*NOT_FINITE, 0, "0", -1, 1e308, "1e308", True, "", "1-2", [1]]],
    *[
        ("operation", value)
        for value in [
            None,
            "",
            [],
            "sum",
            "Add",
            " add",
            "add,",
            "add,,add",
            "add;add",
            5,
            ["add", 5],
            {"add": 1},
        ]
    ],
    ("operation", [["add"]]),
    ("operation", [{}]),
    *[("coefficients", value) for value in ["", "normal", "Uniform", None, 3, "uniform:0", "gaussian:x"]],
    *[("spectrum", value) for value in ["", "flat", None, [], "semicircle,flat"]],
    *[
        ("structure", value)
        for value in ["", "flat", None, [], "banded,flat", "banded,", ["banded", 5], "condition-0", 7]
    ],
]


@pytest.mark.parametrize(("field", "value"), REFUSED_FIELDS)
def test_a_bad_value_is_refused_with_its_field_named(field, value):
    with pytest.raises(ValidationError) as refused:
        spec(**{field: value})
    problems = explain(refused.value.errors(), StreamSpec)
    assert [problem.field for problem in problems] == [field]
    assert len(str(problems[0])) < 600  # it names all that is allowed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[
            (name, value)
            for name in ("seed", "start")
            for value in [-1, "-1", 2**63, 10**400, 1.5, "1.0", True, None]
        ],
        *[("count", value) for value in [0, -1, "0", 2**63, "1e3", 1.0, True, None, ""]],
        *[("split", value) for value in ["", "Train", "dev", None, 0]],
    ],
)
def test_a_bad_address_is_refused_with_its_field_named(field, value):
    with pytest.raises(ValidationError) as refused:
        SampleRange(**({"count": 1} | {field: value}))
    assert [problem.field for problem in explain(refused.value.errors(), StreamSpec)] == [field]


def test_an_unknown_field_is_refused_with_the_known_ones_named():
    with pytest.raises(ValidationError) as refused:
        spec(dimension=5)
    [problem] = explain(refused.value.errors(), StreamSpec)
    assert problem.field == "dimension"
    assert all(name in str(problem) for name in StreamSpec.model_fields)


@pytest.mark.parametrize(
    ("operation", "square"),
    [
        *((name, name) for name in ("eigenvalues", "eigenvectors", "inverse", "symmetric_inverse")),
        ("add,eigenvalues", "eigenvalues"),
        ("inverse,svd", "inverse"),
    ],
)
@pytest.mark.parametrize("cols", [5, 6, "5-6"])
def test_square_operations_refuse_cols(operation, square, cols):
    with pytest.raises(ValidationError) as refused:
        spec(operation=operation, cols=cols)
    [problem] = explain(refused.value.errors(), StreamSpec)
    assert problem.field == "cols"
    assert str(cols) in str(problem)
    assert square in problem.message


def test_a_range_may_end_at_the_last_index_and_not_after_it():
    assert SampleRange(start=MAX_INDEX - 1, count=1).count == 1
    assert SampleRange(count=MAX_INDEX).start == 0
    for start, count in [(MAX_INDEX, 1), (MAX_INDEX - 1, 2), (1, MAX_INDEX), ("1", str(MAX_INDEX))]:
        with pytest.raises(ValidationError) as refused:
            SampleRange(start=start, count=count)
        [problem] = explain(refused.value.errors(), StreamSpec)
        assert problem.field == "count"
        assert str(2**63 - 1) in problem.message


def test_problems_are_sentences_with_field_value_and_what_is_allowed():
    with pytest.raises(ValidationError) as refused:
        StreamSpec(dim="5-3", scale=math.nan, noise=-1, coefficients="normal", rows=3)
    sentences = [str(problem) for problem in explain(refused.value.errors(), StreamSpec)]
    assert sentences == [
        "operation: is required",
        "dim='5-3': must be a whole number from 1 to 4096 or an increasing range of them like \"5-15\"",
        "coefficients='normal': must be one or several of gaussian, integers, log_uniform, sparse, uniform, "
        "separated by commas",
        'scale=nan: must be a number from 1e-100 to 1e+100 or an increasing range like "1-100"',
        "noise=-1: must be a number from 0 to 1e+06",
        f"rows=3: is not a known name; known are {', '.join(StreamSpec.model_fields)}",
    ]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"operation": "least_squares"},
            "cols: must be given for least_squares, which takes more rows than columns",
        ),
        (
            {"operation": "least_squares", "cols": 5},
            "cols=5: does not fit least_squares and dim=5: it takes more rows than columns",
        ),
        (
            {"operation": "regression", "dim": "1-3", "cols": 2},
            "dim='1-3': must be at least 2 for regression",
        ),
        (
            {"operation": "add", "coefficients": "uniform,integers", "scale": 0.5},
            "coefficients='integers,uniform': cannot have scale=0.5: all integers in [-s, s] are 0; "
            "scale must be from 1 to 4503599627370496",
        ),
        (
            {"operation": "add", "coefficients": "integers", "scale": 1e20},
            "coefficients='integers': cannot have scale=1e+20: "
            "integers in [-s, s] are not all exact; scale must be from 1 to 4503599627370496",
        ),
        (
            {"operation": "completion,transpose", "coefficients": "sparse:2,uniform"},
            "coefficients='sparse:2,uniform:1': is not for completion: a 0 in the input means a hidden "
            "entry; must be of uniform, gaussian, log_uniform",
        ),
        (
            {"operation": "inverse", "structure": "low_rank", "coefficients": "sparse"},
            "coefficients='sparse': is not for inverse with structure='low_rank': too few of the matrices "
            "have an answer; must be of uniform, gaussian, log_uniform",
        ),
        (
            {
                "operation": "general_eigenvalues",
                "dim": 4,
                "structure": "kronecker:low_rank",
                "coefficients": "integers",
            },
            "coefficients='integers': cannot have scale=10 for general_eigenvalues with "
            "structure='kronecker:low_rank': too few of the matrices have an answer; "
            "scale must be at least 81",
        ),
        (
            {"operation": "completion", "noise": 0.1},
            "noise=0.1: is not for completion: it would fill the hidden entries",
        ),
        (
            {"operation": "rank", "scale": 1e20},
            "structure='chosen_rank': cannot have scale=1e+20: its whole numbers would not be exact",
        ),
        (
            {"operation": "trace", "spectrum": "laplace"},
            "spectrum='laplace': is only for eigenvalues, eigenvectors, matrix_exponential, "
            "symmetric_inverse",
        ),
        ({"operation": "add,add:2"}, "operation='add,add:2': must name add once"),
        ({"operation": "add:1,add"}, "operation='add:1,add': must name add once"),
        (
            {"operation": "qr", "cols": "2-6"},
            "cols='2-6': does not fit qr and dim=5: it takes at least as many rows as columns",
        ),
        (
            {"operation": "cholesky", "spectrum": "positive,uniform"},
            "spectrum='positive,uniform': has eigenvalues below 0, for which cholesky has no answer: must be "
            "of positive, abs_laplace, marchenko_pastur",
        ),
        (
            {"operation": "rank", "structure": "none"},
            "structure='none': is not for rank: must be chosen_rank or laplacian",
        ),
        (
            {"operation": "add,completion,rank"},
            "structure='masked': is not for rank: must be chosen_rank or laplacian",
        ),
        (
            {"operation": "cholesky", "structure": "toeplitz"},
            "structure='toeplitz': is not for cholesky: they may have eigenvalues below 0",
        ),
        (
            {"dim": 10, "structure": "block_diagonal:kronecker"},
            "structure='block_diagonal:kronecker': needs "
            "dimensions with divisors: 5, of which 10 is made, is prime",
        ),
        (
            {"cols": 3, "structure": "low_rank:laplacian"},
            "structure='low_rank:laplacian': takes square matrices only: leave out cols",
        ),
        (
            {"operation": "add:0"},
            "operation='add:0': must have whole numbers from 1 to 1000000 as weights, like \"add:3\"",
        ),
        ({"operation": "add:1,add:2"}, "operation='add:1,add:2': must name add once"),
        (
            {"operation": "eigenvalues", "structure": "none,orthogonal,toeplitz"},
            "structure='none,orthogonal,toeplitz': orthogonal is not for eigenvalues: such matrices are not "
            "symmetric",
        ),
        (
            {"operation": "eigenvalues", "structure": "circulant,toeplitz", "spectrum": "laplace"},
            "spectrum='laplace': cannot be chosen with structure='circulant,toeplitz', which decides the "
            "eigenvalues",
        ),
        (
            {"operation": "inverse", "structure": "none,low_rank", "coefficients": "sparse"},
            "coefficients='sparse': is not for inverse with structure='low_rank': too few of the matrices "
            "have an answer; must be of uniform, gaussian, log_uniform",
        ),
    ],
)
def test_what_does_not_fit_together_is_said_in_one_sentence(fields, sentence):
    with pytest.raises(ValidationError) as refused:
        spec(**fields)
    assert [str(problem) for problem in explain(refused.value.errors(), StreamSpec)] == [sentence]


@pytest.mark.parametrize(
    "structure",
    [
        *(
            "toeplitz:banded",
            "low_rank:none",
            "kronecker:masked",
            "low_rank:",
            ":banded",
            "block_diagonal:flat",
        ),
        *("low_rank:condition-0", "low_rank:low_rank:low_rank:banded", "condition-3:banded"),
    ],
)
def test_only_some_structures_are_made_of_others(structure):
    with pytest.raises(ValidationError, match="may be followed by a colon"):
        spec(dim=16, structure=structure)


def test_a_conflict_blames_the_field_that_may_not_be_given():
    with pytest.raises(ValidationError) as refused:
        StreamSpec(operation="eigenvalues", dim=5, cols="6-7")
    [problem] = explain(refused.value.errors(), StreamSpec)
    assert str(problem) == "cols='6-7': is not for eigenvalues: square matrices only"


def test_refusals_read_as_one_message():
    with pytest.raises(ValidationError) as refused:
        StreamSpec(operation="add", dim=0, noise=-1)
    error = RefusedError(explain(refused.value.errors(), StreamSpec))
    assert isinstance(error, ValueError)
    assert str(error).startswith("dim=0: must be")
    assert "; noise=-1: must be" in str(error)
