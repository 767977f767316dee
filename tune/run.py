"""`python tune/run.py [flags]` is `toprung search [flags]`; `ray submit` copies this file alone to the head node."""

import sys

from tune.cli import main

if __name__ == "__main__":
    sys.exit(main(["search", *sys.argv[1:]]))
