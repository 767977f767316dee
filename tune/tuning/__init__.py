"""The search itself, by Ray Tune and Optuna: searcher, sampler, early stopping, the trainable, retries, deadline."""
