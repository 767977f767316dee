"""Distributed search: what knows of Ray, Optuna and W&B."""

__version__ = "0.2.0"
"""The version of toprung. The package's metadata is read from here, as this is right in a checkout, too."""
