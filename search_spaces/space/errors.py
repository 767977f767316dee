"""The one error that is a person's to mend; the command line prints it without a traceback."""

import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class InputError(ValueError):
    """Something a person gave cannot be used. The message gives the value, the rule and the way out."""


def meant(name: str, known: Iterable[str]) -> str:
    """A question in brackets after an unknown name, where a known one is near it; else nothing."""
    near = get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def in_a_line(error: BaseException, recipe: str) -> str:
    """An error of a recipe's code, with the last place in the recipe's own files that was run."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).name == f"{recipe}.py"]
    place = (own or frames)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())}, in {place.filename}, line {place.lineno}"
