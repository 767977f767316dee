"""What may vary: a module here is a recipe's search space, and its file name is the recipe's name.

Standard library only, so that listing recipes and exporting a space are instant.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from search_spaces._errors import InputError
from search_spaces._shape import DataShape
from search_spaces._space import Choice, Domain, Domains, Float, Int, Space, Value, When, holds, narrow

__all__ = [
    "Choice",
    "DataShape",
    "Domain",
    "Domains",
    "Float",
    "InputError",
    "Int",
    "Space",
    "Value",
    "When",
    "holds",
    "narrow",
    "recipes",
    "space_of",
]


@cache
def recipes() -> tuple[str, ...]:
    """The names of all recipes, sorted; a leading underscore marks what is not one."""
    return tuple(sorted(m.name for m in iter_modules(__path__) if not m.name.startswith("_")))


@cache
def space_of(recipe: str) -> type[Space]:
    """The search space of a recipe: the one that its module defines.

    Raises:
        InputError: there is no such recipe.
    """
    if recipe not in recipes():
        raise InputError(f"no recipe {recipe!r}; there are: {', '.join(recipes())}")
    module = import_module(f"{__name__}.{recipe}")
    (space,) = (
        thing
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Space) and thing.__module__ == module.__name__
    )
    return space
