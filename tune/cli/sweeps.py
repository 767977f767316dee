"""The commands `toprung sweep`, `agent` and `track`: sweeps that W&B drives, and experiments sent to W&B."""

import argparse
import shlex
import sys
from pathlib import Path

from search_spaces import InputError
from tune.cli.flags import (
    add_config,
    add_flags,
    add_output,
    given_by,
    located,
)
from tune.cli.parser import Parser

SWEPT = (
    "data", "limit", "image_size", "variant", "image_column", "label_column", "box_column", "normalize_classes",
    "drop_unseen_classes", "split", "group_by", "on_bad_image", "cache", "recipes_from", "set", "weights", "trials",
    "max_epochs", "grace_period", "reduction_factor", "metric", "seed", "name", "wandb_project", "wandb_entity",
)  # fmt: skip
"""The settings that a sweep has as flags."""


NOT_OF_A_TRIAL = ("trials", "grace_period", "reduction_factor", "name", "wandb_project", "wandb_entity")
"""The settings in SWEPT that only W&B uses; its agents' trials do not get them."""


def add(commands: "argparse._SubParsersAction[Parser]", *, flags: bool) -> None:
    """Add the commands of this module; without `flags`, leave out flags for settings, which take time to import."""
    sweep = commands.add_parser("sweep", help="write recipes as a sweep that W&B drives", allow_abbrev=False)
    sweep.set_defaults(run=_sweep)
    sweep.add_argument("recipe", nargs="+", help="which recipes W&B shall choose from")
    add_output(sweep, "sweep.yaml", "what wandb sweep reads")
    sweep.add_argument(
        "--method", choices=("bayes", "random", "grid"), default="bayes", help="how W&B chooses (default: bayes)"
    )
    if flags:
        add_config(sweep)
        add_flags(sweep, SWEPT)

    agent = commands.add_parser("agent", help="work on a sweep that W&B drives, with each GPU", allow_abbrev=False)
    agent.set_defaults(run=_agent)
    agent.add_argument("sweep", help="as wandb sweep prints it: ENTITY/PROJECT/ID")
    agent.add_argument("--gpus", default="all", metavar="X", help="all, none, or numbers with commas (default: all)")
    agent.add_argument("--count", type=int, metavar="N", help="trials of each agent (default: until the sweep ends)")
    track = commands.add_parser("track", help="send an experiment to W&B, now or again", allow_abbrev=False)
    track.set_defaults(run=_track)
    track.add_argument("experiment", type=located, help="its folder, or its URL")
    if flags:
        from tune.settings.settings import WANDB

        add_flags(track, WANDB)


def _sweep(arguments: argparse.Namespace) -> int:
    import yaml

    from tune.settings.settings import EMBEDDED, make
    from tune.tracking.sweeps import driving_sweep

    given = {**given_by(arguments), "recipes": ",".join(arguments.recipe)}
    settings = make(given)
    passed = {name: getattr(settings, name) for name in given if name in SWEPT and name not in NOT_OF_A_TRIAL}
    if settings.recipes_from:
        passed["recipes_from"] = settings.recipes_from
    sweep = driving_sweep(settings, {"recipes": settings.recipes, **passed}, arguments.method)
    text = yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True)
    try:
        if arguments.output.exists() and arguments.output.read_text() != text:
            raise InputError(f"--output {arguments.output}: another one is there; remove it, or give another place")
        arguments.output.write_text(text)
    except OSError as error:
        raise InputError(f"--output {arguments.output}: cannot be written: {error.strerror}") from None
    if settings.data not in EMBEDDED and ":" not in settings.data and not Path(settings.data).is_dir():
        print(
            f"toprung: warning: --data {settings.data} is not here; agents will look for it where they run",
            file=sys.stderr,
        )
    print(f"{arguments.output}: {len(sweep['parameters'])} parameters of {', '.join(settings.recipes)}")
    print(f"make the sweep: wandb sweep {shlex.quote(str(arguments.output))}")
    print("work on it, on each machine: toprung agent ENTITY/PROJECT/ID")
    return 0


def _agent(arguments: argparse.Namespace) -> int:
    from tune.cluster.wandb_login import require_login
    from tune.tracking.agents import gpus_of, run_agents

    if arguments.count is not None and arguments.count < 1:
        raise InputError(f"--count {arguments.count}: give 1 or more")
    parts = arguments.sweep.split("/")
    if len(parts) > 3 or not all(parts):
        raise InputError(f"{arguments.sweep}: is no sweep; give ENTITY/PROJECT/ID, as wandb sweep prints it")
    require_login()
    return run_agents(arguments.sweep, gpus_of(arguments.gpus), arguments.count)


def _track(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from tune.experiment.folder import Experiment
    from tune.settings.settings import WANDB, make
    from tune.tracking import track

    experiment = Experiment.open(arguments.experiment)
    given = {name: value for name, value in vars(arguments).items() if name in WANDB}
    if experiment.settings.wandb != "off" and experiment.is_searched:
        raise InputError(f"{experiment} is being searched, and shown in W&B by its search; wait for that, or stop it")
    settings = make({**experiment.settings.model_dump(), "wandb": "online", **given})
    if settings.wandb == "off":
        raise InputError("--wandb off: nothing is sent then; give online or offline")
    if settings.wandb == "online":
        from tune.cluster.wandb_login import require_login

        print(f"W&B: sending to {require_login().url}")
    return 0 if track(experiment, settings, Console(file=sys.stdout)) else 1
