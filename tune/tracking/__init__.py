"""W&B tracking of an experiment, made from its study and files by a separate process; no trial waits for it."""

from tune.tracking.process import track, tracked

__all__ = ["track", "tracked"]
