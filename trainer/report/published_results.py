"""Numbers that were published, or measured with the published code, to show beside those of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matstream.shared.spec import StreamSpec

PAPER = "Charton, Linear algebra with transformers (TMLR 2022, arXiv 2112.01898)"
CODE = "the published code, trained anew on two cores"
NOTEBOOK = "the published notebook: a 5×5 eigenvector model on 50,000 cases (see arXiv 2211.00170)"


@dataclass(frozen=True)
class Published:
    """How often a published model is right on one problem, by tolerance."""

    accuracy: Mapping[str, float]
    source: str
    at_least: bool = False  # whether it is only said to be above these
    encodings: tuple[str, str] | None = None  # of input and output, if the number depends on them
    samples: str = ""  # seen in training


# (operation, dim) -> numbers; where they depend on the encodings, the best first
_PUBLISHED: dict[tuple[str, str], tuple[Published, ...]] = {
    ("transpose", "3"): (Published({"0.05": 1.0}, CODE, samples="30 thousand"),),
    ("transpose", "10"): (Published({"0.05": 0.9}, PAPER, at_least=True),),
    ("add", "10"): (Published({"0.05": 0.9}, PAPER, at_least=True),),
    ("matmul", "5"): (Published({"0.05": 0.9}, PAPER, at_least=True),),
    ("matvec", "10"): (Published({"0.05": 0.9}, PAPER, at_least=True),),
    ("inverse", "5"): (Published({"0.05": 0.9}, PAPER, at_least=True),),
    ("eigenvalues", "2"): (Published({"0.05": 0.93}, CODE, samples="300 thousand"),),
    ("eigenvalues", "5"): (Published({"0.05": 1.0, "0.01": 0.985}, PAPER, samples="40 million"),),
    ("eigenvalues", "8"): (Published({"0.05": 1.0}, PAPER, samples="60 million"),),
    ("eigenvalues", "10"): (Published({"0.05": 0.25}, PAPER, samples="360 million"),),
    ("eigenvalues", "5-10"): (Published({"0.05": 1.0}, PAPER),),
    ("eigenvalues", "5-15"): (Published({"0.05": 1.0}, PAPER),),
    ("eigenvalues", "5-20"): (Published({"0.05": 1.0}, PAPER),),
    **{
        (operation, dim): (Published({"0.05": 0.9}, PAPER, at_least=True),)
        for operation, dim in (("singular_values", "4"), ("singular_values", "5"), ("svd", "4"))
    },
    ("eigenvectors", "5"): (
        Published({"0.05": 0.970}, PAPER, encodings=("P10", "P10")),
        Published({"0.05": 0.940}, PAPER, encodings=("P1000", "P1000")),
        Published({"0.05": 0.935}, PAPER, encodings=("FP15", "P1000")),
        Published({"0.05": 0.516}, PAPER, encodings=("FP15", "FP15")),
    ),
}

# What the published failure analysis found, by the path of the same finding in scoring.failures.
_STUDIED: dict[tuple[str, int, int], dict[tuple[str, ...], float]] = {
    ("eigenvectors", 5, 5): {
        ("right", "0.005"): 0.00012,
        ("right", "0.01"): 0.092,
        ("right", "0.02"): 0.763,
        ("right", "0.05"): 0.920,
        ("right", "0.1"): 0.941,
        ("values", "within_1pct"): 0.9994,
        ("vectors", "unit_norm_within_1pct"): 0.989,
        ("vectors", "neighbours_orthogonal_within_1pct"): 0.839,
        ("vectors", "condition", "right", "98"): 1.031,
        ("vectors", "condition", "wrong", "2"): 1.042,
    }
}


def published(spec: StreamSpec, read: str, written: str) -> Published | None:
    """The published numbers for a problem, None if there are none.

    There are numbers only for an operation at a size, with the spec's defaults in all other fields. Where
    they depend on the encodings, they are those of `read` and `written` if known, else those of the best.
    """
    fields = spec.fields()
    if fields.keys() != {"operation", "dim"}:
        return None
    known = _PUBLISHED.get((fields["operation"], str(fields["dim"])), ())
    same = [entry for entry in known if entry.encodings == (read, written)]
    return next(iter([*same, *known]), None)


def published_study(study: Mapping[str, Any]) -> dict[tuple[str, ...], float]:
    """Published findings to show beside those of a study (scoring.failures), by their path in it."""
    usual = study["spec"].keys() == {"operation", "dim"}
    return _STUDIED.get((study["operation"], study["m"], study["n"]), {}) if usual else {}
