"""`python -m tune.cli COMMAND` is `toprung COMMAND`."""

import sys

from tune.cli.command_line import main

if __name__ == "__main__":
    sys.exit(main())
