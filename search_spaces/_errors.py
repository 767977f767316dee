"""The one error that is a person's to mend; the command line prints it without a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something a person gave cannot be used. The message gives the value, the rule and the way out."""


def meant(name: str, known: Iterable[str]) -> str:
    """A question in brackets after an unknown name, where a known one is near it; else nothing."""
    near = get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
