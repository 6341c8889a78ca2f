"""What can be asked for, as a document."""

from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from matstream.generator_service.samples_json import MAX_JSON_SAMPLES
from matstream.generator_service.service.limits import Limits
from matstream.generator_service.service.queries import StreamQuery
from matstream.shared.encodings import ENCODINGS
from matstream.shared.problems import known, operations, structures
from matstream.shared.spec import COEFFICIENTS, SPECTRA, StreamSpec


def catalog(limits: Limits) -> dict[str, Any]:
    """Operations with their forms, spectra, structures, and those structures for which an answer may not be
    the only one; parameters; laws; encodings; limits."""
    own = known().operations
    return {
        "operations": {
            name: {
                "input": operation.input_form,
                "target": operation.target_form,
                "square": operation.square,
                "spectra": list(SPECTRA) if operation.symmetric else [],
                "structures": _structures(name),
                "own": name in own,
                "not_unique": list(operation.not_unique),
                "residual_bound": operation.residual_bound,
                "histogram": operation.histogram._asdict(),
            }
            for name, operation in operations().items()
        },
        "parameters": {
            name: field.description for name, field in StreamQuery.model_fields.items() if field.description
        },
        "coefficients": list(COEFFICIENTS),
        "encodings": list(ENCODINGS),
        "limits": {**limits.model_dump(), "max_json_samples": MAX_JSON_SAMPLES},
    }


def _structures(operation: str) -> list[str]:
    """The structures an operation may have, condition-κ among them as an example."""
    fitting = []
    for structure in (*structures(), "condition-100"):
        with suppress(ValidationError):  # 4 has divisors, which kronecker needs
            StreamSpec.model_validate({"operation": operation, "dim": 4, "structure": structure})
            fitting.append(structure)
    return fitting
