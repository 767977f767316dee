"""The training side of recipes: torch and model libraries, no Ray, no Optuna, no W&B."""

from typing import TYPE_CHECKING, Any

from trainables._old_names import keep_old_names

if TYPE_CHECKING:
    from trainables.inference.classifier import Classifier

__all__ = ["Classifier"]

keep_old_names()


def __getattr__(name: str) -> Any:
    """Import public names on first access: torch takes seconds, and not every module here needs it."""
    if name == "Classifier":
        from trainables.inference.classifier import Classifier

        return Classifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
