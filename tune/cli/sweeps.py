"""The commands `toprung sweep`, `agent` and `track`: sweeps that W&B drives, and experiments sent to W&B."""

import argparse
import shlex
import sys
from pathlib import Path

from search_spaces import InputError
from tune.cli.flags import (
    EXPERIMENT,
    add_config,
    add_flags,
    add_output,
    given_by,
    located,
)
from tune.cli.parser import Parser


def add(commands: "argparse._SubParsersAction[Parser]", *, flags: bool) -> None:
    """Add the commands of this module; without `flags`, leave out flags for settings, which take time to import."""
    sweep = commands.add_parser("sweep", help="write a sweep that W&B drives", allow_abbrev=False)
    sweep.set_defaults(run=_sweep)
    sweep.add_argument("recipe", nargs="+", help="the recipes that W&B chooses from")
    add_output(sweep, "sweep.yaml", "the sweep")
    sweep.add_argument(
        "--method",
        choices=("bayes", "random", "grid"),
        default="bayes",
        help="the search method of W&B (default: bayes)",
    )
    if flags:
        from tune.settings.groups import Mark
        from tune.settings.settings import marked

        add_config(sweep)
        add_flags(sweep, marked(Mark.SWEEP, Mark.SWEEP_TRIAL))

    agent = commands.add_parser("agent", help="train the trials of a sweep, one agent for each GPU", allow_abbrev=False)
    agent.set_defaults(run=_agent)
    agent.add_argument("sweep", help="ENTITY/PROJECT/ID, as wandb sweep prints it")
    agent.add_argument(
        "--gpus", default="all", metavar="X", help="the GPUs to use: all, none, or numbers as in 0,2 (default: all)"
    )
    agent.add_argument("--count", type=int, metavar="N", help="trials for each agent (default: until the sweep ends)")
    track = commands.add_parser("track", help="send an experiment to W&B", allow_abbrev=False)
    track.set_defaults(run=_track)
    track.add_argument("experiment", type=located, help=EXPERIMENT)
    if flags:
        from tune.settings.groups import WandbSettings

        add_flags(track, WandbSettings.model_fields)


def _sweep(arguments: argparse.Namespace) -> int:
    import yaml

    from tune.settings.groups import Mark
    from tune.settings.parsing import EMBEDDED
    from tune.settings.settings import make, marked
    from tune.tracking.sweeps import driving_sweep

    given = {**given_by(arguments), "recipes": ",".join(arguments.recipe)}
    settings = make(given)
    of_trials = marked(Mark.SWEEP_TRIAL)
    passed = {name: getattr(settings, name) for name in given if name in of_trials}
    if settings.recipes_from:
        passed["recipes_from"] = settings.recipes_from
    sweep = driving_sweep(settings, {"recipes": settings.recipes, **passed}, arguments.method)
    text = yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True)
    try:
        if arguments.output.exists() and arguments.output.read_text() != text:
            raise InputError(
                f"--output {arguments.output}: the file exists and holds something else; delete it, or choose another"
            )
        arguments.output.write_text(text)
    except OSError as error:
        raise InputError(f"--output {arguments.output}: {error.strerror}; choose a file that can be written") from None
    if settings.data not in EMBEDDED and ":" not in settings.data and not Path(settings.data).is_dir():
        print(
            f"toprung: warning: --data {settings.data} is not on this machine; each agent will look for it on its own",
            file=sys.stderr,
        )
    print(f"{arguments.output}: {len(sweep['parameters'])} parameters of {', '.join(settings.recipes)}")
    print(f"create the sweep: wandb sweep {shlex.quote(str(arguments.output))}")
    print("train its trials, on each machine: toprung agent ENTITY/PROJECT/ID")
    return 0


def _agent(arguments: argparse.Namespace) -> int:
    from tune.cluster.wandb_login import require_login
    from tune.tracking.agents import gpus_of, run_agents

    if arguments.count is not None and arguments.count < 1:
        raise InputError(f"--count {arguments.count}: must be at least 1")
    parts = arguments.sweep.split("/")
    if len(parts) > 3 or not all(parts):
        raise InputError(f"{arguments.sweep}: is not a sweep; give ENTITY/PROJECT/ID, as wandb sweep prints it")
    require_login()
    return run_agents(arguments.sweep, gpus_of(arguments.gpus), arguments.count)


def _track(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from tune.experiment.experiment import Experiment
    from tune.settings.groups import WandbSettings
    from tune.settings.settings import make
    from tune.tracking import track

    experiment = Experiment.open(arguments.experiment)
    given = {name: value for name, value in vars(arguments).items() if name in WandbSettings.model_fields}
    if experiment.settings.wandb != "off" and experiment.is_searched:
        raise InputError(
            f"{experiment} is being searched, and its search sends it to W&B already; wait for its end, or stop it"
        )
    settings = make({**experiment.settings.model_dump(), "wandb": "online", **given})
    if settings.wandb == "off":
        raise InputError("--wandb off: nothing would be sent; give online or offline")
    if settings.wandb == "online":
        from tune.cluster.wandb_login import require_login

        print(f"W&B: sending to {require_login().url}")
    return 0 if track(experiment, settings, Console(file=sys.stdout)) else 1
