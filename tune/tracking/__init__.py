"""W&B as a mirror of an experiment: made from its study and files, by a process of its own; no trial waits for it."""

from tune.tracking.process import track, tracked

__all__ = ["track", "tracked"]
