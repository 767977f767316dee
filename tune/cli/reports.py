"""The commands `toprung list`, `show`, `report`, `compare` and `dashboard`: look at experiments."""

import argparse
from pathlib import Path

from tune.cli.flags import EXPERIMENT, add_output, located
from tune.cli.parser import Parser


def add(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the commands of this module."""
    listing = commands.add_parser("list", help="list experiments", allow_abbrev=False)
    listing.set_defaults(run=_list)
    listing.add_argument(
        "folder", type=Path, nargs="?", help="the folder that holds them (default: $TOPRUNG_OUT, or results)"
    )

    show = commands.add_parser("show", help="show the trials of an experiment, or one of them", allow_abbrev=False)
    show.set_defaults(run=_show)
    show.add_argument("experiment", type=located, help=EXPERIMENT)
    show.add_argument("--trial", type=int, metavar="N", help="show configuration and epochs of this trial")

    dashboard = commands.add_parser("dashboard", help="show the study in Optuna's dashboard", allow_abbrev=False)
    dashboard.set_defaults(run=_dashboard)
    dashboard.add_argument("experiment", type=located, help=EXPERIMENT)
    dashboard.add_argument("--port", type=int, default=8080, metavar="N", help="a port on 127.0.0.1 (default: 8080)")

    report = commands.add_parser("report", help="write an experiment's report again", allow_abbrev=False)
    report.set_defaults(run=_report)
    report.add_argument("experiment", type=located, help=EXPERIMENT)

    compare = commands.add_parser("compare", help="compare several experiments on one page", allow_abbrev=False)
    compare.set_defaults(run=_compare)
    compare.add_argument(
        "experiments", nargs="+", metavar="experiment", help="folders or URLs of two or more experiments"
    )
    add_output(compare, "comparison.html", "the page")


def _list(arguments: argparse.Namespace) -> int:
    from tune.reporting.listing import experiments
    from tune.settings.parsing import out_folder
    from tune.terminal.console import table_console

    folder = arguments.folder or Path(out_folder())
    table_console().print(experiments(folder.expanduser()))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from contextlib import closing

    from rich.text import Text

    from tune.experiment.experiment import Experiment
    from tune.experiment.study import SearchStudy
    from tune.experiment.trial_record import record_of
    from tune.reporting.listing import state_of, trial, trials
    from tune.terminal.console import table_console

    experiment = Experiment.open(arguments.experiment)
    settings = experiment.settings
    with closing(SearchStudy.load(experiment.storage, settings.name)) as study:
        records = study.records
    console = table_console()
    searched = experiment.is_searched
    if arguments.trial is None:
        console.print(trials(records, settings.metric, searched=searched))
        return 0
    record = record_of(records, arguments.trial)
    attempts = f", {record.attempts} attempts" if record.attempts > 1 else ""
    console.print(Text(f"trial {record.number}: {record.recipe}, {state_of(record, searched=searched)}{attempts}"))
    if record.note:
        console.print(Text(record.note), soft_wrap=True)
    for table in trial(record):
        console.print(table)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from tune.experiment.experiment import Experiment
    from tune.reporting.report import rebuild
    from tune.terminal.console import quiet_optuna

    with quiet_optuna():
        print(rebuild(Experiment.open(arguments.experiment)))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from tune.experiment.experiment import several

    experiments = several(arguments.experiments)  # before all other imports: bad input is refused at once

    from rich.text import Text

    from tune.reporting.page.comparison import comparison_table
    from tune.reporting.report import side_by_side, write_comparison
    from tune.terminal.console import table_console

    side = side_by_side(experiments)
    page = write_comparison(side, arguments.output)
    console = table_console()
    console.print(comparison_table(side))
    console.print("ranked by val, the mean over the seeds of each winner; intervals are 95%", style="dim")
    for line in side.lines():
        console.print(Text(line), soft_wrap=True)
    print(f"comparison: {page}")
    return 0


def _dashboard(arguments: argparse.Namespace) -> int:
    from tune.experiment.experiment import Experiment
    from tune.reporting.optuna_dashboard import dashboard
    from tune.terminal.console import quiet_optuna

    with quiet_optuna():
        dashboard(Experiment.open(arguments.experiment), arguments.port)
    return 0
