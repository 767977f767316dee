"""The laws of docs/design.md that can be read off the code."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parent.parent
PACKAGES = ("search_spaces", "trainables", "tune")
MAY_IMPORT = {
    "search_spaces": {"search_spaces"},
    "trainables": {"search_spaces", "trainables"},
    "tune": {"search_spaces", "trainables", "tune"},
}
NEVER = {
    "search_spaces": None,  # standard library only
    "trainables": {"ray", "optuna", "wandb", "tune", "pydantic", "rich"},
    "tune": set(),
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the full names of everything that a module imports, at any depth of its code."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    for path in modules(package):
        tops = {name.partition(".")[0] for name in imported(path)}
        ours = tops & set(PACKAGES)
        assert ours <= MAY_IMPORT[package], f"{path} imports {ours - MAY_IMPORT[package]}"
        never = NEVER[package]
        foreign = tops - set(PACKAGES) - set(sys.stdlib_module_names)
        assert not (foreign if never is None else foreign & never), path


ROOMS = {
    "search_spaces": ("recipes", "shared", "space"),
    "trainables": ("recipes", "inference", "pretrained", "training", "data", "storage"),
    "tune": (
        "run", "api", "cli", "search", "tracking", "reporting", "models", "finals", "tuning", "cluster", "experiment",
        "settings", "fetching", "terminal", "version",
    ),
}  # fmt: skip
"""The rooms of each package, from the top down. "recipes" stands for the modules beside the folders."""


def room_of(package: str, parts: Sequence[str]) -> str:
    """Return the room of a module, given the parts of its name after the package."""
    if package == "tune":
        return parts[0]
    return parts[0] if parts and parts[0] in ROOMS[package] else "recipes"


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_downwards(package: str) -> None:
    order = ROOMS[package]
    folders = {path.parent.relative_to(ROOT / package).parts[0] for path in (ROOT / package).glob("*/__init__.py")}
    assert folders <= set(order), "a room is missing in the list"
    for path in modules(package):
        if path == ROOT / package / "__init__.py" or path.name == "_old_names.py":
            continue  # the package's public face re-exports its modules
        own = room_of(package, path.relative_to(ROOT / package).with_suffix("").parts)
        for name in imported(path):
            top, *parts = name.split(".")
            if top == package and len(parts) > 1:  # with one part, it is a name of the package's face
                other = room_of(package, parts)
                assert order.index(own) <= order.index(other), f"{path} imports {name}, of a room above"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_says_what_it_holds(package: str) -> None:
    for face in (ROOT / package).rglob("__init__.py"):
        assert len(ast.get_docstring(ast.parse(face.read_text())) or "") > 30, face


PRIVATE_MODULES = {
    "ray": "tune/cluster/ray_private.py",
    "optuna": "tune/experiment/optuna_private.py",
    "wandb": "tune/cluster/wandb_private.py",
}
"""The only module for each library that may use its private interfaces; it lists them with reasons."""

PRIVATE = re.compile(
    r"(ray|optuna|wandb)\.(.*\.)?_(?!_)|"  # an underscore anywhere in the name
    r"(ray\.(autoscaler|core|tune\.(execution|impl))|optuna\.storages|wandb\.(sdk|proto|apis\.internal))\b"
)
"""Names that the libraries keep private, by an underscore or by their documentation."""


def private_names(code: ast.AST) -> Iterator[str]:
    """Yield the private names of Ray, Optuna and W&B that code uses, and all private attributes of other objects."""
    for node in ast.walk(code):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
            of_another = ast.unparse(node.value) not in ("self", "cls", "super()", "os")  # os._exit is public
            if of_another and re.fullmatch(r"_[^_]\w*(?<!_)", node.attr):
                yield names[0]
        elif isinstance(node, ast.keyword) and (node.arg or "").startswith("x_"):
            yield f"W&B's {node.arg}"
        yield from filter(PRIVATE.match, names)


@pytest.mark.parametrize(
    "code",
    [
        "import ray._private.state",
        "from ray._raylet import Config",
        "from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE",
        "ray._private.worker.global_worker",
        "from optuna.storages import RDBStorage",
        "from wandb.sdk.lib import wbauth",
        "wandb.Settings(x_disable_stats=True)",
        "study._storage.engine",
        "trial._trial_id",
    ],
)
def test_private_names_are_found(code: str) -> None:
    assert list(private_names(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["from ray.tune import Tuner", "self._study.tell()", "import optuna", "wandb.__all__", "x._repr_html_()"]
)
def test_public_names_are_not_called_private(code: str) -> None:
    assert list(private_names(ast.parse(code))) == []


def test_private_interfaces_of_libraries_are_used_in_one_module_each() -> None:
    for path in modules("tune"):
        found = set(private_names(ast.parse(path.read_text())))
        own = {library for library, module in PRIVATE_MODULES.items() if path == ROOT / module}
        assert {name for name in found if name.partition(".")[0] not in own} == set(), path


def test_importing_changes_nothing() -> None:
    """Libraries are imported first, so that the changes made by their own imports do not count."""
    files = [path for package in PACKAGES for path in modules(package) if path.name != "__main__.py"]
    ours = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    foreign = {
        name
        for path in files
        for name in imported(path)
        if name.partition(".")[0] not in (*PACKAGES, *sys.stdlib_module_names)
    }
    code = """if True:
        import importlib, json, logging, os, sys, warnings
        from contextlib import suppress

        def settings():
            from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE
            loggers = [logging.getLogger(name) for name in ("", "ray", "ray.tune", "optuna", "wandb", "ultralytics")]
            environment = {f"${name}": value for name, value in os.environ.items() if not name.startswith("YOLO_")}
            return {
                **environment,
                "levels": [logger.level for logger in loggers],
                "handlers": [list(map(str, logger.handlers)) for logger in loggers],
                "propagate": [logger.propagate for logger in loggers],
                "passed to workers": sorted(ENV_VARS_TO_PROPAGATE),
                "warnings": list(map(str, warnings.filters)),
                "path": list(sys.path),
            }

        foreign, ours = json.load(sys.stdin)
        for name in foreign:
            for each in (name.rpartition(".")[0], name):
                with suppress(ImportError, ValueError):
                    importlib.import_module(each)
        before = settings()
        from search_spaces import InputError
        for name in ours:
            with suppress(InputError):  # a library is not installed
                importlib.import_module(name)
        after = settings()
        print(json.dumps([name for name in before | after if before.get(name) != after.get(name)]))
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        input=json.dumps([sorted(foreign), ours]),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "YOLO_OFFLINE": "True", "YOLO_VERBOSE": "False", "YOLO_AUTOINSTALL": "False"},
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_only_what_comes_after_the_search_can_reach_the_test_split() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in modules(package)
        if re.search(r"\bload_test\b|trainables\.data\.load\b", path.read_text())
    }
    assert readers == {
        "trainables/data/__init__.py",
        "trainables/data/load.py",
        "tune/models/export.py",  # compares ONNX and PyTorch on images without labels
        "tune/finals/testing.py",
    }


def test_no_other_module_knows_where_the_test_split_lies() -> None:
    for package in ("trainables", "tune"):
        for path in modules(package):
            if path.parent != ROOT / "trainables" / "data" and path != ROOT / "tune" / "experiment" / "folder.py":
                code = path.read_text()
                assert "splits" + "/" not in code, path
                assert "images.npy" not in code, path


def test_the_recipe_in_the_readme_is_well_formed(readme_recipe: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), str(readme_recipe)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_no_module_of_tune_hides_another_package() -> None:
    """Ray and `python tune/run.py` put the folder `tune/` on the path, where its files are top-level modules."""
    taken = set(sys.stdlib_module_names) | set(packages_distributions())
    stems = {path.stem for path in (ROOT / "tune").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not stems & taken


def test_an_installation_has_all_packages() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    found = (file.parent.relative_to(ROOT) for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    assert {".".join(folder.parts) for folder in found} == set(find_packages(str(ROOT), include=told))


def test_recipes_and_spaces_have_the_same_names() -> None:
    names = {
        package: {p.stem for p in (ROOT / package).glob("*.py") if not p.stem.startswith("_")}
        for package in ("search_spaces", "trainables")
    }
    assert names["search_spaces"] == names["trainables"]


@pytest.mark.parametrize("arguments", [["--help"], ["recipes"]])
def test_help_and_the_list_of_recipes_are_instant(arguments: list[str]) -> None:
    """The test checks that no slow library is imported, as seconds would vary."""
    code = (
        "import sys, tune.cli\n"
        f"try: tune.cli.main({arguments!r})\n"
        "except SystemExit: pass\n"
        "print(*{'torch', 'ray', 'optuna', 'sklearn', 'pydantic', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout
    assert done.stderr.strip() == ""


def test_run_py_takes_its_folder_off_the_path_before_it_imports_the_rest(tmp_path: Path) -> None:
    """Else `import models` of a person's recipe would find a room of ours, here and on Ray's workers."""
    code = (
        "import runpy, sys; sys.argv = ['run.py', '--help']; sys.path.insert(0, FOLDER)\n"
        "try: runpy.run_path(FOLDER + '/run.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(FOLDER in sys.path, file=sys.stderr)"
    ).replace("FOLDER", repr(str(ROOT / "tune")))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr.strip() == "False"


def test_run_py_has_no_logic() -> None:
    tree = ast.parse((ROOT / "tune" / "run.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]


@pytest.mark.parametrize("folder", [*PACKAGES, "tests", "benchmarks"])
def test_docstrings_begin_with_a_noun_or_a_verb(folder: str) -> None:
    """A docstring that begins with a clause has to be read twice."""
    clause = re.compile(r"(What|Whether|Who|Whose|Where|How|Of|That|Which|Those)\b")
    for path in modules(folder):
        for node in ast.walk(ast.parse(path.read_text())):
            for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    text = str(statement.value.value).strip()
                    assert not clause.match(text), f"{path}:{statement.lineno}: {text.splitlines()[0]}"
