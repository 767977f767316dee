"""The outcome of a search in sentences."""

from tune.experiment.report_figures import Comparison
from tune.experiment.report_json import Report
from tune.reporting.formatting import counted, differences, interval, metric, signed
from tune.reporting.leaderboard import distinguishable, sees


def answer(report: Report) -> str:
    """Return the outcome in one or two sentences."""
    recipes, name = report.recipes, report.metric
    if report.best is None:
        first = next(iter(recipes))
        value = (recipes[first].val or {}).get(name)
        if value is None:
            return "No trial has a result yet." if report.running else "No trial came to a result."
        trial = recipes[first].best_trial
        return f"Not tested yet. The best so far on val is {first}, trial {trial}: {name} {metric(value)}."
    test = report.best.test
    assert report.winner is not None
    assert test is not None
    seeds = counted(len(test.seeds), "seed")
    accuracy = f"{report.tested_on} accuracy is {metric(test.accuracy.mean)}"
    seen = sees(report, report.winner)
    of = " of what was tested" if report.untested else ""
    return (
        f"{report.winner}{f' ({seen})' if seen else ''} is best on val{of}. Its {accuracy} "
        f"(95% interval {interval(test.accuracy)}) on {counted(test.n, 'image')} with {seeds}."
    )


def findings(report: Report) -> list[str]:
    """Return further findings about the answer, one line each."""
    lines = (_untested(report), _best_row(report), _worth_of_val(report), _gain(report), _runner_up(report))
    return [line for line in lines if line]


def _untested(report: Report) -> str:
    """Name recipes that may be better because none of their finals was trained, or not yet; empty if there are none."""
    if report.winner is None or not report.untested:
        return ""
    name = report.metric
    others = (f"{each}, whose best trial has a val {name} of {_val(report, each)}" for each in report.untested)
    return f"Not tested: {'; '.join(others)}."


def _val(report: Report, recipe: str) -> str:
    """Format the val metric of a recipe's best."""
    return metric((report.recipes[recipe].val or {}).get(report.metric))


def _best_row(report: Report) -> str:
    """Name the best published row if it did better than the whole search; else return an empty string."""
    tested = [(row.test.accuracy.mean, row.title) for row in report.rows.values() if row.test]
    if not tested or report.best is None or report.best.test is None:
        return ""
    accuracy, title = max(tested, key=lambda row: row[0])
    if accuracy <= report.best.test.accuracy.mean:
        return ""
    return (
        f"A published row did better than the search: {title}, trained here, has a {report.tested_on} "
        f"accuracy of {metric(accuracy)}."
    )


def _gain(report: Report) -> str:
    """State the gain of the search; empty if the winner's default point was not tested."""
    default = report.default
    if default is None:
        return ""
    if default.gain is None:
        if report.best is None or report.best.trials.total < 2:
            return ""
        return f"No other configuration of {report.winner} was better on val than its default point."
    accuracy = f"{report.tested_on} accuracy of {metric(default.test.accuracy.mean)}"
    return (
        f"Its default point, trained alike, has a {accuracy}. On the same images the search gained "
        f"{_gained(default.gain)}."
    )


def _worth_of_val(report: Report) -> str:
    """State the gain from training the winner on val, too; empty if it was not."""
    if report.best is None or not (before := report.best.against_train_alone):
        return ""
    return (
        f"It was trained on {report.trained_on}. On train alone it has a {report.tested_on} accuracy of "
        f"{metric(before.accuracy)}. On the same images val has gained it {_gained(before)}."
    )


def _gained(comparison: Comparison) -> str:
    """Format a gain or loss with its interval, p and verdict."""
    difference = comparison.difference
    if not distinguishable(comparison):
        verdict = "not distinguishable"
    else:
        verdict = "beyond chance" if difference.mean > 0 else "a loss beyond chance"
    return f"{signed(difference.mean)} {differences(difference)}, {_p(comparison)}: {verdict}"


def _runner_up(report: Report) -> str:
    """Say how clear the answer is; empty if only one recipe was tested."""
    tested = [recipe for recipe, entry in report.recipes.items() if entry.test]
    if len(tested) < 2:
        return ""
    winner, second = tested[:2]
    entry = report.recipes[second]
    assert entry.test is not None
    assert entry.against_winner is not None
    ours, theirs = ((report.recipes[each].val or {}).get(report.metric) for each in (winner, second))
    equal = ours == theirs
    place = "Equal to it on val, and named after it," if equal else "Second on val"
    accuracy = f"{report.tested_on} accuracy of {metric(entry.test.accuracy.mean)}"
    against_winner = f"On the same images that is {compared_with(winner, entry.against_winner)}."
    return f"{place} is {second} with a {accuracy}. {against_winner}"


def compared_with(name: str, against: Comparison) -> str:
    """Format a difference in accuracy to the best, which is called `name`, and say if it is beyond chance."""
    if not distinguishable(against):
        verdict = "not distinguishable"
    elif against.difference.mean < 0:
        verdict = "behind it beyond chance"
    else:
        verdict = "ahead of it beyond chance, but winners are chosen on val"
    figures = f"{signed(against.difference.mean)} {differences(against.difference)}"
    return f"{figures} against {name}, {_p(against)}: {verdict}"


def _p(comparison: Comparison) -> str:
    return "p below 0.001" if comparison.p < 0.001 else f"p {comparison.p:.3f}"
