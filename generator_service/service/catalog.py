"""What can be asked for, as a document."""

from contextlib import suppress
from typing import Any, get_args

from pydantic import ValidationError

from matstream.generator_service.samples_json import MAX_JSON_SAMPLES
from matstream.generator_service.service.limits import Limits
from matstream.generator_service.service.queries import StreamQuery
from matstream.shared.encodings import ENCODINGS
from matstream.shared.fields import COEFFICIENTS, POSITIVE_SPECTRA, SEMICIRCLE, SPECTRA
from matstream.shared.operation import Group, Operation
from matstream.shared.problems import known, operations, structures
from matstream.shared.spec import StreamSpec


def catalog(limits: Limits) -> dict[str, Any]:
    """Operations with their forms, spectra, structures, and those structures for which an answer may not be
    the only one; the groups in which they are shown; parameters; laws; encodings; limits. `fewer_cols` says
    how many fewer columns than rows an operation takes at least, null if any number."""
    own = known().operations
    return {
        "operations": {
            name: {
                "input": operation.input_form,
                "target": operation.target_form,
                "square": operation.square,
                "group": operation.group,
                "about": operation.about,
                "fewer_cols": operation.spare_rows,
                "spectra": _spectra(operation),
                "structures": _structures(name, operation),
                "own": name in own,
                "not_unique": list(operation.not_unique),
                "residual_bound": operation.residual_bound,
                "histogram": operation.histogram._asdict(),
            }
            for name, operation in operations().items()
        },
        "groups": list(get_args(Group)),
        "parameters": {
            name: field.description for name, field in StreamQuery.model_fields.items() if field.description
        },
        "coefficients": list(COEFFICIENTS),
        "encodings": list(ENCODINGS),
        "limits": {**limits.model_dump(), "max_json_samples": MAX_JSON_SAMPLES},
    }


def _spectra(operation: Operation) -> list[str]:
    """The spectra an operation may have, the usual one first."""
    if not operation.symmetric or operation.structures:
        return []
    if operation.positive:
        return list(POSITIVE_SPECTRA)
    return sorted(SPECTRA, key=lambda name: name != SEMICIRCLE[0])


def _structures(name: str, operation: Operation) -> list[str]:
    """The structures an operation may have, the usual one first; condition-κ and one that is made of others
    are among them as examples."""
    usual = next(iter(operation.structures), "none")
    fitting = []
    for structure in (*structures(), "condition-100", "block_diagonal:toeplitz"):
        fields: dict[str, Any] = {"operation": name, "dim": 4, "structure": structure}
        if structure == usual:
            del fields["structure"]  # with it come the spectra that the operation needs
        if operation.spare_rows:
            fields["cols"] = 4 - operation.spare_rows
        with suppress(ValidationError):  # 4 has divisors, which kronecker needs
            StreamSpec.model_validate(fields)
            fitting.append(structure)
    return sorted(fitting, key=lambda found: found != usual)
