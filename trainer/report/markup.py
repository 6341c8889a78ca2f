"""Pieces of HTML. Text is escaped here; `Markup` is HTML already."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NewType

Markup = NewType("Markup", str)

NOTHING = Markup("")


def element(name: str, content: str, **attributes: str) -> Markup:
    """An element around text."""
    return wrapped(name, Markup(escape(content)), **attributes)


def wrapped(name: str, content: Markup, **attributes: str) -> Markup:
    """An element around HTML; a trailing underscore in an attribute's name is left off."""
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{pairs}>{content}</{name}>")


def joined(parts: Iterable[Markup]) -> Markup:
    """The parts one after another."""
    return Markup("\n".join(part for part in parts if part))


def section(title: str, *parts: Markup) -> Markup:
    """A section with its heading; nothing if it has no content."""
    content = joined(parts)
    return wrapped("section", joined([element("h2", title), content])) if content else NOTHING


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    """A table whose first column names the rows; it scrolls where it is too wide."""
    columns = joined(element("th", name, scope="col") for name in head)
    body = joined(
        wrapped(
            "tr", joined([element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])])
        )
        for row in rows
    )
    parts = joined(
        [
            element("caption", caption),
            wrapped("thead", wrapped("tr", columns)),
            wrapped("tbody", body),
        ]
    )
    return scrolling(wrapped("table", parts), caption)


def scrolling(content: Markup, label: str) -> Markup:
    """A box that scrolls sideways, also with the keyboard."""
    return wrapped("div", content, class_="scroll", role="region", tabindex="0", aria_label=label)
