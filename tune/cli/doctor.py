"""The command `toprung doctor`, which looks for causes of failure."""

import argparse
import sys
from pathlib import Path

from tune.cli.flags import add_config, add_flags, given_by
from tune.cli.parser import Parser


def add(commands: "argparse._SubParsersAction[Parser]", *, flags: bool) -> None:
    """Add the commands of this module; without `flags`, leave out flags for settings, which take time to import."""
    doctor = commands.add_parser(
        "doctor", help="find what would make a search fail: here, on a cluster, in a cluster file", allow_abbrev=False
    )
    doctor.set_defaults(run=_doctor)
    doctor.add_argument(
        "cluster", type=Path, nargs="?", metavar="cluster.yaml", help="check this cluster file instead, before ray up"
    )
    if flags:
        from tune.settings.groups import Mark
        from tune.settings.settings import marked

        add_config(doctor)  # a search's settings file may have other settings, too
        add_flags(doctor, marked(Mark.DOCTOR))


def _doctor(arguments: argparse.Namespace) -> int:
    from tune.settings.settings import make

    settings = make(given_by(arguments))

    from rich.console import Console
    from rich.text import Text

    if arguments.cluster:
        from tune.cluster.cluster_file import examine_file

        findings = examine_file(arguments.cluster, settings)
    else:
        from tune.cluster.doctor import examine

        findings = examine(settings)
    console, styles = Console(file=sys.stdout), {"ok": "green", "warning": "yellow", "error": "red"}
    levels = []
    for finding in findings:
        line = Text.assemble((f"{finding.level:9}", styles[finding.level]), f"{finding.check:15}", finding.text)
        console.print(line, soft_wrap=True)
        levels.append(finding.level)
    return 1 if "error" in levels else 0
