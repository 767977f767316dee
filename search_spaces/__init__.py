"""What may vary: a module here is a recipe's search space, and its file name is the recipe's name.

Standard library only, so that listing recipes and exporting a space are instant.
"""

import traceback
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType

from search_spaces._errors import InputError, meant
from search_spaces._outside import add_installed_recipes, add_recipes
from search_spaces._shape import DataShape
from search_spaces._space import (
    FIXED,
    Choice,
    Domain,
    Domains,
    Float,
    Int,
    Limits,
    Searched,
    Space,
    Value,
    When,
    holds,
    narrow,
)
from search_spaces._training import Training

__all__ = [
    "FIXED",
    "Choice",
    "DataShape",
    "Domain",
    "Domains",
    "Float",
    "InputError",
    "Int",
    "Limits",
    "Searched",
    "Space",
    "Training",
    "Value",
    "When",
    "add_recipes",
    "holds",
    "import_recipe",
    "narrow",
    "recipes",
    "space_of",
]


def recipes() -> tuple[str, ...]:
    """The names of all recipes, sorted; a leading underscore marks what is not one."""
    add_installed_recipes()
    return tuple(sorted(m.name for m in iter_modules(__path__) if not m.name.startswith("_")))


@cache
def space_of(recipe: str) -> type[Space]:
    """The search space of a recipe: the one that its module defines.

    Raises:
        InputError: there is no such recipe, or its module is broken.
    """
    if recipe not in recipes():
        raise InputError(f"no recipe {recipe!r}{meant(recipe, recipes())}; there are: {', '.join(recipes())}")
    module = import_recipe(__name__, recipe)
    spaces = [
        thing
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Space) and thing.__module__ == module.__name__
    ]
    if len(spaces) != 1:
        raise InputError(
            f"{module.__file__} has {len(spaces)} classes that are a Space; a recipe has one: class NAME(Space), or "
            "for a network class NAME(Training)"
        )
    return spaces[0]


def import_recipe(package: str, recipe: str) -> ModuleType:
    """The module of a recipe in `package`.

    Raises:
        InputError: its code cannot be run; names the line.
    """
    try:
        return import_module(f"{package}.{recipe}")
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a script that was meant to be run may end by exit()
        raise InputError(
            f"recipe {recipe!r} is broken: {_in_a_line(error)}, in {_place(package, recipe, error)}; mend it, or leave "
            "it out of --recipes"
        ) from error


def _in_a_line(error: BaseException) -> str:
    text = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    return f"{type(error).__name__}: {text}"


def _place(package: str, recipe: str, error: BaseException) -> str:
    """The last line of the recipe's own that was run, or that cannot be read."""
    if isinstance(error, SyntaxError):
        spec = find_spec(f"{package}.{recipe}")
        file = error.filename or (spec and spec.origin)  # Python names none where a file is no text
        return f"{file}, line {error.lineno}" if error.lineno else str(file)
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if frame.filename.endswith(f"{recipe}.py")), frames[-1])
    return f"{frame.filename}, line {frame.lineno}"
