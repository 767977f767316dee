"""`python tune/run.py [flags]` is `toprung search [flags]`; `ray submit` copies this file alone to the head node."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts the folder of a script on the path, and Ray puts it on the path of workers. There, the subpackages of
    # this package would be top-level modules, and a recipe's own `import models` would find one of them.
    folder = Path(__file__).resolve().parent
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != folder]

    from tune.cli import main

    sys.exit(main(["search", *sys.argv[1:]]))
