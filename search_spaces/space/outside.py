"""Recipes from outside the checkout, in folders with `search_spaces/NAME.py` and `trainables/NAME.py`.

A folder's modules become modules of the two packages, as if they lay there, so the rest of the code sees no difference.
"""

import sys
from collections.abc import Iterable
from functools import cache
from importlib import import_module, invalidate_caches
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules

from search_spaces.space.errors import InputError

RECIPE_PACKAGES = ("search_spaces", "trainables")
GROUP = "toprung.recipes"
"""The entry-point group with which an installed package declares recipes, as in `my_recipes = "my_recipes"`.

The package has the layout of a folder.
"""


def add_recipes(folder: Path | str, flag: str = "--recipes") -> tuple[str, ...]:
    """Make a folder's recipes known to this process and return their names, sorted. Repeating it changes nothing.

    Args:
        folder: has search_spaces/ and trainables/, with modules of the same names.
        flag: the flag or origin to name in messages.

    Raises:
        InputError: the folder has another layout, or a module has the name of an existing one.
    """
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        raise InputError(f"{flag} {folder}: there is no such folder; give one with recipes, or bring it back")
    found = {package: modules_on([str(root / package)]) for package in RECIPE_PACKAGES}
    names = {package: {name for name in found[package] if not name.startswith("_")} for package in RECIPE_PACKAGES}
    spaces, trainings = names.values()
    layout = "a recipe is search_spaces/NAME.py and trainables/NAME.py in it"
    if not spaces | trainings:
        raise InputError(f"{flag} {folder}: has no recipes: {layout}")
    for name in sorted(spaces ^ trainings):
        missing = "trainables" if name in spaces else "search_spaces"
        raise InputError(f"{flag} {folder}: {name} has no {missing}/{name}.py: {layout}")
    # by name, because search_spaces needs none of trainables' code, and importing the package is light
    paths = {package: import_module(package).__path__ for package in RECIPE_PACKAGES}
    for package, path in paths.items():
        others = modules_on([place for place in path if place != str(root / package)])
        for name in found[package]:
            if name in others or _is_old_name(f"{package}.{name}"):
                place = others.get(name, f"toprung's {package}")
                raise InputError(f"{flag} {folder}: {package}/{name}.py has the name of one in {place}; rename it")
    for package, path in paths.items():
        if str(root / package) not in path:
            path.append(str(root / package))
            _add_helpers(package, root / package)
    invalidate_caches()  # files may be newer than the cached folder listing
    return tuple(sorted(spaces))


@cache
def add_installed_recipes() -> None:
    """Make the recipes of installed packages known.

    Raises:
        InputError: a package has another layout, or brings a recipe name that already exists.
    """
    for point in entry_points(group=GROUP):
        spec = find_spec(point.module)
        for folder in (spec and spec.submodule_search_locations) or []:
            add_recipes(folder, f"package {point.module}:")


def modules_on(path: Iterable[str]) -> dict[str, str]:
    """Return the folder of each module on `path`, by the module's name; packages are left out."""
    return {module.name: place for place in path for module in iter_modules([place]) if not module.ispkg}


def _add_helpers(package: str, folder: Path) -> None:
    """Make helpers importable beside ours if their folder is named like one of ours, such as trainables/training/."""
    home = import_module(package).__path__[0]
    for own in (module.name for module in iter_modules([home]) if module.ispkg):
        if (folder / own).is_dir():
            import_module(f"{package}.{own}").__path__.append(str(folder / own))


def _is_old_name(name: str) -> bool:
    """Return True if the name is an alias of another module, as `trainables._fit` is for one more version."""
    return name in sys.modules and getattr(sys.modules[name], "__spec__", None) is None
