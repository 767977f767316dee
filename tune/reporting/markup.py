"""Markdown syntax: escaped text, tables, code."""

from collections.abc import Iterable, Sequence
from html import escape

TEXT_COLUMNS = ("class", "inside", "metric", "models", "recipe", "row", "split")

SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]|~#"})


def plain(text: str) -> str:
    """Escape text for Markdown and HTML, and put it on one line."""
    return escape(" ".join(text.split()), quote=False).translate(SPECIAL)


def table(names: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table; columns of numbers are right-aligned."""
    divider = ["---" if name in TEXT_COLUMNS else "---:" for name in names]
    written = [names, divider, *([plain(cell) for cell in line] for line in lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in written)


def code(text: str, language: str = "") -> str:
    """Return a code block whose fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"
