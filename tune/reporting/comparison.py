"""Several experiments side by side: rankings, tests on the same images, and differences in settings."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from search_spaces import InputError
from tune.experiment.report_figures import Comparison, Test
from tune.experiment.report_json import RecipeReport, Report, read_report
from tune.finals.comparisons import compare, corrected
from tune.finals.finalists import Finalist
from tune.reporting.findings import compared_with
from tune.reporting.formatting import NOTHING, counted, duration, interval, metric
from tune.reporting.leaderboard import sees
from tune.reporting.results import Results
from tune.reporting.summary import summarize, trial_counts


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One of several experiments.

    Attributes:
        name: a name that tells it from the others.
        results, report: its contents.
    """

    name: str
    results: Results
    report: Report

    @classmethod
    def of(cls, name: str, results: Results) -> "Contender":
        """Return an experiment; its `report.json` is read if it is up to date with the folder, else made in memory."""
        report = None
        with suppress(InputError):
            report = read_report(results.experiment)
        if report is None or not _is_of(report, results):
            report = summarize(results)
        return cls(name=name, results=results, report=report)

    @property
    def metric(self) -> str:
        """The metric optimized on val."""
        return self.results.settings.metric

    @property
    def winner(self) -> Finalist | None:
        """The finalist that is best on val; None if nothing was tested."""
        return self.results.winner

    @property
    def recipe(self) -> str:
        """The winner's recipe; if nothing was tested, the best recipe so far."""
        return self.report.winner or next(iter(self.report.recipes))

    @property
    def entry(self) -> RecipeReport:
        """The report of this recipe."""
        return self.report.recipes[self.recipe]

    @property
    def test(self) -> Test | None:
        """The winner's test metrics."""
        return self.entry.test

    @property
    def val(self) -> float | None:
        """The metric on val: the winner's mean over its seeds, else the value of the best trial so far."""
        return (self.entry.val or {}).get(self.metric)

    @property
    def chosen(self) -> str:
        """The winner, or the best recipe so far, in words."""
        if self.val is None:
            return NOTHING
        seen = sees(self.report, self.recipe)
        return f"{self.recipe}{f' ({seen})' if seen else ''}{'' if self.test else ' so far'}"

    @property
    def epochs(self) -> int:
        """The number of epochs trained, over all trials."""
        return sum(len(record.epochs) for record in self.results.records)

    @property
    def took(self) -> str:
        """The duration of the search; a dash if it was not recorded yet."""
        return duration(self.results.seconds) if self.results.seconds else NOTHING

    def rank(self, entry: RecipeReport) -> tuple[bool, float]:
        """Return the sort key that ranks recipes, least first; untested recipes come last."""
        return entry.test is None, self.results.settings.objective.cost((entry.val or {}).get(self.metric))


def _is_of(report: Report, results: Results) -> bool:
    """Return True if a report has the current trials and seeds, trained on the splits that are asked for now."""
    if "untested" not in report.model_fields_set or report.trained_on != results.settings.final_train:
        return False  # by an older toprung, or before the settings were changed
    for recipe in results.settings.recipes:
        entry = report.recipes.get(recipe)
        finalists = results.finalists_of(recipe)
        seeds = [final.seed for final in finalists[0].finals] if finalists else None
        if entry is None or entry.trials != trial_counts(results, recipe):
            return False
        if (entry.test.seeds if entry.test else None) != seeds:
            return False
    return True


@dataclass(frozen=True, kw_only=True)
class Against:
    """Comparison of the accuracy of an experiment's winner with another one's on the same images.

    Attributes:
        name: the other experiment.
        comparison: its p and interval are corrected for all such comparisons.
    """

    name: str
    comparison: Comparison


class SideBySide:
    """Experiments in groups that can be ranked among themselves.

    Attributes:
        groups: experiments whose winners were chosen by the same metric on the same val images, best first and
            untested ones last. The group with the most tested experiments comes first.
        against: by name, the comparison of a winner with the first one that was tested on the same images.
    """

    def __init__(self, contenders: Sequence[Contender]) -> None:
        groups = grouped(contenders, lambda ours, theirs: not unranked(ours, theirs))
        for group in groups:
            group.sort(key=lambda contender: contender.rank(contender.entry))
        self.groups = sorted(groups, key=lambda group: (-len(_tested(group)), -len(group)))
        self.against = _compared(self.all)

    @property
    def all(self) -> list[Contender]:
        """All experiments, in the order of the groups."""
        return [contender for group in self.groups for contender in group]

    @property
    def best(self) -> Contender | None:
        """The experiment whose winner is best on val; None if no two tested experiments can be ranked."""
        return self.groups[0][0] if len(_tested(self.groups[0])) > 1 else None

    @property
    def ranks(self) -> dict[str, str]:
        """The rank of each experiment in its group, by name; a dash if there is nothing to rank."""
        return {
            contender.name: str(rank) if contender.test and len(_tested(group)) > 1 else NOTHING
            for group in self.groups
            for rank, contender in enumerate(group, start=1)
        }

    @property
    def reference(self) -> str | None:
        """The one experiment that all comparisons are made with; None if there are none or several such experiments."""
        names = {against.name for against in self.against.values()}
        return names.pop() if len(names) == 1 else None

    def answer(self) -> str:
        """Return the outcome in one or two sentences."""
        first, best = self.groups[0][0], self.best
        if best is not None:
            assert best.test is not None
            tested_on, seeds = best.results.tested_on, counted(len(best.test.seeds), "seed")
            return (
                f"{best.name} is best on val, with {best.chosen}: {best.metric} {metric(best.val)}. Its {tested_on} "
                f"accuracy is {metric(best.test.accuracy.mean)} (95% interval {interval(best.test.accuracy)}) "
                f"on {counted(best.test.n, 'image')} with {seeds}."
            )
        tested = _tested(self.all)
        if len(tested) > 1:
            return "No two of these experiments can be ranked: winners were not chosen by one metric on one val split."
        if tested:
            return f"Nothing to rank yet: {tested[0].name} alone was tested."
        if len(self.groups[0]) > 1 and first.val is not None:
            so_far = f"{first.name}, with {first.recipe}: {first.metric} {metric(first.val)}"
            return f"Nothing was tested yet. The best so far on val is {so_far}."
        return "Nothing was tested yet."

    def runner_up(self) -> str:
        """Say how clear the answer is; empty if there is none."""
        if self.best is None:
            return ""
        second = self.groups[0][1]
        assert second.test is not None
        place = "Equal to it on val, and named after it," if second.val == self.best.val else "Second on val"
        accuracy = f"{second.results.tested_on} accuracy of {metric(second.test.accuracy.mean)}"
        against = self.against.get(second.name)
        if against:
            compared = f"On the same images that is {compared_with(against.name, against.comparison)}"
        else:
            compared = f"It has {untestable(second, self.best)}"
        return f"{place} is {second.name}, with {second.chosen} and a {accuracy}. {compared}."

    def line(self, other: Contender) -> str:
        """Compare an experiment with the first one, in words."""
        first, why = self.all[0], unranked(other, self.all[0])
        if other.test is None:
            text = "nothing was tested yet"
        elif against := self.against.get(other.name):
            text = f"on the same {other.results.tested_on} images {compared_with(against.name, against.comparison)}"
        elif why and other.metric == first.metric and other.results.tested_on == first.results.tested_on:
            splits = " and ".join(dict.fromkeys(["val", other.results.tested_on]))
            return f"{other.name}: {_other_images(other, first, splits)}: not comparable with {first.name}."
        else:
            text = untestable(other, first)
        return f"{other.name}: {text}{f'; not ranked with {first.name}: {why}' if why else ''}."

    def lines(self) -> list[str]:
        """Return the answer and the comparison of each experiment with the first, one line each."""
        return [self.answer(), *map(self.line, self.all[1:])]

    def warnings(self) -> list[str]:
        """Return the warnings that a person should read before trusting the comparison."""
        found = [self.line(other) for other in self.all[1:] if other.test is None or unranked(other, self.all[0])]
        if on_val := [each.name for each in self.all if each.test and each.results.tested_on == "val"]:
            found.append(
                f"{', '.join(on_val)}: no test split, so winners were measured on val, which they were chosen on: the "
                "figures are too good"
            )
        return found


def _tested(group: Iterable[Contender]) -> list[Contender]:
    return [contender for contender in group if contender.test]


def grouped(contenders: Iterable[Contender], belong: Callable[[Contender, Contender], bool]) -> list[list[Contender]]:
    """Put each experiment into the first group to whose first member it belongs."""
    groups: list[list[Contender]] = []
    for contender in contenders:
        own = next((group for group in groups if belong(contender, group[0])), None)
        if own is None:
            groups.append([contender])
        else:
            own.append(contender)
    return groups


def unranked(ours: Contender, theirs: Contender) -> str:
    """Say why two experiments cannot be ranked on val; empty if they can."""
    if ours.metric != theirs.metric:
        return f"chosen by {ours.metric}, not by {theirs.metric}"
    return "" if same_images(ours, theirs, "val") else _other_images(ours, theirs, "val")


def untestable(ours: Contender, theirs: Contender) -> str:
    """Say why two tested experiments cannot be compared image by image; empty if they can."""
    split, other = ours.results.tested_on, theirs.results.tested_on
    if split != other:
        return f"figures of {split}, not of {other}: not comparable"
    return "" if same_images(ours, theirs, split) else f"{_other_images(ours, theirs, split)}: not comparable"


def same_images(ours: Contender, theirs: Contender, split: str) -> bool:
    """Return True if a split has the same images, labels and classes, regardless of the input variant."""
    cards = ours.results.card, theirs.results.card
    if cards[0]["digest"] == cards[1]["digest"]:
        return True
    if not all("evaluated" in card and card["images"][split] for card in cards):
        return False
    by = "pixels" if cards[0]["variant"] == cards[1]["variant"] else "names"
    return bool(cards[0]["evaluated"][split][by] == cards[1]["evaluated"][split][by])


def _other_images(ours: Contender, theirs: Contender, split: str) -> str:
    cards = ours.results.card, theirs.results.card
    if not all("evaluated" in card for card in cards):
        return f"{split} images that are not known to be the same, as an older toprung did not note it"
    dealt = cards[0]["images_digest"] == cards[1]["images_digest"]
    return f"other {split} images{', as the same data were split otherwise' if dealt else ''}"


def _compared(contenders: Sequence[Contender]) -> dict[str, Against]:
    """Compare each winner with the first one that was tested on the same images."""
    found, names = {}, {}
    for best, *others in grouped(_tested(contenders), lambda ours, theirs: not untestable(ours, theirs)):
        assert best.winner is not None
        for other in others:
            assert other.winner is not None
            names[other.name] = best.name
            found[other.name] = compare(best.winner.first.labels, other.winner.predictions, best.winner.predictions)
    return {
        name: Against(name=names[name], comparison=comparison.reported())
        for name, comparison in corrected(found).items()
    }
