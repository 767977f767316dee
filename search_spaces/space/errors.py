"""The one error that a person can fix; the command line prints it without a traceback."""

import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class InputError(ValueError):
    """Input from a person that cannot be used. The message gives the value, the rule and the way out."""


def meant(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean NAME?)" for an unknown name that is close to a known one; else an empty string."""
    near = get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def in_a_line(error: BaseException, recipe: str) -> str:
    """Describe an error in a recipe's code in one line, with the last line run in the recipe's own files."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).name == f"{recipe}.py"]
    place = (own or frames)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())}, in {place.filename}, line {place.lineno}"
