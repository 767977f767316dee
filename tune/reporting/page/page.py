"""The page of an experiment: everything a person wants to see, in one file that needs no network."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plotly.graph_objects import Figure

from search_spaces import space_of
from tune.experiment.train_samples import Samples
from tune.experiment.trial_record import State
from tune.models.cost import facts
from tune.reporting import published_rows as _published
from tune.reporting.command import command
from tune.reporting.figures import classes as _class_figures
from tune.reporting.figures import search as _search_figures
from tune.reporting.figures.costs import accuracy_by_cost
from tune.reporting.figures.finals import finals, optimism, val_against_test
from tune.reporting.figures.series import colour, dashed, learning
from tune.reporting.figures.times import shares, workers
from tune.reporting.formatting import TIMES, counted, duration, interval, metric, setting
from tune.reporting.leaderboard import answer, ensembles, findings, rows
from tune.reporting.page.image_samples import by_class, pictures
from tune.reporting.page.rendering import Figures, bars, render
from tune.reporting.results import Results, source
from tune.reporting.summary import STATES, Summary


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A field of a configuration beside its default."""

    name: str
    value: str
    default: str

    @property
    def differs(self) -> bool:
        """Return True if the value is not the default."""
        return self.value != self.default


def _states(results: Results) -> dict[State, int]:
    """Count the trials with a learning curve by state; leave out states without any."""
    counts = Counter(record.state for record in results.records if record.epochs)
    return {state: counts[state] for state in STATES if counts[state]}


def page(results: Results, summary: Summary) -> str:
    """Return the page as HTML."""
    figures = Figures()
    colours = {recipe: colour(results, recipe) for recipe in summary["recipes"]}
    learnt = _search_figures.learning_curves(results)
    if isinstance(learnt, Figure):
        learnt.update_layout(showlegend=False)  # the page has buttons instead
    notes = {
        "curves": figures.place("curves", learnt),
        "history": figures.place("history", _search_figures.history(results, "trials")),
        "workers": figures.place("workers", workers(results)),
        "counts": figures.place("counts", _class_figures.class_counts(results)),
        "rows": figures.place("rows", _published.curves(results)),
        "cost": figures.place("cost", accuracy_by_cost(summary["recipes"], colours, summary["tested_on"])),
    }
    for against in ("epochs", "time"):
        figures.place(f"history-{against}", _search_figures.history(results, against))
    figures.place("val-test", val_against_test(summary, colours))
    published = summary["preset"]["rows"] if summary["preset"] else {}
    changed, own_changes = _published.changes(published.values())
    panels = [_panel(results, recipe, entry, figures) for recipe, entry in summary["recipes"].items()]
    tests = [entry["test"] for entry in summary["recipes"].values()]
    intervals = bars([test and test["accuracy"] for test in tests])
    return render(
        "page.html",
        figures,
        settings=results.settings,
        summary=summary,
        tested=summary["recipes"][summary["winner"]]["test"] if summary["winner"] else None,
        answer=answer(summary),
        clear=findings(summary),
        facts=_facts(results, summary),
        ensembles=ensembles(summary),
        board=list(zip(rows(summary), intervals, strict=True)),
        panels=panels,
        published=_rows(results, published, own_changes, figures),
        chosen=_published.chosen(published.values()),
        pretrained=_published.pretrained(published.values()),
        changed=changed,
        curves={recipe: (colours[recipe], dashed(results, recipe)) for recipe in learning(results)},
        finals=finals(summary),
        optimism=optimism(summary),
        states=_states(results),
        trials=results.records,
        shares=shares(results),
        searched=bool(results.records) or not results.settings.rows_only,
        notes=notes,
        data=_data_facts(results),
        card=results.card,
        samples=by_class(Samples.of(results.experiment), results.classes),
        failed=[record for record in results.records if record.state == "failed"],
        environment=results.environment_facts(),
        command=command(results.settings, results.preset),
    )


def _facts(results: Results, summary: Summary) -> list[tuple[str, str]]:
    """Return the facts shown beside the answer."""
    facts = [("data", _short(results.card["source"]))]
    if summary["winner"]:
        entry = summary["recipes"][summary["winner"]]
        test = entry["test"]
        if entry["config"].get("input_variant") == "box":
            facts += [("sees", "what is in the boxes")]
        facts += [
            (f"val {summary['metric']}", metric(entry["val"][summary["metric"]])),
            (
                f"macro F1 on {summary['tested_on']}",
                f"{metric(test['macro_f1']['mean'])} ({interval(test['macro_f1'])})",
            ),
            ("tested on", f"{counted(test['n'], 'image')}, {counted(len(test['seeds']), 'seed')}"),
        ]
    if summary["preset"] and summary["preset"]["rows"]:
        facts += [("rows", str(len(summary["preset"]["rows"])))]
    if results.records or not results.settings.rows_only:
        begun, asked = len(results.records), results.settings.trials
        of = f"{begun:,} of " if begun < asked and not summary["winner"] else ""
        facts += [("search", f"{of}{counted(asked if of else begun, 'trial')}")]
    trained = sum(record.seconds for record in results.records)
    trained += sum(final.seconds for finalist in results.finalists for final in finalist.finals)
    return [*facts, ("took", duration(results.seconds)), ("training in all", duration(trained))]


def _short(source: str) -> str:
    """Return the last part of a source; a pattern of files keeps its folder."""
    path = Path(source)
    return f"{path.parent.name}/{path.name}" if "*" in path.name else path.name or source


def _panel(results: Results, recipe: str, entry: dict[str, Any], figures: Figures) -> dict[str, Any]:
    """Return the values shown for one recipe, and place its figures."""
    panel: dict[str, Any] = {
        "recipe": recipe,
        "colour": colour(results, recipe),
        "entry": entry,
        "weights": source(entry),
        "model": facts(entry["model"]) if entry["model"] else None,
        "settings": _configuration(results, recipe, entry),
        "parallel": figures.place(f"parallel-{recipe}", _search_figures.parallel(results, recipe)),
        "slices": figures.place(f"slices-{recipe}", _search_figures.slices(results, recipe)),
        "importance": figures.place(f"importance-{recipe}", _search_figures.importance(results, recipe)),
        "valued": len(_search_figures.valued(results, recipe)),
        "stopped": entry["trials"]["pruned"],
        "pairs": [],
        "mistakes": [],
        "sample": [],
    }
    if entry["test"]:
        panel["pairs"] = _classes(results, recipe, entry, figures)
        figures.place(f"reliability-{recipe}", _class_figures.reliability(entry))
        median = results.finalists_of(recipe)[0].median(results.settings.metric)
        panel["mistakes"] = pictures(median, results.classes, "mistake")
        panel["sample"] = pictures(median, results.classes, "sample")
    return panel


def _classes(results: Results, name: str, entry: dict[str, Any], figures: Figures) -> list[dict[str, Any]]:
    """Place the figures of correct and wrong predictions on test; return the most confused pairs of classes."""
    figures.place(f"confusion-{name}", _class_figures.confusion(results, entry))
    figures.place(f"classes-{name}", _class_figures.per_class(entry))
    return _class_figures.confused_pairs(results, entry)


def _rows(
    results: Results, entries: dict[str, Any], own_changes: list[list[str]], figures: Figures
) -> list[dict[str, Any]]:
    """Return the values shown for each published row, and place its figures."""
    return [
        {
            "id": f"row-{name}",
            "entry": entry,
            "changes": changes,
            "lines": _published.cells(entry),
            "pairs": _classes(results, f"row-{name}", entry, figures) if entry["test"] else [],
        }
        for (name, entry), changes in zip(entries.items(), own_changes, strict=True)
    ]


def _configuration(results: Results, recipe: str, entry: dict[str, Any]) -> list[Setting]:
    """Return the best configuration beside the default, which was the first trial."""
    if entry["config"] is None:
        return []
    default = results.experiment.default(recipe)
    names = [name for name in space_of(recipe).domains() if name in entry["config"] or name in default]
    return [
        Setting(name=name, value=setting(entry["config"].get(name)), default=setting(default.get(name)))
        for name in names
    ]


def _data_facts(results: Results) -> list[tuple[str, str]]:
    card = results.card
    shape = results.experiment.shape
    channels = {1: "grey", 3: "RGB"}.get(shape.channels, f"{shape.channels} channels")
    identical = card["duplicates"]
    facts = [
        ("source", card["source"]),
        ("images", ", ".join(f"{count:,} {split}" for split, count in card["images"].items())),
        ("classes", f"{shape.classes:,}"),
        ("size", f"{shape.width} {TIMES} {shape.height} pixels, {channels}"),
        ("digest", card["digest"][:16]),
    ]
    for name, count, noun in (
        ("left out", card["images_left_out"], "image"),
        ("broken", len(card["bad_images"]), "image"),
        ("in two splits", identical["across_splits"]["total"], "identical pair"),
        ("under two labels", identical["across_labels"]["total"], "identical pair"),
    ):
        if count:
            facts.append((name, counted(count, noun)))
    return facts
