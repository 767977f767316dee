"""The leaderboard: a report's recipes by rank, as typed rows that terminal, page, Markdown, Python and W&B show."""

from dataclasses import dataclass

from trainables.training.metrics import Metric, shown_metrics
from tune.experiment.report_figures import Comparison, Config, Test, TrialCounts
from tune.experiment.report_json import Report
from tune.finals.intervals import LEVEL


@dataclass(frozen=True, kw_only=True)
class LeaderboardRow:
    """A recipe's line, as figures.

    Attributes:
        place: in the order of the leaderboard, from 1; untested recipes come last.
        recipe: its name.
        sees: its input variant; empty if no recipe's best sees boxes.
        best_trial, config: of its best finalist or, without finals, its best trial.
        val: the val metric, a mean over the seeds.
        test: its test metrics; None without finals.
        against: the comparison with the winner; None for the winner and without finals.
        trials: the number of its trials.
        won: True for the winner.
    """

    place: int
    recipe: str
    sees: str
    best_trial: int | None
    config: Config | None
    val: float | None
    test: Test | None
    against: Comparison | None
    trials: TrialCounts
    won: bool


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """The rows, with the val metric that ranks them, the split of the test metrics, and the columns of these."""

    metric: str
    tested_on: str
    columns: list[Metric]
    rows: list[LeaderboardRow]


def leaderboard(report: Report) -> Leaderboard:
    """Return the leaderboard of a report."""
    rows = [
        LeaderboardRow(
            place=place,
            recipe=recipe,
            sees=sees(report, recipe),
            best_trial=entry.best_trial,
            config=entry.config,
            val=(entry.val or {}).get(report.metric),
            test=entry.test,
            against=entry.against_winner,
            trials=entry.trials,
            won=recipe == report.winner,
        )
        for place, (recipe, entry) in enumerate(report.recipes.items(), start=1)
    ]
    return Leaderboard(metric=report.metric, tested_on=report.tested_on, columns=columns_of(report), rows=rows)


def columns_of(report: Report) -> list[Metric]:
    """Return the metrics that leaderboards show of a report; before a test, those that apply to any classes."""
    measured = {name for entry in report.recipes.values() if entry.test for name in entry.test.metrics}
    return [m for m in shown_metrics() if (m.name in measured if measured else m.least_classes == 1)]


def sees(report: Report, recipe: str) -> str:
    """Return the input variant of a recipe's best; empty if no recipe's best sees boxes."""
    variants = {name: (entry.config or {}).get("input_variant") for name, entry in report.recipes.items()}
    return str(variants[recipe]) if "box" in variants.values() and variants[recipe] else ""


def distinguishable(against: Comparison) -> bool:
    """Return True if a difference is beyond chance."""
    return against.p < 1 - LEVEL
