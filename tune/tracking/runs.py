"""The W&B runs of an experiment: one for each trial and final, and one for the search."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import wandb
import yaml

from trainables.training.metrics import EpochFigures
from tune.experiment.experiment import Experiment
from tune.experiment.folder import FINAL
from tune.experiment.report_json import Report, read_report
from tune.experiment.trial_ranking import rung_of
from tune.experiment.trial_record import TrialRecord
from tune.finals.final_file import FinalRecord, SoupRecord
from tune.settings.groups import Mark, WandbSettings
from tune.settings.settings import Settings, marked
from tune.tracking.client import RunStarter, log_epochs, retry_request
from tune.tracking.results import confusion, curves, figures_of, leaderboard_table, per_class
from tune.tracking.sweeps import shown_sweep

SWEEP = "wandb.json"
"""The file in which an experiment keeps the id of its sweep."""

REPORT_MODULE = "tune.reporting.report"

AT_A_TIME = 8
"""Runs that are finished in parallel, as each may take long."""

ARTIFACT_TIMEOUT_S = 600
"""Seconds that the files of a report or model get; a search itself waits no longer than it does at its end."""

TESTED = {"final": "finals", "refit": "refits", "soup": "soups", "row": "rows"}
"""The job types of tested models, and their folders."""

NOT_SENT = ("progress", *marked(Mark.PLACE), *WandbSettings.model_fields)
"""Settings that say nothing about the search itself."""

MAX_CLASSES_SHOWN = 50
"""The most classes for a confusion matrix, which W&B receives cell by cell, and for curves."""

Say = Callable[[str], None]


class Runs:
    """The runs of an experiment. Their ids follow from the study, so that runs that were sent before are continued.

    Attributes:
        url: of the search's run in W&B; known once it is begun.
    """

    def __init__(self, experiment: Experiment, settings: Settings, *, online: bool, say: Say) -> None:
        self._experiment, self._settings, self._online, self._say = experiment, settings, online, say
        self._sweep = ""
        self._trials: dict[int, wandb.Run] = {}
        self._ended: set[int] = set()
        self._best: dict[str, float] = {}
        self._pool = ThreadPoolExecutor(AT_A_TIME)
        self._ending: list[Future[None]] = []
        self._reporting: Future[ModuleType] | None = None
        self._finals = 0
        self.url = ""

    @property
    def told(self) -> str:
        """The numbers of runs in words."""
        return f"trials {len(self._ended)}, finals {self._finals}"

    @property
    def folder(self) -> Path:
        """The folder where W&B keeps unsent runs."""
        return self._experiment.folder / "wandb"

    def begin(self, identity: str) -> None:
        """Begin the run of the search, which shows if W&B takes anything."""
        shutil.rmtree(self.folder, ignore_errors=True)  # everything is written again
        if self._settings.wandb_sweep and self._online:
            self._sweep = self._find_sweep()
        self._begin_run = RunStarter(
            experiment=self._experiment,
            settings=self._settings,
            online=self._online,
            identity=identity,
            sweep=self._sweep,
        )
        config = yaml.safe_load(self._settings.dump())
        config = {key: value for key, value in config.items() if key not in NOT_SENT}
        self._search = self._begin_run("search", self._settings.name, "search", config, ["search"])
        self._search.define_metric("trials")
        self._search.define_metric("best/*", step_metric="trials")
        self.url = self._search.url or ""
        if self._online:
            self._say(f"W&B: {self.url}")
        if self._sweep:
            self._say(f"W&B: {self._search.project_url}/sweeps/{self._sweep.rpartition('/')[2]}")
        elif self._settings.wandb_sweep:
            self._say(f"W&B: a sweep cannot be made offline; it is made by: toprung track {self._experiment}")

    def show(self, records: list[TrialRecord]) -> None:
        """Log new epochs and states of the trials."""
        for record in records:
            if record.number in self._ended:
                continue
            run = self._trials.get(record.number)
            if run is None:
                run = self._trials[record.number] = self._begin(record)
            log_epochs(run, record.epochs, record.values)
            if record.state != "running":
                self._end(record)
        if not self._reporting and len(self._ended) >= self._settings.trials:
            self._reporting = self._pool.submit(
                import_module, REPORT_MODULE
            )  # takes seconds, for which there is time now

    def end(self, records: list[TrialRecord]) -> None:
        """Log the results of the search: its finals and its report, as far as they exist."""
        stopped = bool(self._trials)
        for number in list(self._trials):
            self._end(records[number])
        report = read_report(self._experiment)
        if report is not None:
            # before several threads need it: threads that import it at the same time can wait for each other for ever
            (self._reporting or self._pool.submit(import_module, REPORT_MODULE)).result()
            tested = {job: self._tested(folder) for job, folder in TESTED.items()}
            self._finals = len(tested["final"])
            self._ending += [
                self._pool.submit(self._show_tested, job, folder)
                for job, folders in tested.items()
                for folder in folders
            ]
            self._show_report(report, records)
        if stopped:  # stopped by a person, not failed: this is W&B's way to say so
            self._search.mark_preempting()
        self._search.finish(exit_code=1 if stopped else 0)
        for ending in self._ending:
            ending.result()
        if self._sweep:
            _stop(self._sweep)
        if self._online:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self, record: TrialRecord) -> wandb.Run:
        config = {"recipe": record.recipe, **record.config, "trial": record.number, "seed": record.seed}
        name = f"{record.recipe}-{record.number:05d}"
        return self._begin_run(
            f"trial-{record.number:05d}", name, "trial", config, [record.recipe], in_sweep=True, by_epoch=True
        )

    def _end(self, record: TrialRecord) -> None:
        run = self._trials.pop(record.number)
        best = record.best_epoch
        run.summary.update(
            {
                "state": "stopped" if record.state == "running" else record.state,
                "epochs": len(record.epochs),
                "rung": rung_of(record, self._settings.milestones),
                "seconds_of_all": record.seconds,
                "attempts": record.attempts,
                **({"best_epoch": int(best["epoch"]), "best_value": record.value} if best else {}),
                **({"note": record.note} if record.note else {}),
            }
        )
        if record.state == "running":
            run.mark_preempting()
        for done in [ending for ending in self._ending if ending.done()]:
            self._ending.remove(done)
            done.result()  # or raises the error by which it failed
        self._ending.append(self._pool.submit(run.finish, 0 if record.state in ("complete", "pruned") else 1))
        if record.state == "running":  # the search was stopped, and may be resumed
            return
        self._ended.add(record.number)
        if record.value is not None and record.state != "failed":
            known = self._best.get(record.recipe, record.value)
            self._best[record.recipe] = self._settings.objective.best([known, record.value])
        best_values = {f"best/{recipe}": value for recipe, value in self._best.items()}
        if len(self._ended) >= self._search.step:
            self._search.log({"trials": len(self._ended), **best_values}, step=len(self._ended))

    def _tested(self, folder: str) -> list[Path]:
        return [file.parent for file in sorted((self._experiment.folder / folder).glob(f"[!.]*/{FINAL}"))]

    def _show_tested(self, job: str, folder: Path) -> None:
        record: FinalRecord | SoupRecord = SoupRecord.load(folder) if job == "soup" else FinalRecord.load(folder)
        made_of: dict[str, object]
        epochs: list[EpochFigures]
        if isinstance(record, SoupRecord):
            made_of, epochs, best_epoch = {"kind": record.kind, "members": record.members}, [], {}
        else:
            made_of = {"trial": record.trial, "seed": record.seed}
            epochs, best_epoch = record.curves, {"best_epoch": record.epoch}
        config = {"recipe": record.recipe, **record.config, "train_on": record.train_on, **made_of}
        run = self._begin_run(f"{job}-{folder.name}", folder.name, job, config, [record.recipe], by_epoch=True)
        log_epochs(run, epochs, {})
        classes = self._experiment.read("data.json")["classes"]
        if run.step <= len(epochs) + 1:
            tables: dict[str, Any] = {"test/per_class": per_class(folder, classes)}
            if len(classes) <= MAX_CLASSES_SHOWN:
                tables["test/confusion_matrix"] = confusion(folder, classes)
                tables |= curves(folder, classes)
            retry_request(lambda: run.log(tables, step=len(epochs) + 1))
        figures = {f"test/{name}": value for name, value in record.test.items()}
        figures |= {f"val/{name}": value for name, value in record.val.items()}
        cost = {f"model/{name}": value for name, value in record.model or ()}
        if job == "row":
            figures |= self._published(folder.name)
        run.summary.update({"seconds_of_all": record.seconds, **best_epoch, **figures, **cost})
        run.finish()

    def _published(self, row: str) -> dict[str, float]:
        preset = self._experiment.preset
        published = preset.rows[row].published if preset else {}
        return {f"published/{on}/{name}": value for on, figures in published.items() for name, value in figures.items()}

    def _show_report(self, report: Report, records: list[TrialRecord]) -> None:
        shown = {"leaderboard": leaderboard_table(report), **figures_of(self._experiment, records)}
        retry_request(lambda: self._search.log({"trials": len(self._ended), **shown}))
        winner, best = report.winner, report.best
        if best and best.test:
            accuracy = best.test.accuracy
            self._search.summary.update(
                {"winner": winner, "trials": len(records), "seconds": report.seconds}
                | {f"test/{name}": figure.mean for name, figure in best.test.metrics.items()}
                | {"test/accuracy_low": accuracy.low, "test/accuracy_high": accuracy.high}
            )
        folder, name = self._experiment.folder, self._settings.name
        files = wandb.Artifact(f"{name}-report", type="report")
        pictures = sorted(f"report/{file.name}" for file in (folder / "report").glob("*.png"))
        for file in ("report/index.html", "report.md", *pictures, "report.json", "trials.parquet", "curves.parquet"):
            if (folder / file).is_file():
                files.add_file(str(folder / file), name=file)
        sent = [retry_request(lambda: self._search.log_artifact(files))]
        if winner and best:
            facts = best.model_dump(include={"config", "val", "test", "model", "weights"})
            model = wandb.Artifact(f"{name}-model", type="model", metadata={"recipe": winner, **facts})
            model.add_dir(str(folder / "best" / winner))
            sent.append(retry_request(lambda: self._search.log_artifact(model, aliases=["best"])))
        for artifact in sent if self._online else ():
            retry_request(partial(artifact.wait, ARTIFACT_TIMEOUT_S))

    def _find_sweep(self) -> str:
        """Return the sweep of the search as ENTITY/PROJECT/ID, and make it if there is none yet."""
        if (self._experiment.folder / SWEEP).is_file():
            known: str = self._experiment.read(SWEEP)["sweep"]
            return known
        settings = self._settings
        made = wandb.sweep(shown_sweep(self._experiment), entity=settings.wandb_entity, project=settings.wandb_project)
        entity = settings.wandb_entity or wandb.Api().default_entity
        sweep = f"{entity}/{settings.wandb_project}/{made}"
        self._experiment.write(SWEEP, {"sweep": sweep})
        return sweep


def _stop(sweep: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "wandb", "sweep", "--stop", sweep], stdout=sys.stderr, timeout=20, check=False
    )
