"""The Python interface: `from tune.api import search`. Light to import: a call to `search` imports the rest."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from search_spaces import InputError, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pandas import DataFrame

    from trainables import Classifier
    from tune.experiment.experiment import Experiment

    Image: TypeAlias = str | Path | bytes | NDArray[np.uint8]
    """An image file, its bytes, or its pixels (H, W) or (H, W, 3)."""


def search(
    data: str | Path = "digits", *, recipes: str | Sequence[str] = (), trials: int = 30, **settings: Any
) -> "Result":
    """Search as `toprung search` does, and return the result, which is also kept in a folder.

    Args:
        data: as `--data`: a folder of images, or a source such as "digits" or "parquet:shards/*.parquet".
        recipes: as `--recipes`, or a list; empty for those that are searched by default.
        trials: configurations to try, over all recipes.
        settings: all other flags, with `_` for `-`: `max_epochs=10`, `out="results"`, `set={"mlp.lr": "1e-4..1e-2"}`,
            `final_seeds=5`.

    Raises:
        InputError: a setting is wrong, or the search cannot be carried out; the message says in a line how to mend it.
    """
    from tune.settings.settings import Settings, make

    unknown = [name for name in settings if name not in Settings.model_fields]
    if unknown:
        from search_spaces.space.errors import meant

        raise InputError(f"search has no setting {unknown[0]!r}{meant(unknown[0], Settings.model_fields)}")
    chosen = {"recipes": recipes if isinstance(recipes, str) else tuple(recipes)} if recipes else {}
    try:
        made = make({"data": str(data), "trials": trials, **chosen, **settings})
    except InputError as error:
        raise InputError(_as_arguments(str(error))) from None

    from tune.experiment.experiment import Experiment
    from tune.search import search as run
    from tune.terminal.console import console_of

    if made.wandb == "online":
        from tune.cluster.wandb_login import require_login

        require_login()
    experiment = Experiment.at(made)
    run(experiment, console_of(made.progress))
    return Result(experiment)


@dataclass(frozen=True, kw_only=True)
class Best:
    """A configuration that was trained again and tested.

    Attributes:
        recipe: its recipe.
        config: its active fields.
        accuracy: the mean test accuracy over the seeds.
        low: the lower end of its 95% interval.
        high: the upper end.
        images: the number of test images that it was measured with.
        seeds: the number of seeds.
    """

    recipe: str
    config: dict[str, Value]
    accuracy: float
    low: float
    high: float
    images: int
    seeds: int


class Result:
    """The result of a search.

    Attributes:
        folder: of the experiment, with the report in `report/index.html`.
    """

    def __init__(self, experiment: "Experiment") -> None:
        self._experiment = experiment
        self.folder = experiment.folder
        from tune.experiment.report_json import read_report

        report = read_report(experiment)
        if report is None:
            raise InputError(f"{experiment} has no report yet; write it: toprung report {experiment}")
        self._report = report

    @classmethod
    def load(cls, experiment: str | Path) -> Self:
        """Load the result of an earlier experiment from its folder or its URL.

        Raises:
            InputError: there is no such experiment, or it has no report yet.
        """
        from tune.experiment.experiment import Experiment

        return cls(Experiment.open(experiment))

    @property
    def best(self) -> Best:
        """The winner on val.

        Raises:
            InputError: no recipe was tested.
        """
        recipe, entry = self._report.winner, self._report.best
        if recipe is None or entry is None or entry.test is None or entry.config is None:
            raise InputError(f"{self._experiment} has no winner, as no recipe was tested")
        accuracy = entry.test.accuracy
        return Best(
            recipe=recipe,
            config=entry.config,
            accuracy=accuracy.mean,
            low=accuracy.low,
            high=accuracy.high,
            images=entry.test.n,
            seeds=len(entry.test.seeds),
        )

    @property
    def leaderboard(self) -> "DataFrame":
        """The recipes by rank, with val metric, test metrics, number of trials and number of seeds.

        The test accuracy also has its standard deviation and interval.
        """
        from pandas import DataFrame, RangeIndex

        from tune.reporting.leaderboard import leaderboard

        board, rows = leaderboard(self._report), []
        first, *others = (column.name for column in board.columns)
        for row in board.rows:
            metrics = row.test.metrics if row.test else {}
            main = metrics.get(first)
            rows.append(
                {
                    "recipe": row.recipe,
                    f"val_{board.metric}": row.val,
                    f"test_{first}": main.mean if main else None,
                    "std": main.std if main else None,
                    "low": main.low if main else None,
                    "high": main.high if main else None,
                    **{f"test_{name}": metrics[name].mean if name in metrics else None for name in others},
                    "trials": row.trials.total,
                    "seeds": len(row.test.seeds) if row.test else 0,
                }
            )
        return DataFrame(rows, index=RangeIndex(1, len(rows) + 1, name="rank")).astype({"std": float})

    @property
    def trials(self) -> "DataFrame":
        """All trials: state, epochs, best value of the metric, and the configuration as `recipe.field`."""
        return self._table("trials")

    @property
    def curves(self) -> "DataFrame":
        """All epochs of all trials."""
        return self._table("curves")

    def predict(self, images: "Image | Iterable[Image]") -> "NDArray[np.str_]":
        """Return the class that the winner gives each image.

        Args:
            images: files, their bytes or their pixels, uint8 arrays (H, W) or (H, W, 3); one or many, or an array of
                many (N, H, W) or (N, H, W, 3).

        Raises:
            InputError: an image cannot be read, or the winner was trained on boxes.
        """
        import numpy as np

        names = np.asarray(self.classifier.classes)
        chosen: NDArray[np.str_] = names[self.predict_proba(images).argmax(axis=1)]
        return chosen

    def predict_proba(self, images: "Image | Iterable[Image]") -> "NDArray[np.float32]":
        """Return the probabilities (images, classes), with classes in the order of `classifier.classes`."""
        from numpy import ndarray

        if isinstance(images, ndarray):
            one = images.ndim == 2 or (images.ndim == 3 and images.shape[-1] == 3 and images.shape[-2] != 3)
            sources: list[Any] = [images] if one else list(images)
        else:
            sources = [images] if isinstance(images, str | bytes | Path) else list(images)
        return self.classifier.predict([_file(source) for source in sources])

    @cached_property
    def classifier(self) -> "Classifier":
        """The winner as a `Classifier`, which also takes files with boxes and has more of the model's figures."""
        from trainables import Classifier
        from tune.experiment.model_folders import winner_folder

        return Classifier.load(winner_folder(self._experiment))

    def _table(self, name: str) -> "DataFrame":
        from pandas import read_parquet

        return read_parquet(self.folder / f"{name}.parquet")

    def __repr__(self) -> str:
        """Return the folder and the leaderboard."""
        return f"{self.folder}\n{self.leaderboard.to_string(float_format='{:.4f}'.format)}"

    def _ipython_display_(self) -> None:
        """Display the leaderboard, the answer with its findings, and the learning curves (a picture without Plotly)."""
        from base64 import b64encode
        from contextlib import closing

        from IPython.display import display

        from tune.experiment.study import SearchStudy
        from tune.reporting.findings import answer, findings
        from tune.reporting.report import curves

        display(self.leaderboard)  # type: ignore[no-untyped-call]
        lines = [answer(self._report), *findings(self._report)]
        display({"text/plain": "\n".join(lines)}, raw=True)  # type: ignore[no-untyped-call]
        with closing(SearchStudy.load(self._experiment.storage, self._experiment.settings.name)) as study:
            drawn = curves(self._experiment, study.records)
        if drawn is not None:
            shown = {**drawn._repr_mimebundle_(), "text/plain": "learning curves of all trials"}
            picture = self.folder / "report" / "curves.png"
            if picture.is_file():
                shown["image/png"] = b64encode(picture.read_bytes()).decode()
            display(shown, raw=True)  # type: ignore[no-untyped-call]


def _as_arguments(message: str) -> str:
    """Replace flags in a message by arguments: final_seeds, not --final-seeds."""
    return re.sub(r"--([a-z]+(?:-[a-z]+)*)", lambda found: found[1].replace("-", "_"), message)


def _file(image: Any) -> "str | Path | bytes":
    """Return an image as a file or the bytes of one.

    Raises:
        InputError: an array that is not uint8, or not of 2 or 3 dimensions.
    """
    from numpy import ndarray, uint8

    if not isinstance(image, ndarray):
        return image  # type: ignore[no-any-return]
    if image.dtype != uint8 or image.ndim not in (2, 3):
        raise InputError(
            f"an image is an array of {image.dtype} with {image.ndim} dimensions; give uint8, (H, W) or (H, W, 3)"
        )
    from PIL.Image import fromarray

    packed = BytesIO()
    fromarray(image).save(packed, "PNG")
    return packed.getvalue()
