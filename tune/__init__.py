"""Distributed search: what knows of Ray, Optuna and W&B."""

from tune.version import __version__ as __version__
