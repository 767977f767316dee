"""The names that modules of `trainables` had before version 0.2, for recipes that import them; they go in 0.3."""

import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any

OLD_NAMES = {
    "_data": "data",
    "_fit": "training.loop",
    "_preprocess": "training.preprocess",
    "_protocol": "training.protocol",
}
"""The modules that the README named to authors of recipes, and where their names are now."""


class OldName(ModuleType):
    """A module that warns, and hands on the names of the one that took its place."""

    def __init__(self, name: str, module: str) -> None:
        super().__init__(name, f"The old name of `{module}`.")
        self._module = module

    def __getattr__(self, name: str) -> Any:
        """Return a name of the module that took the place of this one."""
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        package = ".".join(self._module.split(".")[:2])
        text = f"{self.__name__} goes in version 0.3: import {name} from {package}"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return getattr(import_module(self._module), name)


def keep_old_names() -> None:
    """Let `from trainables._fit import fit` and its like work for one more version."""
    for old, new in OLD_NAMES.items():
        sys.modules.setdefault(f"trainables.{old}", OldName(f"trainables.{old}", f"trainables.{new}"))
