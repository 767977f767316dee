"""The command `toprung search`: a new search, or one that is resumed."""

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from search_spaces import InputError
from tune.cli.flags import (
    add_config,
    add_flags,
    flag_of,
    given_by,
    resumed_with,
)
from tune.cli.parser import Parser

if TYPE_CHECKING:
    from tune.experiment.experiment import Experiment


def add(commands: "argparse._SubParsersAction[Parser]", *, flags: bool) -> None:
    """Add the commands of this module; without `flags`, leave out flags for settings, which take time to import."""
    search = commands.add_parser(
        "search", help="search, train and test the finalists, write the report", allow_abbrev=False
    )
    search.set_defaults(run=_search)
    if flags:
        _add_settings(search)


def _add_settings(search: argparse.ArgumentParser) -> None:
    from tune.settings.groups import Mark
    from tune.settings.settings import Settings, marked

    resumable = ", ".join(map(flag_of, marked(Mark.RESUMABLE)))
    search.add_argument(
        "--resume",
        metavar="EXPERIMENT",
        help=f"continue this experiment (a folder or URL); may change: {resumable}",
    )
    search.add_argument(
        "--sweep-trial", action="store_true", help="train one trial of a W&B sweep; its agents call this"
    )
    add_config(search)
    add_flags(search, Settings.model_fields)


def _search(arguments: argparse.Namespace) -> int:
    from tune.settings.settings import make

    given = given_by(arguments, resumed=bool(arguments.resume))
    if arguments.resume and arguments.sweep_trial:
        raise InputError("--sweep-trial --resume: a sweep's trial cannot be resumed; leave out one of the two")
    if not arguments.resume:
        settings = make(given)
    if arguments.sweep_trial:
        from tune.tracking.sweep_trial import train

        train(settings)
        return 0
    if not arguments.resume and settings.wandb == "online":
        from tune.cluster.wandb_login import require_login

        require_login()

    from rich.text import Text  # late, as the imports below bring Ray and torch: bad input is refused at once

    from tune.experiment.experiment import Experiment
    from tune.experiment.report_json import read_report
    from tune.reporting.findings import answer, findings
    from tune.reporting.leaderboard_text import leaderboard_table
    from tune.reporting.published_rows import chosen, not_as_published, pretrained, published_table
    from tune.reporting.results import began_with
    from tune.search import resume, search
    from tune.terminal.console import console_of
    from tune.tuning.deadline import HopelessError, Interrupted

    if arguments.resume:
        experiment = Experiment.open(arguments.resume)
        settings = resumed_with(experiment.settings, given)
        experiment = replace(experiment, settings=settings)
        if settings.wandb == "online":
            from tune.cluster.wandb_login import require_login

            require_login()
        run = resume
    else:
        experiment = Experiment.at(settings)
        run = search
    console = console_of(settings.progress)
    try:
        report = run(experiment, console)
    except Interrupted:
        print(f"toprung: stopped; continue with: toprung search --resume {experiment}", file=sys.stderr)
        _report_so_far(experiment)
        return 130
    except (KeyboardInterrupt, SystemExit):  # Ray, while it starts, turns SIGTERM into an exit
        if not experiment.exists:
            raise
        print(
            f"toprung: stopped at once; continue with: toprung search --resume {experiment}; "
            f"report the results so far with: toprung report {experiment}",
            file=sys.stderr,
        )
        return 130
    except HopelessError as error:
        print(f"toprung: {error}", file=sys.stderr)
        _report_so_far(experiment)
        return 2
    found = read_report(experiment)
    assert found is not None, "the search has written it"
    if found.preset and found.rows:
        entries = list(found.rows.values())
        console.print(published_table(entries))
        if any(line.inside is False for entry in entries for line in entry.figures):
            console.print("* the published figure lies outside the measured 95% interval", style="dim")
        lines = [f"note: {note}" for note in found.preset.notes]
        lines += [f"chosen by cross-validation: {line}" for line in chosen(entries)]
        lines += [f"not as published: {line}" for line in not_as_published(entries)]
        lines += [f"pretrained weights: {line}" for line in pretrained(entries)]
        for line in lines:
            console.print(Text(line, style="dim"), soft_wrap=True)
    if not settings.rows_only:
        console.print(leaderboard_table(found))
        console.print("ranked by val, the mean over the seeds of the finals; intervals are 95%", style="dim")
        for line in [answer(found), *findings(found)]:
            console.print(Text(line), soft_wrap=True)
        for line in began_with(found):
            console.print(Text(f"pretrained weights of {line}", style="dim"), soft_wrap=True)
    said = experiment.read("data.json")["warnings"]  # printed at the start
    for warning in [*(each for each in found.warnings if each not in said), *found.failures]:
        console.print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)
    print(f"report: {report}")
    if experiment.url:
        print(f"and in: {experiment}/report/index.html")
    if settings.rows_only:
        return 0 if all(row.test for row in found.rows.values()) else 1
    return 0 if found.winner else 1


def _report_so_far(experiment: "Experiment") -> None:
    """Write the report of a stopped search, and print its path."""
    from tune.experiment.experiment import Experiment
    from tune.reporting.report import rebuild
    from tune.terminal.console import quiet_optuna

    try:
        with quiet_optuna():
            print(f"report: {rebuild(Experiment.open(str(experiment)))}")
    except (InputError, OSError, KeyboardInterrupt) as error:
        why = f": {error}" if str(error) else ""
        print(f"toprung: the report was not written{why}; write it with: toprung report {experiment}", file=sys.stderr)
