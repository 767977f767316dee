"""The parser of the command line, which suggests the flag or command that was probably meant."""

import argparse
from typing import Any, NoReturn

from search_spaces.space.errors import meant


class Parser(argparse.ArgumentParser):
    """A parser that suggests the flag that was probably meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and let the command itself report unknown arguments, as it knows its own flags."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            flags = [word.partition("=")[0] for word in unknown if word.startswith("--")]
            guesses = "".join(meant(flag, self._option_string_actions) for flag in flags)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{guesses}")
        return parsed, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += meant(str(value), map(str, action.choices or ()))
            raise

    def error(self, message: str) -> NoReturn:
        """Print the fault in the arguments in one line, and exit."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")
