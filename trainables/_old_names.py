"""Old names from before version 0.2 of `trainables` modules that recipes import; version 0.3 removes them."""

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
"""The old module names that the README gave to authors of recipes, with the modules that replace them."""


class OldName(ModuleType):
    """A module that warns and forwards names to the module that replaced it."""

    def __init__(self, name: str, module: str) -> None:
        super().__init__(name, f"The old name of `{module}`.")
        self._module = module

    def __getattr__(self, name: str) -> Any:
        """Return a name from the module that replaced this one."""
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        package = ".".join(self._module.split(".")[:2])
        text = f"{self.__name__} goes in version 0.3: import {name} from {package}"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return getattr(import_module(self._module), name)


def keep_old_names() -> None:
    """Keep `from trainables._fit import fit` and similar imports working for one more version."""
    for old, new in OLD_NAMES.items():
        sys.modules.setdefault(f"trainables.{old}", OldName(f"trainables.{old}", f"trainables.{new}"))
