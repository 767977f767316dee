"""How recipes are trained: torch and model libraries, no Ray, no Optuna, no W&B."""
