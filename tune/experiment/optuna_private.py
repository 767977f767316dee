"""Everything that is not Optuna's public interface: no other module may touch it.

Optuna offers studies, and calls its storages internal. The study on disk uses a storage directly: with `ask` and `tell`
a new trial takes a commit for each parameter, and a call that failed could not be repeated safely. A release of Optuna
may change this without notice. `tests/tune/experiment/test_optuna_private.py` holds it against the installed Optuna.
"""

from optuna.storages import BaseStorage, RDBStorage, get_storage

__all__ = ["BaseStorage", "RDBStorage", "cached"]


def cached(storage: RDBStorage) -> BaseStorage:
    """Return a storage that reads trials that have ended only once."""
    return get_storage(storage)
