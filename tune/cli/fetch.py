"""The command `toprung fetch`, which downloads the data of a published experiment."""

import argparse
import shlex
import sys
from pathlib import Path

from search_spaces import InputError
from tune.cli.parser import Parser


def add(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the commands of this module."""
    fetch = commands.add_parser("fetch", help="download the data of a published experiment", allow_abbrev=False)
    fetch.set_defaults(run=_fetch)
    fetch.add_argument("data", help="the data set: cifar10, product_masks, dog_breeds or flowers")
    fetch.add_argument("--to", type=Path, metavar="FOLDER", help="the folder to download into (default: data/NAME)")
    fetch.add_argument(
        "--from",
        dest="copy",
        type=Path,
        metavar="COPY",
        help="use your copy instead of a download: the tar or zip; for product_masks also a .parquet file or folder",
    )


def _fetch(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from tune.fetching.fetch import fetch
    from tune.fetching.published import DATA_SETS

    name = arguments.data
    if name not in DATA_SETS:
        raise InputError(f"no data set {name!r} to fetch; there are: {', '.join(DATA_SETS)}")
    data = fetch(name, arguments.to or Path("data") / name, arguments.copy, Console(file=sys.stdout))
    given = f" --data {shlex.quote(data)}"
    print(f"search it: toprung search{given}")
    preset = DATA_SETS[name].preset
    print(f"its published experiment: toprung search --preset {preset}{given if arguments.to else ''}")
    return 0
