"""The page of an experiment: everything a person wants to see, in one file that needs no network."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from plotly.graph_objects import Figure

from search_spaces import space_of
from tune.experiment.report_figures import STATES
from tune.experiment.report_json import RecipeReport, Report, RowReport
from tune.experiment.train_samples import Samples
from tune.experiment.trial_record import State
from tune.models.cost import facts
from tune.reporting import published_rows as _published
from tune.reporting.command import command
from tune.reporting.figures import classes as _class_figures
from tune.reporting.figures import fields as _field_figures
from tune.reporting.figures import search as _search_figures
from tune.reporting.figures.costs import accuracy_by_cost
from tune.reporting.figures.finals import finals, optimism, val_against_test
from tune.reporting.figures.series import colour, dashed, learning
from tune.reporting.figures.times import shares, workers
from tune.reporting.findings import answer, findings
from tune.reporting.formatting import TIMES, counted, duration, interval, metric, setting
from tune.reporting.leaderboard import columns_of, leaderboard
from tune.reporting.leaderboard_text import ensembles, rows
from tune.reporting.page.image_samples import by_class, pictures
from tune.reporting.page.rendering import Figures, bars, render
from tune.reporting.results import Results, source


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


def page(results: Results, report: Report) -> str:
    """Return the page as HTML."""
    figures = Figures()
    colours = {recipe: colour(results, recipe) for recipe in report.recipes}
    learnt = _search_figures.learning_curves(results)
    if isinstance(learnt, Figure):
        learnt.update_layout(showlegend=False)  # the page has buttons instead
    notes = {
        "curves": figures.place("curves", learnt),
        "history": figures.place("history", _search_figures.history(results, "trials")),
        "workers": figures.place("workers", workers(results)),
        "counts": figures.place("counts", _class_figures.class_counts(results)),
        "rows": figures.place("rows", _published.curves(results)),
        "cost": figures.place("cost", accuracy_by_cost(report.recipes, colours, report.tested_on)),
    }
    for against in ("epochs", "time"):
        figures.place(f"history-{against}", _search_figures.history(results, against))
    figures.place("val-test", val_against_test(report, colours))
    published = report.rows
    changed, own_changes = _published.changes(published.values())
    found = leaderboard(report)
    panels = [_panel(results, recipe, entry, figures) for recipe, entry in report.recipes.items()]
    intervals = bars([row.test.accuracy if row.test else None for row in found.rows])
    return render(
        "page.html",
        figures,
        settings=results.settings,
        report=report,
        tested=report.best.test if report.best else None,
        answer=answer(report),
        clear=findings(report),
        facts=_facts(results, report),
        ensembles=ensembles(report),
        columns=found.columns,
        board=list(zip(rows(found), intervals, strict=True)),
        panels=panels,
        published=_rows(results, published, own_changes, figures),
        chosen=_published.chosen(published.values()),
        pretrained=_published.pretrained(published.values()),
        changed=changed,
        curves={recipe: (colours[recipe], dashed(results, recipe)) for recipe in learning(results)},
        finals=finals(report),
        optimism=optimism(report),
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


def _facts(results: Results, report: Report) -> list[tuple[str, str]]:
    """Return the facts shown beside the answer."""
    facts = [("data", _short(results.card["source"]))]
    if report.best and report.best.test:
        test = report.best.test
        if (report.best.config or {}).get("input_variant") == "box":
            facts += [("sees", "what is in the boxes")]
        facts += [(f"val {report.metric}", metric((report.best.val or {}).get(report.metric)))]
        for column in columns_of(report)[1:]:
            found = test.metrics[column.name]
            facts += [(f"{column.label} on {report.tested_on}", f"{metric(found.mean)} ({interval(found)})")]
        facts += [("tested on", f"{counted(test.n, 'image')}, {counted(len(test.seeds), 'seed')}")]
    if report.rows:
        facts += [("rows", str(len(report.rows)))]
    if results.records or not results.settings.rows_only:
        begun, asked = len(results.records), results.settings.trials
        of = f"{begun:,} of " if begun < asked and not report.winner else ""
        facts += [("search", f"{of}{counted(asked if of else begun, 'trial')}")]
    trained = sum(record.seconds for record in results.records)
    trained += sum(final.seconds for finalist in results.finalists for final in finalist.finals)
    return [*facts, ("took", duration(results.seconds)), ("training in all", duration(trained))]


def _short(source: str) -> str:
    """Return the last part of a source; a pattern of files keeps its folder."""
    path = Path(source)
    return f"{path.parent.name}/{path.name}" if "*" in path.name else path.name or source


def _panel(results: Results, recipe: str, entry: RecipeReport, figures: Figures) -> dict[str, object]:
    """Return the values shown for one recipe, and place its figures."""
    panel: dict[str, object] = {
        "recipe": recipe,
        "colour": colour(results, recipe),
        "entry": entry,
        "weights": source(entry),
        "model": facts(entry.model) if entry.model else None,
        "settings": _configuration(results, recipe, entry),
        "parallel": figures.place(f"parallel-{recipe}", _field_figures.parallel(results, recipe)),
        "slices": figures.place(f"slices-{recipe}", _field_figures.slices(results, recipe)),
        "importance": figures.place(f"importance-{recipe}", _field_figures.importance(results, recipe)),
        "valued": len(_field_figures.valued(results, recipe)),
        "stopped": entry.trials.pruned,
        "pairs": [],
        "mistakes": [],
        "sample": [],
    }
    if entry.test:
        panel["pairs"] = _classes(results, recipe, entry, figures)
        assert entry.calibration is not None
        figures.place(f"reliability-{recipe}", _class_figures.reliability(entry.calibration))
        median = results.finalists_of(recipe)[0].median(results.settings.metric)
        panel["mistakes"] = pictures(median, results.classes, "mistake")
        panel["sample"] = pictures(median, results.classes, "sample")
    return panel


def _classes(
    results: Results, name: str, entry: RecipeReport | RowReport, figures: Figures
) -> list[_class_figures.ConfusedPair]:
    """Place the figures of correct and wrong predictions on test; return the most confused pairs of classes."""
    figures.place(f"confusion-{name}", _class_figures.confusion(results, entry))
    figures.place(f"classes-{name}", _class_figures.per_class(entry))
    return _class_figures.confused_pairs(results, entry)


def _rows(
    results: Results, entries: Mapping[str, RowReport], own_changes: list[list[str]], figures: Figures
) -> list[dict[str, object]]:
    """Return the values shown for each published row, and place its figures."""
    return [
        {
            "id": f"row-{name}",
            "entry": entry,
            "changes": changes,
            "lines": _published.cells(entry),
            "pairs": _classes(results, f"row-{name}", entry, figures) if entry.test else [],
        }
        for (name, entry), changes in zip(entries.items(), own_changes, strict=True)
    ]


def _configuration(results: Results, recipe: str, entry: RecipeReport) -> list[Setting]:
    """Return the best configuration beside the default, which was the first trial."""
    config = entry.config
    if config is None:
        return []
    default = results.experiment.default(recipe)
    names = [name for name in space_of(recipe).domains() if name in config or name in default]
    return [Setting(name=name, value=setting(config.get(name)), default=setting(default.get(name))) for name in names]


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
