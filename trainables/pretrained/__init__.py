"""Fine-tuning: a new head on a pretrained network, and the weights that the network starts from.

The names below are public. They are imported on first access, because torch takes seconds to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.pretrained.fine_tuning import FineTuned, Standardize, fine_tune

__all__ = ["FineTuned", "Standardize", "fine_tune"]


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name in __all__:
        return getattr(import_module(f"{__name__}.fine_tuning"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
