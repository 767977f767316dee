"""Several experiments side by side: rankings, tests on the same images, and differences in settings."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces import space_of
from tune.finals.comparisons import compare, corrected
from tune.finals.finalists import Finalist
from tune.reporting.command import setting_text
from tune.reporting.formatting import NOTHING, TIMES, counted, duration, interval, metric, setting
from tune.reporting.leaderboard import compared_with, sees
from tune.reporting.results import Results
from tune.reporting.summary import STATES, Summary, summarize
from tune.settings.groups import DisplaySettings, Mark, WandbSettings, marked

OF_PLACE = ("name", *marked(Mark.PLACE), *DisplaySettings.model_fields, *WandbSettings.model_fields)
"""The settings that do not affect results."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One of several experiments.

    Attributes:
        name: a name that tells it from the others.
        results, summary: its contents.
    """

    name: str
    results: Results
    summary: Summary

    @classmethod
    def of(cls, name: str, results: Results) -> "Contender":
        """Return an experiment; its `report.json` is read if it is up to date with the folder, else made in memory."""
        experiment = results.experiment
        summary = experiment.read("report.json") if (experiment.folder / "report.json").is_file() else None
        if summary is None or not _is_of(summary, results):
            summary = summarize(results)
        return cls(name=name, results=results, summary=summary)

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
        return str(self.summary["winner"] or next(iter(self.summary["recipes"])))

    @property
    def entry(self) -> dict[str, Any]:
        """The entry of this recipe in `report.json`."""
        entry: dict[str, Any] = self.summary["recipes"][self.recipe]
        return entry

    @property
    def test(self) -> dict[str, Any] | None:
        """The winner's test metrics."""
        test: dict[str, Any] | None = self.entry["test"]
        return test

    @property
    def val(self) -> float | None:
        """The metric on val: the winner's mean over its seeds, else the value of the best trial so far."""
        value: float | None = (self.entry["val"] or {}).get(self.metric)
        return value

    @property
    def chosen(self) -> str:
        """The winner, or the best recipe so far, in words."""
        if self.val is None:
            return NOTHING
        seen = sees(self.summary, self.recipe)
        return f"{self.recipe}{f' ({seen})' if seen else ''}{'' if self.test else ' so far'}"

    @property
    def epochs(self) -> int:
        """The number of epochs trained, over all trials."""
        return sum(len(record.epochs) for record in self.results.records)

    @property
    def took(self) -> str:
        """The duration of the search; a dash if it was not recorded yet."""
        return duration(self.results.seconds) if self.results.seconds else NOTHING

    def rank(self, entry: dict[str, Any]) -> tuple[bool, float]:
        """Return the sort key that ranks recipes, least first; untested recipes come last."""
        return entry["test"] is None, self.results.loss_of((entry["val"] or {}).get(self.metric))


def _is_of(summary: Summary, results: Results) -> bool:
    """Return True if a summary has the current trials and seeds, trained on the splits that are asked for now."""
    if "untested" not in summary or summary["trained_on"] != results.settings.final_train:  # or by an older toprung
        return False
    for recipe in results.settings.recipes:
        entry = summary["recipes"].get(recipe)
        states = Counter(record.state for record in results.of(recipe))
        finalists = results.finalists_of(recipe)
        seeds = [final.seed for final in finalists[0].finals] if finalists else None
        if entry is None or entry["trials"] != {state: states[state] for state in STATES}:
            return False
        if (entry["test"] or {}).get("seeds") != seeds:
            return False
    return True


@dataclass(frozen=True, kw_only=True)
class Against:
    """Comparison of the accuracy of an experiment's winner with another one's on the same images.

    Attributes:
        name: the other experiment.
        figures: "difference" with its interval, and "p", corrected for all such comparisons.
    """

    name: str
    figures: dict[str, Any]


class SideBySide:
    """Experiments in groups that can be ranked among themselves.

    Attributes:
        groups: experiments whose winners were chosen by the same metric on the same val images, best first and
            untested ones last. The group with the most tested experiments comes first.
        against: by name, the comparison of a winner with the first one that was tested on the same images.
    """

    def __init__(self, contenders: Sequence[Contender]) -> None:
        groups = _grouped(contenders, lambda ours, theirs: not unranked(ours, theirs))
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
            tested_on, seeds = best.results.tested_on, counted(len(best.test["seeds"]), "seed")
            return (
                f"{best.name} is best on val, with {best.chosen}: {best.metric} {metric(best.val)}. Its {tested_on} "
                f"accuracy is {metric(best.test['accuracy']['mean'])} (95% interval {interval(best.test['accuracy'])}) "
                f"on {counted(best.test['n'], 'image')} with {seeds}."
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
        accuracy = f"{second.results.tested_on} accuracy of {metric(second.test['accuracy']['mean'])}"
        against = self.against.get(second.name)
        if against:
            compared = f"On the same images that is {compared_with(against.name, against.figures)}"
        else:
            compared = f"It has {untestable(second, self.best)}"
        return f"{place} is {second.name}, with {second.chosen} and a {accuracy}. {compared}."

    def line(self, other: Contender) -> str:
        """Compare an experiment with the first one, in words."""
        first, why = self.all[0], unranked(other, self.all[0])
        if other.test is None:
            text = "nothing was tested yet"
        elif against := self.against.get(other.name):
            text = f"on the same {other.results.tested_on} images {compared_with(against.name, against.figures)}"
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


def _grouped(contenders: Iterable[Contender], belong: Callable[[Contender, Contender], bool]) -> list[list[Contender]]:
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
    for best, *others in _grouped(_tested(contenders), lambda ours, theirs: not untestable(ours, theirs)):
        assert best.winner is not None
        for other in others:
            assert other.winner is not None
            names[other.name] = best.name
            found[other.name] = compare(best.winner.first.labels, other.winner.predictions, best.winner.predictions)
    return {
        name: Against(name=names[name], figures=comparison.entry()) for name, comparison in corrected(found).items()
    }


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a table with one column per experiment: a name and its values; a missing value is a dash."""

    name: str
    values: list[str]

    @property
    def differs(self) -> bool:
        """Return True if the values, apart from missing ones, differ."""
        return len(set(self.values) - {NOTHING}) > 1


def settings_that_differ(contenders: Sequence[Contender]) -> list[Line]:
    """Return the settings in which experiments differ."""
    columns = []
    for contender in contenders:
        settings = contender.results.settings
        given = settings.model_dump(exclude={"set", *OF_PLACE}).items()
        texts = {name.replace("_", "-"): _text(value) for name, value in given if value not in (None, ())}
        columns.append(texts | {f"set {key}": text for key, text in settings.set.items()})
    return _not_alike(columns)


def environments_that_differ(contenders: Sequence[Contender]) -> list[Line]:
    """Return the differences between the machines and versions that experiments ran on."""
    return _not_alike([dict(contender.results.environment_facts()) for contender in contenders])


def data_of(contenders: Sequence[Contender]) -> list[Line]:
    """Return facts about the data of each experiment, and which experiments share val and test images."""
    columns = []
    for contender in contenders:
        card, shape = contender.results.card, contender.results.experiment.shape
        facts = {"source": card["source"], "classes": f"{shape.classes:,}"}
        facts |= {f"{split} images": f"{count:,}" for split, count in card["images"].items()}
        facts |= {"size": f"{shape.width} {TIMES} {shape.height} pixels", "variant": card["variant"]}
        columns.append(facts | {"digest": card["digest"][:16]})
    same = [Line(name=f"{split} images as in", values=_whose(contenders, split)) for split in ("val", "test")]
    return [*_lines(columns), *same]


def configurations(contenders: Sequence[Contender]) -> list[Line]:
    """Return the configurations of the winners, or of the best trials so far."""
    columns = []
    for contender in contenders:
        config = contender.entry["config"] or {}
        fields = [name for name in space_of(contender.recipe).domains() if name in config]
        columns.append({"recipe": contender.chosen} | {name: setting(config[name]) for name in fields})
    return _lines(columns)


def _text(value: object) -> str:
    return ", ".join(map(setting_text, value)) if isinstance(value, tuple) else setting_text(value)


def _whose(contenders: Sequence[Contender], split: str) -> list[str]:
    """Return, for each experiment, the name of the first one that has the same images in a split."""
    groups = _grouped(contenders, lambda ours, theirs: same_images(ours, theirs, split))
    first = {contender.name: group[0].name for group in groups for contender in group}
    return [first[contender.name] for contender in contenders]


def _not_alike(columns: Sequence[dict[str, str]]) -> list[Line]:
    return [line for line in _lines(columns) if len(set(line.values)) > 1]


def _lines(columns: Sequence[dict[str, str]]) -> list[Line]:
    names = dict.fromkeys(name for column in columns for name in column)
    return [Line(name=name, values=[column.get(name, NOTHING) for column in columns]) for name in names]
