"""The table of recipes, best first, as text cells and for the command line."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tune.finals.intervals import LEVEL
from tune.reporting.formatting import NOTHING, TIMES, counted, differences, interval, metric, signed, spread
from tune.reporting.summary import STATES, Summary


@dataclass(frozen=True, kw_only=True)
class Row:
    """A recipe's line; a missing figure is a dash.

    `sees` is its input variant; it is empty if no recipe's best sees boxes.
    """

    rank: str
    recipe: str
    sees: str
    val: str
    accuracy: str
    accuracy_std: str
    accuracy_interval: str
    macro_f1: str
    macro_f1_std: str
    macro_f1_interval: str
    against: str
    against_interval: str
    tested: str
    trials: str
    won: bool


def rows(summary: Summary) -> list[Row]:
    """Return the lines of a leaderboard; only tested recipes have a rank."""
    return [_row(summary, rank, recipe) for rank, recipe in enumerate(summary["recipes"], start=1)]


def headings(summary: Summary) -> list[str]:
    """Return the column headings of a leaderboard in text."""
    return [
        "rank",
        "recipe",
        f"val {summary['metric']}",
        f"{summary['tested_on']} accuracy",
        "95% interval",
        "macro F1",
        "95% interval",
        "against the winner's accuracy",
        f"images {TIMES} seeds",
        "complete/pruned/failed",
    ]


def cells(row: Row) -> list[str]:
    """Return a line under `headings`."""
    return [
        row.rank,
        f"{row.recipe} {row.sees}".strip(),
        row.val,
        f"{row.accuracy} {row.accuracy_std}".strip(),
        row.accuracy_interval,
        f"{row.macro_f1} {row.macro_f1_std}".strip(),
        row.macro_f1_interval,
        f"{row.against} {row.against_interval}".strip(),
        row.tested,
        row.trials,
    ]


def leaderboard(summary: Summary) -> Table:
    """Return the recipes of a `report.json`, winner on top, those without finals below; fits into 80 columns."""
    table = board(
        "#",
        "recipe",
        f"val\n{summary['metric']}",
        f"{summary['tested_on']}\naccuracy",
        f"{summary['tested_on']}\nmacro F1",
        f"images\n{TIMES} seeds",
        "complete/\npruned/\nfailed",
        left=("recipe",),
    )
    for row in rows(summary):
        lines = (
            row.rank,
            f"{row.recipe}\n{row.sees}".strip(),
            row.val,
            f"{row.accuracy} {row.accuracy_std}\n{row.accuracy_interval}",
            f"{row.macro_f1}\n{row.macro_f1_interval}",
            row.tested,
            row.trials,
        )
        table.add_row(*map(Text, lines), style="bold" if row.won else "")
    return table


def board(*headings: str, left: Collection[str]) -> Table:
    """Return a table whose headings may have several lines; columns in `left` hold words that may be folded."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    highest = max(heading.count("\n") for heading in headings)
    for heading in headings:
        justify: Literal["left", "right"] = "left" if heading in left else "right"
        above = "\n" * (highest - heading.count("\n"))
        table.add_column(Text(above + heading), justify=justify, no_wrap=heading not in left, overflow="fold")
    return table


def _row(summary: Summary, rank: int, recipe: str) -> Row:
    entry = summary["recipes"][recipe]
    test, trials, against = entry["test"], entry["trials"], entry["against_winner"]
    states = [str(trials[state]) for state in STATES if state != "running"]
    running = f" + {trials['running']} unfinished" if trials["running"] else ""
    return Row(
        rank=str(rank) if test else NOTHING,
        recipe=recipe,
        sees=sees(summary, recipe),
        val=_val(summary, recipe),
        accuracy=metric(test["accuracy"]["mean"]) if test else NOTHING,
        accuracy_std=spread(test["accuracy"]) if test else "",
        accuracy_interval=interval(test["accuracy"]) if test else NOTHING,
        macro_f1=metric(test["macro_f1"]["mean"]) if test else NOTHING,
        macro_f1_std=spread(test["macro_f1"]) if test else "",
        macro_f1_interval=interval(test["macro_f1"]) if test else NOTHING,
        against=difference_text(against),
        against_interval=differences(against["difference"]) if against else "",
        tested=f"{test['n']} {TIMES} {len(test['seeds'])}" if test else NOTHING,
        trials="/".join(states) + running,
        won=recipe == summary["winner"],
    )


@dataclass(frozen=True, kw_only=True)
class EnsembleRow:
    """An ensemble's line."""

    mean_of: str
    models: str
    val: str
    accuracy: str
    accuracy_interval: str
    macro_f1: str
    macro_f1_interval: str
    against: str
    against_interval: str


def ensembles(summary: Summary) -> list[EnsembleRow]:
    """Return the lines of the ensembles."""
    return [
        EnsembleRow(
            mean_of=entry["mean_of"],
            models=", ".join(f"{recipe} {TIMES} {count}" for recipe, count in entry["models"].items()),
            val=metric(entry["val"][summary["metric"]]),
            accuracy=metric(entry["test"]["accuracy"]["mean"]),
            accuracy_interval=interval(entry["test"]["accuracy"]),
            macro_f1=metric(entry["test"]["macro_f1"]["mean"]),
            macro_f1_interval=interval(entry["test"]["macro_f1"]),
            against=difference_text(entry["against_winner"]),
            against_interval=differences(entry["against_winner"]["difference"]),
        )
        for entry in summary["ensembles"]
    ]


def ensemble_headings(summary: Summary) -> list[str]:
    """Return the column headings of ensembles in text."""
    return ["mean of", "models", *headings(summary)[2:-2]]


def ensemble_cells(row: EnsembleRow) -> list[str]:
    """Return a line under `ensemble_headings`."""
    return [
        row.mean_of,
        row.models,
        row.val,
        row.accuracy,
        row.accuracy_interval,
        row.macro_f1,
        row.macro_f1_interval,
        f"{row.against} {row.against_interval}",
    ]


def answer(summary: Summary) -> str:
    """Return the outcome in one or two sentences."""
    recipes, name = summary["recipes"], summary["metric"]
    if summary["winner"] is None:
        first = next(iter(recipes))
        value = (recipes[first]["val"] or {}).get(name)
        if value is None:
            return "No trial has a result yet." if _running(summary) else "No trial came to a result."
        trial = recipes[first]["best_trial"]
        return f"Not tested yet. The best so far on val is {first}, trial {trial}: {name} {metric(value)}."
    test = recipes[summary["winner"]]["test"]
    seeds = counted(len(test["seeds"]), "seed")
    accuracy = f"{summary['tested_on']} accuracy is {metric(test['accuracy']['mean'])}"
    seen = sees(summary, summary["winner"])
    of = " of what was tested" if summary["untested"] else ""
    return (
        f"{summary['winner']}{f' ({seen})' if seen else ''} is best on val{of}. Its {accuracy} "
        f"(95% interval {interval(test['accuracy'])}) on {counted(test['n'], 'image')} with {seeds}."
    )


def findings(summary: Summary) -> list[str]:
    """Return further findings about the answer, one line each."""
    lines = (_untested(summary), _best_row(summary), _worth_of_val(summary), _gain(summary), _runner_up(summary))
    return [line for line in lines if line]


def _untested(summary: Summary) -> str:
    """Name recipes that may be better because none of their finals was trained, or not yet; empty if there are none."""
    if summary["winner"] is None or not summary["untested"]:
        return ""
    name = summary["metric"]
    others = (f"{each}, whose best trial has a val {name} of {_val(summary, each)}" for each in summary["untested"])
    return f"Not tested: {'; '.join(others)}."


def _val(summary: Summary, recipe: str) -> str:
    """Format the val metric of a recipe's best."""
    return metric((summary["recipes"][recipe]["val"] or {}).get(summary["metric"]))


def _best_row(summary: Summary) -> str:
    """Name the best published row if it did better than the whole search; else return an empty string."""
    rows = [row for row in (summary["preset"] or {"rows": {}})["rows"].values() if row["test"]]
    if not rows or summary["winner"] is None:
        return ""
    best = max(rows, key=lambda row: row["test"]["accuracy"]["mean"])
    accuracy, ours = (each["test"]["accuracy"]["mean"] for each in (best, summary["recipes"][summary["winner"]]))
    if accuracy <= ours:
        return ""
    return (
        f"A published row did better than the search: {best['title']}, trained here, has a {summary['tested_on']} "
        f"accuracy of {metric(accuracy)}."
    )


def _gain(summary: Summary) -> str:
    """State the gain of the search; empty if the winner's default point was not tested."""
    default = summary["default"]
    if default is None:
        return ""
    if default["gain"] is None:
        if sum(summary["recipes"][summary["winner"]]["trials"].values()) < 2:
            return ""
        return f"No other configuration of {summary['winner']} was better on val than its default point."
    accuracy = f"{summary['tested_on']} accuracy of {metric(default['test']['accuracy']['mean'])}"
    return (
        f"Its default point, trained alike, has a {accuracy}. On the same images the search gained "
        f"{_gained(default['gain'])}."
    )


def _worth_of_val(summary: Summary) -> str:
    """State the gain from training the winner on val, too; empty if it was not."""
    if summary["winner"] is None or not (before := summary["recipes"][summary["winner"]]["against_train_alone"]):
        return ""
    return (
        f"It was trained on {summary['trained_on']}. On train alone it has a {summary['tested_on']} accuracy of "
        f"{metric(before['accuracy'])}. On the same images val has gained it {_gained(before)}."
    )


def _gained(comparison: Mapping[str, Any]) -> str:
    """Format a gain or loss with its interval, p and verdict."""
    difference = comparison["difference"]
    if not _distinguishable(comparison):
        verdict = "not distinguishable"
    else:
        verdict = "beyond chance" if difference["mean"] > 0 else "a loss beyond chance"
    return f"{signed(difference['mean'])} {differences(difference)}, {_p(comparison)}: {verdict}"


def _runner_up(summary: Summary) -> str:
    """Say how clear the answer is; empty if only one recipe was tested."""
    tested = [recipe for recipe, entry in summary["recipes"].items() if entry["test"]]
    if len(tested) < 2:
        return ""
    winner, second = tested[:2]
    entry = summary["recipes"][second]
    equal = entry["val"][summary["metric"]] == summary["recipes"][winner]["val"][summary["metric"]]
    place = "Equal to it on val, and named after it," if equal else "Second on val"
    accuracy = f"{summary['tested_on']} accuracy of {metric(entry['test']['accuracy']['mean'])}"
    against_winner = f"On the same images that is {compared_with(winner, entry['against_winner'])}."
    return f"{place} is {second} with a {accuracy}. {against_winner}"


def compared_with(name: str, against: Mapping[str, Any]) -> str:
    """Format a difference in accuracy to the best, which is called `name`, and say if it is beyond chance.

    `against` is an entry like `against_winner` in `report.json`.
    """
    if not _distinguishable(against):
        verdict = "not distinguishable"
    elif against["difference"]["mean"] < 0:
        verdict = "behind it beyond chance"
    else:
        verdict = "ahead of it beyond chance, but winners are chosen on val"
    figures = f"{signed(against['difference']['mean'])} {differences(against['difference'])}"
    return f"{figures} against {name}, {_p(against)}: {verdict}"


def sees(summary: Summary, recipe: str) -> str:
    """Return the input variant of a recipe's best; empty if no recipe's best sees boxes."""
    variants = {name: (entry["config"] or {}).get("input_variant") for name, entry in summary["recipes"].items()}
    return str(variants[recipe]) if "box" in variants.values() and variants[recipe] else ""


def difference_text(against: Mapping[str, Any] | None) -> str:
    """Format a difference of accuracies for a cell; a difference that is not beyond chance has no number."""
    if against is None:
        return NOTHING
    return signed(against["difference"]["mean"]) if _distinguishable(against) else "not distinguishable"


def _p(comparison: Mapping[str, Any]) -> str:
    p: float = comparison["p"]
    return "p below 0.001" if p < 0.001 else f"p {p:.3f}"


def _distinguishable(against: Mapping[str, Any]) -> bool:
    p: float = against["p"]
    return p < 1 - LEVEL


def _running(summary: Summary) -> bool:
    return any(entry["trials"]["running"] for entry in summary["recipes"].values())
