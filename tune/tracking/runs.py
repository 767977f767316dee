"""The W&B runs of an experiment: one for each trial and final, and one for the search."""

import json
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import wandb
import yaml

from tune.cluster.wandb_private import run_settings
from tune.experiment.epoch_log import row
from tune.experiment.experiment_folder import FINAL
from tune.experiment.folder import Experiment
from tune.experiment.trial_ranking import rung_of
from tune.experiment.trial_record import TrialRecord
from tune.settings.groups import Mark, WandbSettings, marked
from tune.settings.settings import Settings
from tune.tracking.results import confusion, curves, figures_of, leaderboard, per_class
from tune.tracking.sweeps import shown_sweep

SWEEP = "wandb.json"
"""The file in which an experiment keeps the id of its sweep."""

REPORT = "tune.reporting.report"

INIT_TIMEOUT_S, FINISH_TIMEOUT_S = 25.0, 30.0
"""Seconds that W&B gets to begin a run, and to finish one."""

FLUSH_S = 1.0
"""Seconds after which a run's metrics are in its file."""

RETRY_AFTER_S = 1.0, 5.0
"""Seconds before W&B's client retries: the first pause and the longest."""

AGAIN_AFTER = (0.5, 1.0, 2.0)
"""Seconds before each retry of a request that W&B's client does not retry by itself."""

AT_A_TIME = 8
"""Runs that are finished in parallel, as each may take long."""

ARTIFACT_TIMEOUT_S = 600
"""Seconds that the files of a report or model get; a search itself waits no longer than it does at its end."""

TESTED = {"final": "finals", "refit": "refits", "soup": "soups", "row": "rows"}
"""The job types of tested models, and their folders."""

NOT_SENT = ("progress", *marked(Mark.PLACE), *WandbSettings.model_fields)
"""Settings that say nothing about the search itself."""

WIDEST = 50
"""The most classes for a confusion matrix, which W&B receives cell by cell, and for curves."""

Say = Callable[[str], None]
T = TypeVar("T")


class Runs:
    """The runs of an experiment. Their ids follow from the study, so that runs that were sent before are continued.

    Attributes:
        url: of the search's run in W&B; known once it is begun.
    """

    def __init__(self, experiment: Experiment, settings: Settings, *, online: bool, say: Say) -> None:
        self._experiment, self._settings, self._online, self._say = experiment, settings, online, say
        self._identity, self._sweep = "", ""
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
        self._identity = identity
        if self._settings.wandb_sweep and self._online:
            self._sweep = self._find_sweep()
        config = yaml.safe_load(self._settings.dump())
        config = {key: value for key, value in config.items() if key not in NOT_SENT}
        self._search = self._run("search", self._settings.name, "search", config, ["search"], in_sweep=False)
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
            _log_epochs(run, record.epochs, record.values)
            if record.state != "running":
                self._end(record)
        if not self._reporting and len(self._ended) >= self._settings.trials:
            self._reporting = self._pool.submit(import_module, REPORT)  # takes seconds, for which there is time now

    def end(self, records: list[TrialRecord]) -> None:
        """Log the results of the search: its finals and its report, as far as they exist."""
        stopped = bool(self._trials)
        for number in list(self._trials):
            self._end(records[number])
        if (self._experiment.folder / "report.json").is_file():
            summary = self._experiment.read("report.json")
            # before several threads need it: threads that import it at the same time can wait for each other for ever
            (self._reporting or self._pool.submit(import_module, REPORT)).result()
            tested = {job: self._tested(folder) for job, folder in TESTED.items()}
            self._finals = len(tested["final"])
            self._ending += [
                self._pool.submit(self._show_tested, job, folder)
                for job, folders in tested.items()
                for folder in folders
            ]
            self._show_report(summary, records)
        if stopped:  # stopped by a person, not failed: this is W&B's way to say so
            self._search.mark_preempting()
        self._search.finish(exit_code=1 if stopped else 0)
        for ending in self._ending:
            ending.result()
        if self._sweep:
            _stop(self._sweep)
        if self._online:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _run(
        self, key: str, name: str, job: str, config: Mapping[str, Any], tags: list[str], *, in_sweep: bool
    ) -> wandb.Run:
        settings = self._settings
        own = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            init_timeout=INIT_TIMEOUT_S,
            finish_timeout=FINISH_TIMEOUT_S,
            finish_timeout_raises=True,
            stop_fn=_go_on,
            sweep_id=self._sweep.rpartition("/")[2] if in_sweep and self._sweep else None,
            **run_settings(flush_s=FLUSH_S, retry_after_s=RETRY_AFTER_S),
        )
        return wandb.init(
            mode="online" if self._online else "offline",
            dir=str(self._experiment.folder),
            project=settings.wandb_project,
            entity=settings.wandb_entity,
            group=settings.wandb_group or settings.name,
            job_type=job,
            name=name,
            id=f"{self._identity}-{key}",
            tags=[*tags, *settings.wandb_tags],
            config=dict(config),
            resume="allow" if self._online else None,
            reinit="create_new",
            settings=own,
        )

    def _begin(self, record: TrialRecord) -> wandb.Run:
        config = {"recipe": record.recipe, **record.config, "trial": record.number, "seed": record.seed}
        name = f"{record.recipe}-{record.number:05d}"
        run = self._run(f"trial-{record.number:05d}", name, "trial", config, [record.recipe], in_sweep=True)
        self._define_metrics(run)
        return run

    def _define_metrics(self, run: wandb.Run) -> None:
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")

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
        final = json.loads((folder / FINAL).read_text())
        made_of = {key: final[key] for key in ("train_on", "trial", "seed", "kind", "members") if key in final}
        config = {"recipe": final["recipe"], **final["config"], **made_of}
        run = self._run(f"{job}-{folder.name}", folder.name, job, config, [final["recipe"]], in_sweep=False)
        self._define_metrics(run)
        epochs = final.get("curves", [])  # a soup has none
        _log_epochs(run, epochs, {})
        classes = self._experiment.read("data.json")["classes"]
        if run.step <= len(epochs) + 1:
            tables: dict[str, Any] = {"test/per_class": per_class(folder, classes)}
            if len(classes) <= WIDEST:
                tables["test/confusion_matrix"] = confusion(folder, classes)
                tables |= curves(folder, classes)
            retry_request(lambda: run.log(tables, step=len(epochs) + 1))
        figures = {f"test/{name}": value for name, value in final["test"].items()}
        figures |= {f"val/{name}": value for name, value in final["val"].items()}
        cost = {f"model/{name}": value for name, value in (final["model"] or {}).items()}
        if "epoch" in final:
            figures["best_epoch"] = final["epoch"]
        if job == "row":
            figures |= self._published(folder.name)
        run.summary.update({"seconds_of_all": final["seconds"], **figures, **cost})
        run.finish()

    def _published(self, row: str) -> dict[str, float]:
        preset = self._experiment.preset
        published = preset.rows[row].published if preset else {}
        return {f"published/{on}/{name}": value for on, figures in published.items() for name, value in figures.items()}

    def _show_report(self, summary: Mapping[str, Any], records: list[TrialRecord]) -> None:
        shown = {"leaderboard": leaderboard(summary), **figures_of(self._experiment, records)}
        retry_request(lambda: self._search.log({"trials": len(self._ended), **shown}))
        winner = summary["winner"]
        if winner:
            test = summary["recipes"][winner]["test"]
            self._search.summary.update(
                {"winner": winner, "trials": len(records), "seconds": summary["seconds"]}
                | {f"test/{name}": figure["mean"] for name, figure in test.items() if isinstance(figure, dict)}
                | {f"test/accuracy_{end}": test["accuracy"][end] for end in ("low", "high")}
            )
        folder, name = self._experiment.folder, self._settings.name
        report = wandb.Artifact(f"{name}-report", type="report")
        pictures = sorted(f"report/{file.name}" for file in (folder / "report").glob("*.png"))
        for file in ("report/index.html", "report.md", *pictures, "report.json", "trials.parquet", "curves.parquet"):
            if (folder / file).is_file():
                report.add_file(str(folder / file), name=file)
        sent = [retry_request(lambda: self._search.log_artifact(report))]
        if winner:
            entry = summary["recipes"][winner]
            facts = {key: entry[key] for key in ("config", "val", "test", "model", "weights")}
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


def retry_request(do: Callable[[], T]) -> T:
    """Retry a request of W&B's client, which gives up sooner on requests of its own than on streams."""
    for pause in AGAIN_AFTER:
        try:
            return do()
        except Exception:
            traceback.print_exc()
            time.sleep(pause)
    return do()


def _log_epochs(run: wandb.Run, epochs: list[dict[str, float]], values: Mapping[int, float]) -> None:
    """Log the epochs that W&B does not have yet."""
    for epoch, figures in enumerate(epochs, start=1):
        if epoch >= run.step:
            run.log(row(epoch, figures, values.get(epoch)), step=epoch)


def _go_on() -> None:
    """Do nothing if a person stops a run in W&B: the search itself decides which trials go on."""


def _stop(sweep: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "wandb", "sweep", "--stop", sweep], stdout=sys.stderr, timeout=20, check=False
    )
