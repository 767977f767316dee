"""The commands `toprung recipes` and `check-recipe`: list recipes, and check one."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from search_spaces import Choice, InputError, add_recipes, recipes, space_of
from tune.cli.parser import Parser


def add(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the commands of this module."""
    listing = commands.add_parser("recipes", help="list recipes and their search spaces", allow_abbrev=False)
    listing.set_defaults(run=_recipes)
    listing.add_argument("recipe", nargs="*", help="the recipes to list (default: all)")

    check = commands.add_parser("check-recipe", help="check that a recipe meets all requirements", allow_abbrev=False)
    check.set_defaults(run=_check_recipe)
    check.add_argument("recipe", help="the name of a recipe, or a folder of recipes, such as ./my_recipes")


def _recipes(arguments: argparse.Namespace) -> int:
    code = 0
    for recipe in arguments.recipe or recipes():
        try:
            space = space_of(recipe)
        except InputError as error:
            print(f"toprung: {error}", file=sys.stderr)
            code = 2
            continue
        print(f"{recipe}: {(sys.modules[space.__module__].__doc__ or '').strip()}")
        default, searched = space.default(), space.searched()
        for name, domain in space.domains().items():
            notes = "".join(f", when {when.name} is {when.domain}" for when in space.conditions()[name])
            if searched[name] != domain:
                fixed = searched[name] == Choice((getattr(default, name),))
                notes += ", searched only with --set" if fixed else f", searched {searched[name]} without --set"
            print(f"  {name:18} {domain!s:24} default {getattr(default, name)}{notes}")
    return code


def _check_recipe(arguments: argparse.Namespace) -> int:
    given, folder = arguments.recipe, Path(arguments.recipe).expanduser()
    if given in recipes() or (folder.name == given and not folder.is_dir()):
        names: tuple[str, ...] = (given,)
    elif folder.is_dir():
        names = add_recipes(given, "check-recipe")
    else:
        raise InputError(f"check-recipe {given}: there is no such folder; give one with search_spaces/ and trainables/")
    for name in names:
        space_of(name)  # a typo is refused before torch is loaded

    from trainables.training.conformance import Samples, conform

    failed = 0
    with TemporaryDirectory(prefix="toprung-") as scratch:
        samples = Samples.make(Path(scratch))
        for name in names:
            print(f"{name}:")
            for check, faults in conform(name, samples):
                found = "\n           ".join(faults)
                print(f"  FAILED {check}: {found}" if faults else f"  ok     {check}", flush=True)
                failed += bool(faults)
    print(f"{failed} check{'' if failed == 1 else 's'} failed" if failed else "all checks passed")
    return 1 if failed else 0
