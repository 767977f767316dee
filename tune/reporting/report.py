"""The report, made from study and finals: tables, a page, Markdown, files."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from plotly.graph_objects import Figure

from search_spaces import InputError
from trainables.storage.files import whole
from tune.experiment.experiment import Experiment
from tune.experiment.report_json import REPORT, Report
from tune.experiment.study import SearchStudy
from tune.experiment.study_backup import looked_at
from tune.experiment.trial_record import TrialRecord
from tune.finals.finalists import Finalist
from tune.reporting.best_folders import write_best
from tune.reporting.comparison import Contender, SideBySide
from tune.reporting.figures.fields import importance, parallel
from tune.reporting.figures.pictures import PLOTS, file_of, plots
from tune.reporting.figures.search import learning_curves
from tune.reporting.formatting import printable
from tune.reporting.markdown import markdown
from tune.reporting.model_card import model_card
from tune.reporting.page.comparison import comparison_page
from tune.reporting.page.page import page
from tune.reporting.results import Results
from tune.reporting.summary import summarize
from tune.reporting.tables import write_tables
from tune.reporting.tensorboard_events import write_events

PAGE = "report/index.html"


def write_report(
    experiment: Experiment,
    records: list[TrialRecord],
    finalists: list[Finalist],
    failures: list[str],
    *,
    seconds: float,
) -> Path:
    """Write tables, report, best configurations, Markdown, pictures and page into the experiment's folder.

    Returns the page's path.

    Args:
        experiment: the folder.
        records: all trials.
        finalists: the finalists trained so far.
        failures: a line for each final that failed.
        seconds: the duration of the search.
    """
    results = Results(experiment=experiment, records=records, finalists=finalists, failures=failures, seconds=seconds)
    report = summarize(results)
    write_tables(results)
    write_best(results, report)
    for recipe, entry in report.recipes.items():
        if entry.test:
            experiment.write(f"best/{recipe}/README.md", printable(model_card(results, report, recipe)))
    experiment.write(REPORT, report.model_dump())
    pictures = _write_plots(results, report)
    experiment.write("report.md", printable(markdown(results, report, pictures)))
    experiment.write(PAGE, printable(page(results, report)))
    if results.settings.tensorboard:
        write_events(experiment, records, [final for finalist in finalists for final in finalist.finals])
    return experiment.folder / PAGE


def _write_plots(results: Results, report: Report) -> dict[str, str]:
    """Write the pictures of the Markdown and remove outdated ones; return a description of each."""
    drawn = plots(results, report)
    for name in PLOTS:
        file = file_of(name)
        if name in drawn:
            with results.experiment.writing(file) as draft:
                draft.write_bytes(drawn[name].content)
        else:
            (results.experiment.folder / file).unlink(missing_ok=True)
            results.experiment.place.remove(file)
    return {name: plot.alt for name, plot in drawn.items()}


def search_figures(experiment: Experiment, records: list[TrialRecord]) -> dict[str, Figure]:
    """Return the page's figures of each recipe's fields, if any, by `importance/RECIPE` and `parallel/RECIPE`."""
    results = Results(experiment=experiment, records=records, finalists=[], failures=[], seconds=0.0)
    drawn = {
        f"{name}/{recipe}": draw(results, recipe)
        for recipe in results.settings.recipes
        for name, draw in (("importance", importance), ("parallel", parallel))
    }
    return {name: figure for name, figure in drawn.items() if isinstance(figure, Figure)}


def curves(experiment: Experiment, records: list[TrialRecord]) -> Figure | None:
    """Draw the learning curves of all trials, as on the page; return None if no trial has finished an epoch."""
    results = Results(experiment=experiment, records=records, finalists=[], failures=[], seconds=0.0)
    figure = learning_curves(results)
    return figure if isinstance(figure, Figure) else None


def rebuild(experiment: Experiment) -> Path:
    """Write the report again from the folder alone, even while a search is running; return the page's path."""
    with closing(SearchStudy.load(experiment.storage, experiment.settings.name)) as study:
        results = Results.of_folder(experiment, study)
    return write_report(experiment, results.records, results.finalists, results.failures, seconds=results.seconds)


def side_by_side(experiments: Mapping[str, Experiment]) -> SideBySide:
    """Return a comparison of experiments, given by name; nothing is written into them.

    Raises:
        InputError: the search of an experiment did not begin, or its study cannot be read.
    """
    return SideBySide([Contender.of(name, _results_of(experiment)) for name, experiment in experiments.items()])


def write_comparison(side: SideBySide, output: Path) -> Path:
    """Write the page of experiments side by side, whole or not at all; return its absolute path.

    Raises:
        InputError: the page cannot be written.
    """
    output = output.expanduser().absolute()
    try:
        with whole(output) as draft:
            draft.write_text(printable(comparison_page(side, output.parent)), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--output {output}: {error.strerror}; choose a file that can be written") from None
    return output


def _results_of(experiment: Experiment) -> Results:
    for name in ("data.json", "environment.json"):
        if not (experiment.folder / name).is_file():
            raise InputError(f"{experiment}: has no {name}, as its search did not begin; leave it out")
    with looked_at(experiment) as study:
        return Results.of_folder(experiment, study)
