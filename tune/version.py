"""The version of toprung. The package's metadata is read from here, as this is right in a checkout, too.

It is a module of its own, because `tune` may be imported as a namespace package: `python -m tune.cli` in a folder that
has only `tune/run.py`, as on the head of a cluster.
"""

__version__ = "0.2.0"
