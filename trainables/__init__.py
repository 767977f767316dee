"""How recipes are trained: torch and model libraries, no Ray, no Optuna, no W&B."""

from trainables._classifier import Classifier

__all__ = ["Classifier"]
