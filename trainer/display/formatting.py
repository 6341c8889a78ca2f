"""How numbers, and the findings of scoring.failures as tables, are shown on a terminal or on a page."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

DASH = "–"
ABOUT = ("operation", "spec", "seed", "split", "constrained", "m", "n")  # what a study is about

Path = tuple[str, ...]  # of a finding in a study


class Table(NamedTuple):
    title: str
    head: list[str]
    rows: list[list[str]]  # each with its name first


def percent(share: float | None) -> str:
    """A share with one digit after the point, or more where it is nearly nothing or nearly all."""
    if share is None:
        return DASH
    if 0 < share < 0.0005:
        return f"{share:.3%}"
    return f"{share:.2%}" if 0.999 <= share < 1 else f"{share:.1%}"


def number(value: float | None, form: str = ",.0f") -> str:
    """A number as text, a dash if there is none."""
    return DASH if value is None else format(value, form)


def baseline_tables(records: Sequence[Mapping[str, Any]]) -> list[Table]:
    """The records of scoring.baselines as a table for each operation."""
    tables = []
    for operation, group in groupby(records, key=itemgetter("operation")):
        rows = []
        for one in group:
            steps = f", {one['steps']} step{'s' * (one['steps'] > 1)}" if one["steps"] else ""
            right, strict = one["accuracy"], one["accuracy_strict"]
            error, rmse = number(one["median_error"], ".2g"), number(one["relative_rmse"], ".2g")
            shares = [percent(share) for share in (right["0.05"], right["0.01"], strict["0.05"])]
            rows.append([f"{one['method']}{steps}", *shares, error, rmse])
            count = one["samples"]
        head = ["method", "within 5%", "1%", "strict", "median error", "relative RMSE"]
        tables.append(Table(f"{operation}, on {count:,} samples with all their digits", head, rows))
    return tables


def study_tables(found: Mapping[str, Any], known: Mapping[Path, float]) -> list[Table]:
    """A study of one operation at one size: single findings, with those `known` from elsewhere beside them,
    then those by rank, then those by condition number."""
    single: list[tuple[Path, Any]] = []
    ranked: list[tuple[Path, list[Any]]] = []
    listed: list[tuple[Path, list[Any]]] = []
    for path, finding in _flattened({name: value for name, value in found.items() if name not in ABOUT}):
        if not isinstance(finding, list):
            single.append((path, finding))
        elif finding and isinstance(finding[0], Mapping):
            listed.append((path, finding))
        else:
            ranked.append((path, finding))
    tables = [_single(single, known)]
    if ranked:
        head = ["by rank", *(f"{rank}." for rank in range(1, 1 + max(len(row) for _, row in ranked)))]
        rows = [[_named(path), *(_plain(path, value) for value in row)] for path, row in ranked]
        tables.append(Table("By rank, the largest first", head, rows))
    for path, entries in listed:
        head = [name.replace("_", " ") for name in entries[0]]
        rows = [[_plain((*path, name), value) for name, value in entry.items()] for entry in entries]
        tables.append(Table(_named(path).capitalize(), head, rows))
    return tables


def _single(findings: list[tuple[Path, Any]], known: Mapping[Path, float]) -> Table:
    rows = []
    for path, value in findings:
        beside = [_plain(path, known[path]) if path in known else DASH] if known else []
        rows.append([_named(path), _plain(path, value), *beside])
    return Table("Findings", ["finding", "here", *(["published"] if known else [])], rows)


def _flattened(found: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    for name, finding in found.items():
        path = (*above, name)
        if isinstance(finding, Mapping):
            yield from _flattened(finding, path)
        else:
            yield path, finding


def _named(path: Path) -> str:
    """The path of a finding in words."""
    if path[0] == "right":
        return f"right within {100 * float(path[1]):g}%"
    *above, last = path
    if last.isdigit():
        last = f"{last}th percentile" if last != "2" else "2nd percentile"
    if above[-1:] == ["by_rank"]:
        above.pop()
    return " · ".join([*above, last]).replace("_", " ").replace("1pct", "1%").replace("5pct", "5%")


def _is_share(path: Path) -> bool:
    return (
        path[0] == "right"
        or path[-1] in ("accuracy", "right")
        or path[-1].endswith(("within_1pct", "within_5pct"))
    )


def _plain(path: Path, value: Any) -> str:
    if value is None:
        return DASH
    if isinstance(value, list):
        return " … ".join(_plain(path, one) for one in value)
    if _is_share(path):
        return percent(value)
    return f"{value:.4g}".replace("e+", "e") if isinstance(value, float) else str(value)
