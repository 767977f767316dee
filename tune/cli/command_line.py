"""The command line, from arguments to commands. Light to import, so that help is instant."""

import argparse
import os
import sys
from collections.abc import Sequence

from search_spaces import InputError
from tune.cli import doctor, fetch, models, recipes, reports, search, sweeps
from tune.cli.parser import Parser
from tune.version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return 0, 1 for an incomplete result, 2 for bad input, 130 if a person stopped it."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        try:
            flags = not {"search", "doctor", "track", "sweep"}.isdisjoint(argv)
            arguments = command_parser(flags=flags).parse_args(argv)
            code: int = arguments.run(arguments)
            return code
        finally:
            sys.stdout.flush()  # here, and not at exit, where its error could not be caught
    except InputError as error:
        print(f"toprung: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("toprung: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # as in `toprung recipes | head`; the rest of the output, flushed at exit, goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def command_parser(*, flags: bool = True) -> argparse.ArgumentParser:
    """Build the parser of all commands; without `flags`, leave out settings, which take time to import."""
    top = Parser(
        prog="toprung",
        description="Distributed hyperparameter search for image classifiers.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"toprung {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    search.add(commands, flags=flags)
    doctor.add(commands, flags=flags)
    reports.add(commands)
    models.add(commands)
    sweeps.add(commands, flags=flags)
    recipes.add(commands)
    fetch.add(commands)
    return top
