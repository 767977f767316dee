"""What may vary: a module here is a recipe's search space, and its file name is the recipe's name.

Standard library only, so that listing recipes and exporting a space are instant.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType

from search_spaces._errors import InputError, in_a_line, meant
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
    Variant,
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
    "Variant",
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
    except SyntaxError as error:
        spec = find_spec(f"{package}.{recipe}")
        file = error.filename or (spec and spec.origin)  # Python names none where a file is no text
        place = f"{file}, line {error.lineno}" if error.lineno else str(file)
        raise _broken(recipe, f"{type(error).__name__}: {error.msg}, in {place}") from error
    except (Exception, SystemExit) as error:  # a script that was meant to be run may end by exit()
        raise _broken(recipe, in_a_line(error, recipe)) from error


def _broken(recipe: str, reason: str) -> InputError:
    return InputError(f"recipe {recipe!r} is broken: {reason}; mend it, or leave it out of --recipes")
