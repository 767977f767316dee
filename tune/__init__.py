"""Distributed search: what knows of Ray, Optuna and W&B."""
