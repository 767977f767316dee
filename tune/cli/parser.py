"""The parser of the command line, which names the flag or command that was probably meant."""

import argparse
from typing import Any, NoReturn

from search_spaces.space.errors import meant


class Parser(argparse.ArgumentParser):
    """Names the flag that was probably meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and let a command that does not know an argument say so, as it knows its own flags."""
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
        """Say in one line what is wrong with the arguments, and end."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")
