"""The training tools of recipes: the protocol of a recipe, and the training loop and first layer of networks.

The names below are public. They are imported on first access, because torch takes seconds to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.training.evaluation import evaluate
    from trainables.training.layers import GridPool
    from trainables.training.loop import fit
    from trainables.training.metrics import Evaluation, Metrics
    from trainables.training.preprocess import Preprocess, preprocess_of, window_of
    from trainables.training.protocol import Epoch, State

__all__ = [
    "Epoch",
    "Evaluation",
    "GridPool",
    "Metrics",
    "Preprocess",
    "State",
    "evaluate",
    "fit",
    "preprocess_of",
    "window_of",
]

_MODULES = {
    "evaluation": ("evaluate",),
    "layers": ("GridPool",),
    "loop": ("fit",),
    "metrics": ("Evaluation", "Metrics"),
    "preprocess": ("Preprocess", "preprocess_of", "window_of"),
    "protocol": ("Epoch", "State"),
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
