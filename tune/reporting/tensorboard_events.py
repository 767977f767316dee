"""TensorBoard event files, made from the study: one folder per trial and one per final, with its configuration."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from search_spaces import InputError, Value
from tune.experiment.epoch_log import row
from tune.experiment.experiment import Experiment
from tune.experiment.trial_record import TrialRecord
from tune.finals.finalists import Final

FOLDER = "tensorboard"


def require_tensorboard() -> None:
    """Fail early instead of at the end of the search.

    Raises:
        InputError: TensorBoard is not installed.
    """
    try:
        import tensorboard  # type: ignore[import-untyped] # noqa: F401
    except ImportError:
        raise InputError("--tensorboard needs TensorBoard: pip install 'toprung[tensorboard]'") from None


def write_events(experiment: Experiment, records: Iterable[TrialRecord], finals: Iterable[Final]) -> Path:
    """Write all event files anew; return their folder."""
    folder = experiment.folder / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    for record in records:
        ends = {} if record.value is None else {"best": record.value}
        rows = [row(n, figures, record.values.get(n)) for n, figures in enumerate(record.epochs, start=1)]
        times = {epoch: heard.at for epoch, heard in record.heard.items()}
        config = {"recipe": record.recipe, **record.config}
        _write(folder / f"{record.recipe}-{record.number:05d}", config, rows, times, ends)
    for final in finals:
        rows = [row(n, figures, None) for n, figures in enumerate(final.curves, start=1)]
        tested = {f"test/{name}": value for name, value in final.test.items()}
        _write(folder / "finals" / final.folder.name, {"recipe": final.recipe, **final.config}, rows, {}, tested)
    return folder


def _write(
    folder: Path,
    config: Mapping[str, Value],
    rows: list[dict[str, float]],
    times: Mapping[int, float],
    ends: Mapping[str, float],
) -> None:
    from torch.utils.tensorboard import SummaryWriter  # late, as it needs TensorBoard
    from torch.utils.tensorboard.summary import hparams

    with SummaryWriter(str(folder)) as writer:
        for summary in hparams(dict(config), dict(ends)):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)
        for told in rows:
            epoch = int(told["epoch"])
            for name, value in told.items():
                if name != "epoch":
                    writer.add_scalar(name, value, epoch, walltime=times.get(epoch))
        for name, value in ends.items():
            if any(name in told for told in rows):
                continue
            writer.add_scalar(name, value, len(rows))
