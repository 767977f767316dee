"""The command line: arguments to settings, and what each command runs. Light to import, so that help is instant."""

import argparse
import os
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from search_spaces import Choice, InputError, add_recipes, recipes, space_of
from search_spaces._errors import meant

if TYPE_CHECKING:
    from rich.console import Console

    from tune.experiment import Experiment
    from tune.settings import Settings

LOOKED_AT = (
    "data", "image_column", "label_column", "cache", "recipes", "recipes_from", "out", "address", "cpus_per_trial",
    "gpus_per_trial", "variant", "box_column", "preset",
)  # fmt: skip
"""The settings that `toprung doctor` has as flags; a file may have others, as it is that of a search."""

SWEPT = (
    "data", "limit", "image_size", "variant", "image_column", "label_column", "box_column", "normalize_classes",
    "drop_unseen_classes", "split", "group_by", "on_bad_image", "cache", "recipes_from", "set", "weights", "trials",
    "max_epochs", "grace_period", "reduction_factor", "metric", "seed", "name", "wandb_project", "wandb_entity",
)  # fmt: skip
"""The settings that a sweep has as flags."""

NOT_OF_A_TRIAL = ("trials", "grace_period", "reduction_factor", "name", "wandb_project", "wandb_entity")
"""Those of them that are W&B's alone, and not of what its agents start."""

UNCUT = 1000
"""Columns of a table that no screen limits."""

MODELS = "its folder, or that of a model in it: EXPERIMENT/best/RECIPE, EXPERIMENT/rows/NAME, EXPERIMENT/soups/NAME"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns 0, 1 without a whole result, 2 for bad input, 130 when stopped by a person."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        try:
            arguments = parser(flags=not {"search", "doctor", "track", "sweep"}.isdisjoint(argv)).parse_args(argv)
            code: int = arguments.run(arguments)
            return code
        finally:
            sys.stdout.flush()  # here, and not at exit, where its error could not be caught
    except InputError as error:
        print(f"toprung: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("toprung: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # as in `toprung recipes | head`; what is still to be flushed at exit goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parser(*, flags: bool = True) -> argparse.ArgumentParser:
    """The whole surface of the command line; without `flags` all but settings, which take time to import."""
    top = Parser(
        prog="toprung",
        description="Distributed hyperparameter search for image classifiers.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"toprung {version('toprung')}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    search = commands.add_parser("search", help="search, train the finalists, test them, report", allow_abbrev=False)
    search.set_defaults(run=_search)
    doctor = commands.add_parser(
        "doctor", help="look for what would fail: here, on a cluster, in a cluster's file", allow_abbrev=False
    )
    doctor.set_defaults(run=_doctor)
    doctor.add_argument(
        "cluster", type=Path, nargs="?", metavar="cluster.yaml", help="look at this file instead, before ray up"
    )
    if flags:
        from tune.settings import WANDB

        _add_settings(search)
        _add_config(doctor)
        _add_flags(doctor, LOOKED_AT)

    replay = commands.add_parser("replay", help="train a trial again from its record and compare", allow_abbrev=False)
    replay.set_defaults(run=_replay)
    replay.add_argument("experiment", type=_located)
    replay.add_argument("--trial", type=int, required=True, metavar="N")

    listing = commands.add_parser("list", help="list experiments", allow_abbrev=False)
    listing.set_defaults(run=_list)
    listing.add_argument("folder", type=Path, nargs="?", help="where they lie (default: $TOPRUNG_OUT, or results)")

    show = commands.add_parser("show", help="show the trials of an experiment, or one of them", allow_abbrev=False)
    show.set_defaults(run=_show)
    show.add_argument("experiment", type=_located)
    show.add_argument("--trial", type=int, metavar="N", help="configuration and epochs of this one")

    dashboard = commands.add_parser("dashboard", help="show the study in Optuna's dashboard", allow_abbrev=False)
    dashboard.set_defaults(run=_dashboard)
    dashboard.add_argument("experiment", type=_located, help="its folder, or its URL")
    dashboard.add_argument("--port", type=int, default=8080, metavar="N", help="on 127.0.0.1 (default: 8080)")

    report = commands.add_parser("report", help="write an experiment's report again", allow_abbrev=False)
    report.set_defaults(run=_report)
    report.add_argument("experiment", type=_located)

    compare = commands.add_parser("compare", help="put several experiments into one page", allow_abbrev=False)
    compare.set_defaults(run=_compare)
    compare.add_argument("experiments", nargs="+", metavar="experiment", help="two or more: their folders or URLs")
    _add_output(compare, "comparison.html", "the page")

    track = commands.add_parser("track", help="send an experiment to W&B, now or again", allow_abbrev=False)
    track.set_defaults(run=_track)
    track.add_argument("experiment", type=_located, help="its folder, or its URL")
    if flags:
        _add_flags(track, WANDB)

    _add_sweeps(commands, flags=flags)
    _add_after_search(commands)

    listing = commands.add_parser("recipes", help="list recipes and what may vary in each", allow_abbrev=False)
    listing.set_defaults(run=_recipes)
    listing.add_argument("recipe", nargs="*", help="which (default: all)")

    check = commands.add_parser("check-recipe", help="hold a recipe to what every one must do", allow_abbrev=False)
    check.set_defaults(run=_check_recipe)
    check.add_argument("recipe", help="its name, or a folder of your own, such as ./my_recipes")

    fetch = commands.add_parser("fetch", help="download the data of a published experiment", allow_abbrev=False)
    fetch.set_defaults(run=_fetch)
    fetch.add_argument("data", help="cifar10, product_masks, dog_breeds or flowers")
    fetch.add_argument("--to", type=Path, metavar="FOLDER", help="where to (default: data/NAME)")
    fetch.add_argument(
        "--from",
        dest="copy",
        type=Path,
        metavar="COPY",
        help="not a download but your copy: the tar or zip; of product_masks also a .parquet file or a folder of them",
    )
    return top


class Parser(argparse.ArgumentParser):
    """Names the flag that was probably meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and let a command that does not know an argument say so, as it knows its own flags."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            flags = [word.partition("=")[0] for word in unknown if word.startswith("--")]
            guesses = "".join(meant(flag, self._option_string_actions) for flag in flags)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{guesses}")
        return parsed, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += meant(str(value), map(str, action.choices or ()))
            raise

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong with the arguments, and end."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _add_settings(search: argparse.ArgumentParser) -> None:
    from tune.settings import RESUMABLE, Settings

    search.add_argument(
        "--resume",
        metavar="EXPERIMENT",
        help=f"go on with results/NAME, or its URL; these may change: {', '.join(map(_flag, RESUMABLE))}",
    )
    search.add_argument(
        "--sweep-trial", action="store_true", help="train what a W&B sweep has drawn; its agents call this"
    )
    _add_config(search)
    _add_flags(search, Settings.model_fields)


def _add_sweeps(commands: "argparse._SubParsersAction[Parser]", *, flags: bool) -> None:
    sweep = commands.add_parser("sweep", help="write recipes as a sweep that W&B drives", allow_abbrev=False)
    sweep.set_defaults(run=_sweep)
    sweep.add_argument("recipe", nargs="+", help="which recipes W&B shall choose from")
    _add_output(sweep, "sweep.yaml", "what wandb sweep reads")
    sweep.add_argument(
        "--method", choices=("bayes", "random", "grid"), default="bayes", help="how W&B chooses (default: bayes)"
    )
    if flags:
        _add_config(sweep)
        _add_flags(sweep, SWEPT)

    agent = commands.add_parser("agent", help="work on a sweep that W&B drives, with each GPU", allow_abbrev=False)
    agent.set_defaults(run=_agent)
    agent.add_argument("sweep", help="as wandb sweep prints it: ENTITY/PROJECT/ID")
    agent.add_argument("--gpus", default="all", metavar="X", help="all, none, or numbers with commas (default: all)")
    agent.add_argument("--count", type=int, metavar="N", help="trials of each agent (default: until the sweep ends)")


def _console() -> "Console":
    """Standard output, for tables: what a program reads is not cut to the width of a screen, but to COLUMNS if set."""
    from rich.console import Console

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else UNCUT)


def _sweep(arguments: argparse.Namespace) -> int:
    import yaml

    from tune.settings import EMBEDDED, make
    from tune.sweep import driving_sweep

    given = {**_given(arguments), "recipes": ",".join(arguments.recipe)}
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
    from tune.agents import gpus_of, run_agents
    from tune.login import require_login

    if arguments.count is not None and arguments.count < 1:
        raise InputError(f"--count {arguments.count}: give 1 or more")
    parts = arguments.sweep.split("/")
    if len(parts) > 3 or not all(parts):
        raise InputError(f"{arguments.sweep}: is no sweep; give ENTITY/PROJECT/ID, as wandb sweep prints it")
    require_login()
    return run_agents(arguments.sweep, gpus_of(arguments.gpus), arguments.count)


def _add_output(command: argparse.ArgumentParser, default: str, what: str) -> None:
    command.add_argument(
        "--output", type=Path, default=Path(default), metavar="FILE", help=f"{what} (default: {default})"
    )


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", metavar="FILE", type=Path, help="settings from a YAML file; flags override it")


def _add_flags(command: argparse.ArgumentParser, names: Collection[str]) -> None:
    """Flags for settings."""
    from tune.settings import Settings

    for name in names:
        field = Settings.model_fields[name]
        help_text = field.description or ""
        if (
            isinstance(field.default, str | int | tuple)
            and field.default not in ("", ())
            and "default" not in help_text
        ):
            default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
            help_text += f" (default: {default})"
        options: dict[str, Any] = {"help": help_text, "default": argparse.SUPPRESS, "metavar": "X"}
        if name == "set":
            options |= {"action": "append", "metavar": "RECIPE.FIELD=X"}
        elif field.annotation is bool:
            options = {"help": field.description, "default": argparse.SUPPRESS, "action": "store_true"}
        elif all(isinstance(choice, str) for choice in get_args(field.annotation)):
            options |= {"metavar": "|".join(get_args(field.annotation)) or "X"}
        command.add_argument(_flag(name), **options)


def _given(arguments: argparse.Namespace, *, resumed: bool = False) -> dict[str, Any]:
    """The settings that a person gives by flags, a file and a preset, not yet validated."""
    from tune.preset import file_of, read_preset, settings_with
    from tune.settings import SETTINGS, Settings, load

    given = {name: value for name, value in vars(arguments).items() if name in Settings.model_fields}
    if "set" in given:
        given["set"] = _assignments(given["set"])
    if arguments.config:
        from_file = load(arguments.config)
        if arguments.config.name == SETTINGS and not resumed:
            from_file.pop("name", None)  # an experiment's own settings begin another
        restrictions = {**from_file.get("set", {}), **given.get("set", {})}
        given = {**from_file, **given, **({"set": restrictions} if restrictions else {})}
    if given.get("preset") and not resumed:
        given = settings_with(read_preset(file_of(given["preset"])), given)
    return given


def _search(arguments: argparse.Namespace) -> int:
    from tune.settings import make

    given = _given(arguments, resumed=bool(arguments.resume))
    if arguments.resume and arguments.sweep_trial:
        raise InputError("--sweep-trial: a sweep's trials are not resumed; leave out one of it and --resume")
    if not arguments.resume:
        settings = make(given)
    if arguments.sweep_trial:
        from tune.sweep_trial import train

        train(settings)
        return 0
    if not arguments.resume and settings.wandb == "online":
        from tune.login import require_login

        require_login()

    from rich.text import Text  # late, as what follows brings Ray and torch along: bad input is refused at once

    from tune.experiment import Experiment
    from tune.progress import console_of
    from tune.reporting import (
        answer,
        began_with,
        chosen,
        findings,
        leaderboard,
        not_as_published,
        pretrained,
        published_table,
    )
    from tune.search import resume, search
    from tune.stopping import HopelessError, Interrupted

    if arguments.resume:
        experiment = Experiment.open(arguments.resume)
        settings = _resumed(experiment.settings, given)
        if settings.wandb == "online":
            from tune.login import require_login

            require_login()
        run = resume
    else:
        experiment = Experiment.at(settings)
        run = search
    console = console_of(settings)
    try:
        report = run(experiment, settings, console)
    except Interrupted:
        print(f"toprung: stopped; go on with: toprung search --resume {experiment}", file=sys.stderr)
        _report_so_far(experiment)
        return 130
    except (KeyboardInterrupt, SystemExit):  # Ray, while it starts, makes an exit of SIGTERM
        if not experiment.exists:
            raise
        print(
            f"toprung: stopped at once; go on with: toprung search --resume {experiment}; "
            f"write a report of what there is: toprung report {experiment}",
            file=sys.stderr,
        )
        return 130
    except HopelessError as error:
        print(f"toprung: {error}", file=sys.stderr)
        _report_so_far(experiment)
        return 2
    summary = experiment.read("report.json")
    if summary["preset"] and summary["preset"]["rows"]:
        entries = list(summary["preset"]["rows"].values())
        console.print(published_table(entries))
        if any(line["inside"] is False for entry in entries for line in entry["figures"]):
            console.print("* the published figure lies outside the measured 95% interval", style="dim")
        lines = [f"note: {note}" for note in summary["preset"]["notes"]]
        lines += [f"chosen by cross-validation: {line}" for line in chosen(entries)]
        lines += [f"not as published: {line}" for line in not_as_published(entries)]
        lines += [f"pretrained weights: {line}" for line in pretrained(entries)]
        for line in lines:
            console.print(Text(line, style="dim"), soft_wrap=True)
    if not settings.rows_only:
        console.print(leaderboard(summary))
        console.print("ranked by val, the mean over the seeds of the finals; intervals are 95%", style="dim")
        for line in [answer(summary), *findings(summary)]:
            console.print(Text(line), soft_wrap=True)
        for line in began_with(summary):
            console.print(Text(f"pretrained weights of {line}", style="dim"), soft_wrap=True)
    said = experiment.read("data.json")["warnings"]  # at the start
    for warning in [*(each for each in summary["warnings"] if each not in said), *summary["failures"]]:
        console.print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)
    print(f"report: {report}")
    if experiment.url:
        print(f"and in: {experiment}/report/index.html")
    if settings.rows_only:
        return 0 if all(row["test"] for row in summary["preset"]["rows"].values()) else 1
    return 0 if summary["winner"] else 1


def _report_so_far(experiment: "Experiment") -> None:
    """Write the report of what a search that was stopped has found, and say where it is."""
    from tune.experiment import Experiment
    from tune.reporting import rebuild

    try:
        print(f"report: {rebuild(Experiment.open(str(experiment)))}")
    except (InputError, OSError, KeyboardInterrupt) as error:
        why = f": {error}" if str(error) else ""
        print(f"toprung: no report was written{why}; write it: toprung report {experiment}", file=sys.stderr)


def _doctor(arguments: argparse.Namespace) -> int:
    from tune.settings import make

    settings = make(_given(arguments))

    from rich.console import Console
    from rich.text import Text

    if arguments.cluster:
        from tune.cluster_file import examine_file

        findings = examine_file(arguments.cluster, settings)
    else:
        from tune.doctor import examine

        findings = examine(settings)
    console, styles = Console(file=sys.stdout), {"ok": "green", "warning": "yellow", "error": "red"}
    levels = []
    for finding in findings:
        line = Text.assemble((f"{finding.level:9}", styles[finding.level]), f"{finding.check:15}", finding.text)
        console.print(line, soft_wrap=True)
        levels.append(finding.level)
    return 1 if "error" in levels else 0


def _located(place: str) -> Path:
    """The folder of what a person names; of what is in a bucket, a copy on this machine."""
    if "://" not in place:
        return Path(place)
    from tune.experiment import located  # late, as it takes time to import

    return located(place)


def _assignments(texts: Sequence[str]) -> dict[str, str]:
    """`["knn.neighbors=5"]` as a mapping."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set {text}: write recipe.field=value, =low..high or =a|b|c")
        pairs[key] = value
    return pairs


def _given_as(value: object) -> str:
    """A setting as it is given by its flag."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else repr(value)


def _resumed(before: "Settings", given: Mapping[str, Any]) -> "Settings":
    """The settings that an experiment goes on with."""
    from tune.settings import RESUMABLE, make

    after = make({**before.model_dump(exclude={"address"}), **given})
    changed = [name for name in type(before).model_fields if getattr(before, name) != getattr(after, name)]
    fixed = [name for name in changed if name not in RESUMABLE]
    if fixed:
        name = fixed[0]
        raise InputError(
            f"{_flag(name)} was {_given_as(getattr(before, name))} when the experiment was begun and cannot become "
            f"{_given_as(getattr(after, name))}; on --resume only {', '.join(map(_flag, RESUMABLE))} may change"
        )
    return after


def _replay(arguments: argparse.Namespace) -> int:
    from tune.experiment import Experiment
    from tune.replay import TOLERANCE, replay

    deviations, differences = replay(Experiment.open(arguments.experiment), arguments.trial)
    for deviation in deviations:
        print(f"epoch {deviation.epoch}: {deviation.figure} deviates by {deviation.difference:.1e}")
    worst = max(deviation.difference for deviation in deviations)
    if worst <= TOLERANCE:
        print(f"reproduced: every figure of every epoch within {TOLERANCE:g}")
        return 0
    print(f"not reproduced: a figure deviates by {worst:.1e}, more than {TOLERANCE:g}")
    for difference in differences or ["the environment is that of the record"]:
        print(f"  {difference}")
    return 1


def _list(arguments: argparse.Namespace) -> int:
    from tune.overview import experiments
    from tune.settings import out_folder

    folder = arguments.folder or Path(out_folder())
    _console().print(experiments(folder.expanduser()))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from contextlib import closing

    from rich.text import Text

    from tune.experiment import Experiment
    from tune.overview import is_searched, record_of, state_of, trial, trials
    from tune.study import SearchStudy

    experiment = Experiment.open(arguments.experiment)
    settings = experiment.settings
    with closing(SearchStudy.load(experiment.storage, settings.name)) as study:
        records = study.records
    console = _console()
    searched = is_searched(experiment)
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


def _dashboard(arguments: argparse.Namespace) -> int:
    from tune.dashboard import dashboard
    from tune.experiment import Experiment

    dashboard(Experiment.open(arguments.experiment), arguments.port)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from tune.experiment import Experiment
    from tune.reporting import rebuild

    print(rebuild(Experiment.open(arguments.experiment)))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from tune.experiment import several

    experiments = several(arguments.experiments)  # before all else is imported: bad input is refused at once

    from rich.text import Text

    from tune.reporting import comparison_table, side_by_side, write_comparison

    side = side_by_side(experiments)
    page = write_comparison(side, arguments.output)
    console = _console()
    console.print(comparison_table(side))
    console.print("ranked by val, the mean over the seeds of each winner; intervals are 95%", style="dim")
    for line in side.lines():
        console.print(Text(line), soft_wrap=True)
    print(f"comparison: {page}")
    return 0


def _track(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from tune.experiment import Experiment
    from tune.overview import is_searched
    from tune.settings import WANDB, make
    from tune.tracking import track

    experiment = Experiment.open(arguments.experiment)
    given = {name: value for name, value in vars(arguments).items() if name in WANDB}
    if experiment.settings.wandb != "off" and is_searched(experiment):
        raise InputError(f"{experiment} is being searched, and shown in W&B by its search; wait for that, or stop it")
    settings = make({**experiment.settings.model_dump(), "wandb": "online", **given})
    if settings.wandb == "off":
        raise InputError("--wandb off: nothing is sent then; give online or offline")
    if settings.wandb == "online":
        from tune.login import require_login

        print(f"W&B: sending to {require_login().url}")
    return 0 if track(experiment, settings, Console(file=sys.stdout)) else 1


def _add_after_search(commands: "argparse._SubParsersAction[Parser]") -> None:
    export = commands.add_parser("export", help="write a winner as ONNX, checked against PyTorch", allow_abbrev=False)
    export.set_defaults(run=_export)
    export.add_argument("experiment", type=_located, help=MODELS)
    export.add_argument("--recipe", metavar="NAME", help="whose winner (default: the winner of all)")
    export.add_argument("--output", type=Path, metavar="FILE", help="where to (default: EXPERIMENT-NAME.onnx, here)")

    predict = commands.add_parser("predict", help="classify image files and folders with a winner", allow_abbrev=False)
    predict.set_defaults(run=_predict)
    predict.add_argument(
        "model",
        type=_located,
        help="an experiment, a model in it (best/RECIPE, rows/NAME, soups/NAME), or an exported file",
    )
    predict.add_argument("paths", type=Path, nargs="+", metavar="path", help="an image, or a folder with images")
    predict.add_argument("--recipe", metavar="NAME", help="whose winner (default: the winner of all)")
    predict.add_argument("--top", type=int, default=5, metavar="N", help="classes named of each image (default: 5)")
    predict.add_argument("--format", choices=("table", "json", "csv"), default="table", help="default: table")
    predict.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")

    describe = commands.add_parser("describe", help="parameters, MACs, size, latency of winners", allow_abbrev=False)
    describe.set_defaults(run=_describe)
    describe.add_argument("experiment", type=_located, help=MODELS)
    describe.add_argument("--recipe", metavar="NAME", help="whose winner (default: those of all recipes)")


def _export(arguments: argparse.Namespace) -> int:
    from tune.trained import Trained

    Trained.find(arguments.experiment, arguments.recipe)  # before torch is imported: bad input is refused at once

    from tune.export import export

    exported = export(arguments.experiment, arguments.recipe, arguments.output)
    parity = exported.parity
    noise = (
        f" (of up to {parity.largest:.1e}, in which PyTorch in float32 is itself {parity.noise:.1e} from float64)"
        if parity.noise
        else ""
    )
    if not parity.passed:
        print(
            f"toprung: {exported.name} was not written: on {parity.images} images of its data onnxruntime and PyTorch "
            f"differ by up to {parity.difference:.1e} in logits{noise}, and in the class of {parity.disagreements}",
            file=sys.stderr,
        )
        return 1
    print(
        f"{exported.name}: on {parity.images} images of its data onnxruntime gives the classes of PyTorch, "
        f"with logits within {parity.difference:.1e}{noise}"
    )
    print(f"{exported.file}: {exported.mib:.2f} MiB")
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from tune.predict import as_csv, as_json, find, load, predict, table

    files = find(arguments.paths)
    model = load(arguments.model, arguments.recipe)
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("classifying", total=len(files))
        predictions = predict(
            model, files, top=arguments.top, progress=lambda done: progress.update(task, completed=done)
        )
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    if arguments.format == "table" and not any(prediction.ranked for prediction in predictions):
        pass  # nothing to show but the errors
    elif arguments.format == "table":
        _console().print(table(predictions))
    else:
        print((as_json if arguments.format == "json" else as_csv)(predictions))
    broken = [prediction for prediction in predictions if prediction.error is not None]
    for prediction in broken:
        print(f"toprung: {prediction.image}: {prediction.error}", file=sys.stderr)
    return 1 if broken else 0


def _describe(arguments: argparse.Namespace) -> int:
    from tune.describe import describe

    figures, notes = describe(arguments.experiment, arguments.recipe)
    console = _console()
    console.print(figures)
    console.print(notes, style="dim")
    return 0


def _recipes(arguments: argparse.Namespace) -> int:
    code = 0
    for recipe in arguments.recipe or recipes():
        try:
            space = space_of(recipe)
        except InputError as error:
            print(f"toprung: {error}", file=sys.stderr)
            code = 2
            continue
        print(f"{recipe}: {(sys.modules[space.__module__].__doc__ or '').strip()}")
        default, searched = space.default(), space.searched()
        for name, domain in space.domains().items():
            notes = "".join(f", when {when.name} is {when.domain}" for when in space.conditions()[name])
            if searched[name] != domain:
                fixed = searched[name] == Choice((getattr(default, name),))
                notes += ", searched only with --set" if fixed else f", searched {searched[name]} without --set"
            print(f"  {name:18} {domain!s:24} default {getattr(default, name)}{notes}")
    return code


def _fetch(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from tune.fetching._fetch import fetch
    from tune.fetching._published import DATA_SETS

    name = arguments.data
    if name not in DATA_SETS:
        raise InputError(f"no data set {name!r} to fetch; there are: {', '.join(DATA_SETS)}")
    data = fetch(name, arguments.to or Path("data") / name, arguments.copy, Console(file=sys.stdout))
    given = f" --data {shlex.quote(data)}"
    print(f"search it: toprung search{given}")
    preset = DATA_SETS[name].preset
    print(f"its published experiment: toprung search --preset {preset}{given if arguments.to else ''}")
    return 0


def _check_recipe(arguments: argparse.Namespace) -> int:
    given, folder = arguments.recipe, Path(arguments.recipe).expanduser()
    if given in recipes() or (folder.name == given and not folder.is_dir()):
        names: tuple[str, ...] = (given,)
    elif folder.is_dir():
        names = add_recipes(given, "check-recipe")
    else:
        raise InputError(f"check-recipe {given}: there is no such folder; give one with search_spaces/ and trainables/")
    for name in names:
        space_of(name)  # a typo is refused before torch is loaded

    from trainables._conformance import Samples, conform

    failed = 0
    with TemporaryDirectory(prefix="toprung-") as scratch:
        samples = Samples.make(Path(scratch))
        for name in names:
            print(f"{name}:")
            for check, faults in conform(name, samples):
                found = "\n           ".join(faults)
                print(f"  FAILED {check}: {found}" if faults else f"  ok     {check}", flush=True)
                failed += bool(faults)
    print(f"{failed} check{'' if failed == 1 else 's'} failed" if failed else "all checks passed")
    return 1 if failed else 0


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


if __name__ == "__main__":
    sys.exit(main())
