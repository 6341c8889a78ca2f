"""The findings of trainer.analysis as tables of a page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.report.markup import DASH, Markup, element, joined, percent, table, wrapped
from trainer.report.published import NOTEBOOK, published_study

Path = tuple[str, ...]
ABOUT = ("operation", "spec", "seed", "split", "constrained", "m", "n")
FEW = 3  # studies that are shown without being unfolded


def studies(run: str, found: Sequence[Mapping[str, Any]]) -> Markup:
    """The studies of a run, to be unfolded where there are many."""
    unfolded = {"open": ""} if len(found) <= FEW else {}
    return joined(
        wrapped("details", joined([element("summary", f"{run}: {_about(one)}"), _study(one)]), **unfolded)
        for one in found
    )


def _about(found: Mapping[str, Any]) -> str:
    chosen = {**found["spec"], "seed": found["seed"], "split": found["split"]}
    about = ", ".join(f"{name} {value}" for name, value in chosen.items() if name not in ("operation", "dim"))
    return f"{found['operation']} {found['m']}×{found['n']}, {about}"


def _study(found: Mapping[str, Any]) -> Markup:
    """A study of one operation at one size: single findings, those by rank, those by condition number."""
    single: list[tuple[Path, Any]] = []
    ranked: list[tuple[Path, list[Any]]] = []
    tables: list[tuple[Path, list[Any]]] = []
    for path, finding in _flattened({name: value for name, value in found.items() if name not in ABOUT}):
        if not isinstance(finding, list):
            single.append((path, finding))
        elif finding and isinstance(finding[0], Mapping):
            tables.append((path, finding))
        else:
            ranked.append((path, finding))
    parts = [_single(single, published_study(found))]
    if ranked:
        head = ["by rank", *(f"{rank}." for rank in range(1, 1 + max(len(row) for _, row in ranked)))]
        rows = [(_named(path), *(_plain(path, value) for value in row)) for path, row in ranked]
        parts.append(table("By rank, the largest first", head, rows))
    for path, entries in tables:
        head = [name.replace("_", " ") for name in entries[0]]
        cells = ([_plain((*path, name), value) for name, value in entry.items()] for entry in entries)
        parts.append(table(_named(path).capitalize(), head, cells))
    return joined(parts)


def _single(findings: list[tuple[Path, Any]], known: Mapping[Path, float]) -> Markup:
    rows = []
    for path, value in findings:
        beside = [_plain(path, known[path]) if path in known else DASH] if known else []
        rows.append((_named(path), _plain(path, value), *beside))
    caption = f"Findings; published: {NOTEBOOK}" if known else "Findings"
    return table(caption, ["finding", "here", *(["published"] if known else [])], rows)


def _flattened(found: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    for name, finding in found.items():
        path = (*above, name)
        if isinstance(finding, Mapping):
            yield from _flattened(finding, path)
        else:
            yield path, finding


def _named(path: Path) -> str:
    """A finding's place in words."""
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
    return f"{value:.4g}" if isinstance(value, float) else str(value)
