"""Discovery of the recipes by listing packages, and of the space of each."""

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from search_spaces.space.errors import InputError, in_a_line, meant
from search_spaces.space.outside import add_installed_recipes, modules_on
from search_spaces.space.space import Space

PACKAGE = "search_spaces"


def recipes() -> tuple[str, ...]:
    """Return the names of all recipes, sorted; folders and modules with a leading underscore are not recipes."""
    add_installed_recipes()
    return tuple(sorted(name for name in modules_on(import_module(PACKAGE).__path__) if not name.startswith("_")))


@cache
def space_of(recipe: str) -> type[Space]:
    """Return the search space of a recipe: the one that its module defines.

    Raises:
        InputError: there is no such recipe, or its module is broken.
    """
    if recipe not in recipes():
        raise InputError(f"no recipe {recipe!r}{meant(recipe, recipes())}; there are: {', '.join(recipes())}")
    module = import_recipe(PACKAGE, recipe)
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
    """Import the module of a recipe in `package` and return it.

    Raises:
        InputError: its code cannot be run; the message names the line.
    """
    try:
        module = import_module(f"{package}.{recipe}")
        return _import_beside(module, recipe) if hasattr(module, "__path__") else module
    except InputError:
        raise
    except SyntaxError as error:
        spec = find_spec(f"{package}.{recipe}")
        file = error.filename or (spec and spec.origin)  # Python names no file if it is not text
        place = f"{file}, line {error.lineno}" if error.lineno else str(file)
        raise _broken(recipe, f"{type(error).__name__}: {error.msg}, in {place}") from error
    except (Exception, SystemExit) as error:  # a script that was meant to be run may call exit()
        raise _broken(recipe, in_a_line(error, recipe)) from error


def _import_beside(folder: ModuleType, recipe: str) -> ModuleType:
    """Import a recipe from outside under another name if one of our folders, such as `data`, already has its name.

    Its names can also be imported from the folder, as its own modules do: `from search_spaces.shared import Shared`.
    """
    package = sys.modules[folder.__name__.rpartition(".")[0]]
    name = f"{recipe}_recipe"
    if f"{package.__name__}.{name}" in sys.modules:
        return sys.modules[f"{package.__name__}.{name}"]
    file = Path(modules_on(package.__path__)[recipe], f"{recipe}.py")
    spec = spec_from_file_location(f"{package.__name__}.{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    setattr(package, name, module)
    for public in (each for each in vars(module) if not each.startswith("_") and not hasattr(folder, each)):
        setattr(folder, public, getattr(module, public))
    return module


def _broken(recipe: str, reason: str) -> InputError:
    return InputError(f"recipe {recipe!r} is broken: {reason}; mend it, or leave it out of --recipes")
