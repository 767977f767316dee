"""The commands `toprung predict`, `export`, `describe` and `replay`: use a trained model, or train a trial again."""

import argparse
import sys
from io import TextIOWrapper
from pathlib import Path

from tune.cli.flags import EXPERIMENT, located
from tune.cli.parser import Parser

MODEL_HELP = "an experiment, or a model in it: EXPERIMENT/best/RECIPE, EXPERIMENT/rows/NAME or EXPERIMENT/soups/NAME"


def add(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the commands of this module."""
    export = commands.add_parser(
        "export", help="export a model to ONNX, and compare it with PyTorch", allow_abbrev=False
    )
    export.set_defaults(run=_export)
    export.add_argument("experiment", type=located, help=MODEL_HELP)
    export.add_argument("--recipe", metavar="NAME", help="the recipe whose winner is meant (default: the best)")
    export.add_argument(
        "--output", type=Path, metavar="FILE", help="the file to write (default: EXPERIMENT-NAME.onnx, here)"
    )

    predict = commands.add_parser("predict", help="classify image files and folders", allow_abbrev=False)
    predict.set_defaults(run=_predict)
    predict.add_argument(
        "model",
        type=located,
        help="an experiment, a model in it (best/RECIPE, rows/NAME, soups/NAME), or an exported file",
    )
    predict.add_argument("paths", type=Path, nargs="+", metavar="path", help="an image, or a folder with images")
    predict.add_argument("--recipe", metavar="NAME", help="the recipe whose winner is meant (default: the best)")
    predict.add_argument(
        "--top", type=int, default=5, metavar="N", help="the number of classes shown for each image (default: 5)"
    )
    predict.add_argument(
        "--format", choices=("table", "json", "csv"), default="table", help="the output (default: table)"
    )
    predict.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")

    describe = commands.add_parser(
        "describe", help="show parameters, MACs, size and latency of models", allow_abbrev=False
    )
    describe.set_defaults(run=_describe)
    describe.add_argument("experiment", type=located, help=MODEL_HELP)
    describe.add_argument("--recipe", metavar="NAME", help="the recipe (default: all, each with its winner)")
    replay = commands.add_parser("replay", help="train a trial again from its record, and compare", allow_abbrev=False)
    replay.set_defaults(run=_replay)
    replay.add_argument("experiment", type=located, help=EXPERIMENT)
    replay.add_argument("--trial", type=int, required=True, metavar="N", help="the number of the trial")


def _predict(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from tune.models.predict import as_csv, as_json, find, load, predict, table
    from tune.terminal.console import table_console

    files = find(arguments.paths)
    model = load(arguments.model, arguments.recipe)
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("classifying", total=len(files))
        predictions = predict(
            model, files, top=arguments.top, progress=lambda done: progress.update(task, completed=done)
        )
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name may be no valid text
    if arguments.format == "table" and not any(prediction.ranked for prediction in predictions):
        pass  # nothing to show but the errors
    elif arguments.format == "table":
        table_console().print(table(predictions))
    else:
        print((as_json if arguments.format == "json" else as_csv)(predictions))
    broken = [prediction for prediction in predictions if prediction.error is not None]
    for prediction in broken:
        print(f"toprung: {prediction.image}: {prediction.error}", file=sys.stderr)
    return 1 if broken else 0


def _export(arguments: argparse.Namespace) -> int:
    from tune.models.model_folder import ModelFolder

    ModelFolder.find(arguments.experiment, arguments.recipe)  # before torch is imported: bad input is refused at once

    from tune.models.export import export

    exported = export(arguments.experiment, arguments.recipe, arguments.output)
    parity = exported.parity
    noise = (
        f" (logits are up to {parity.largest:.1e}, and PyTorch in float32 differs from float64 by {parity.noise:.1e})"
        if parity.noise
        else ""
    )
    if not parity.passed:
        print(
            f"toprung: {exported.name} was not written: on {parity.images} images of its data, logits of onnxruntime "
            f"and PyTorch differ by up to {parity.difference:.1e}{noise}, and classes of {parity.disagreements} differ",
            file=sys.stderr,
        )
        return 1
    print(
        f"{exported.name}: on {parity.images} images of its data, onnxruntime and PyTorch give the same classes, and "
        f"logits differ by at most {parity.difference:.1e}{noise}"
    )
    print(f"{exported.file}: {exported.mib:.2f} MiB")
    return 0


def _describe(arguments: argparse.Namespace) -> int:
    from tune.models.cost import describe
    from tune.terminal.console import table_console

    figures, notes = describe(arguments.experiment, arguments.recipe)
    console = table_console()
    console.print(figures)
    console.print(notes, style="dim")
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    from tune.experiment.experiment import Experiment
    from tune.models.replay import REPLAY_TOLERANCE, replay

    deviations, differences = replay(Experiment.open(arguments.experiment), arguments.trial)
    for deviation in deviations:
        print(f"epoch {deviation.epoch}: {deviation.figure} deviates by {deviation.difference:.1e}")
    worst = max(deviation.difference for deviation in deviations)
    if worst <= REPLAY_TOLERANCE:
        print(f"reproduced: every figure of every epoch within {REPLAY_TOLERANCE:g}")
        return 0
    print(f"not reproduced: a figure deviates by {worst:.1e}, more than {REPLAY_TOLERANCE:g}")
    for difference in differences or ["the environment is the same as in the record"]:
        print(f"  {difference}")
    return 1
