"""Agreement of README and docs with the code: commands, flags, files, messages; the site is self-contained."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tune.cli import command_parser, main
from tune.version import __version__

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
]

FOREIGN = {
    "ray": {"--address", "--follow", "--generate", "--no-restart", "--no-wait", "--runtime-env-json", "--screen",
            "--start", "--stop", "--tmux"},
    "aws": {"--capabilities", "--filters", "--force", "--parameter-overrides", "--query", "--region", "--stack-name",
            "--template-file"},
    "gcloud": {"--filter", "--location", "--member", "--recursive", "--role", "--uniform-bucket-level-access"},
    "kubectl": {"--container", "--decode", "--from-literal", "--output", "--selector", "--watch"},
    "docker": {"--file", "--shm-size", "--tag"},
    "pip": {"--constraint", "--editable"},
    "benchmarks": {"--profile", "--repeats", "--same-work", "--search"},
}  # fmt: skip
"""Flags of other programs that the pages mention."""


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def command_lines(path: Path) -> Iterator[list[str]]:
    """The words of each line of code that begins with a program, in fenced and in indented blocks."""
    text = path.read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    blocks += re.findall(
        r"(?:^    .+\n)+", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"\s*(toprung|make|python) ", line):
                yield shlex.split(line, comments=True)


def flags_of_toprung() -> set[str]:
    parsers = next(a for a in command_parser()._actions if isinstance(a.choices, dict)).choices
    assert isinstance(parsers, dict)
    return {flag for parser in parsers.values() for flag in parser._option_string_actions} | {"--version", "--help"}


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").read_text().count("\n") < 150


@pytest.mark.parametrize("path", PAGES, ids=names)
def test_every_command_is_real(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for program, *arguments in command_lines(path):
        if program == "toprung":
            if "--help" not in arguments:
                command_parser().parse_args(arguments)
        elif program == "make":
            assert arguments[0] in targets, arguments
        elif arguments[0].endswith(".py"):
            assert (ROOT / arguments[0]).is_file(), arguments


def test_a_command_that_is_not_real_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\ntoprung search --epochs 3\n```\n\n    toprung serch\n")
    for words in command_lines(page):
        with pytest.raises(SystemExit):
            command_parser().parse_args(words[1:])
    assert len(list(command_lines(page))) == 2


def test_every_flag_is_real() -> None:
    mentioned = {
        flag: names(path)
        for path in PAGES
        for flag in re.findall(
            r"(?<![\w-])--[a-z][a-z-]*[a-z]", re.sub(r"--8<--|```console.*?```", "", path.read_text(), flags=re.DOTALL)
        )
    }
    ours, others = flags_of_toprung(), set().union(*FOREIGN.values())
    assert not {flag: page for flag, page in mentioned.items() if flag not in ours | others}
    assert not others - set(mentioned) - ours, "the list of other programs' flags has some that no page mentions"


def test_every_extra_is_real() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        extra
        for path in PAGES
        for each in re.findall(r"toprung\[([\w,-]+)\]", path.read_text())
        for extra in each.split(",")
    }
    assert named >= {"export", "postgres", "yolo"}
    assert named <= set(extras)


@pytest.mark.parametrize("path", [path for path in PAGES if path.parent != ROOT / "docs"], ids=names)
def test_every_link_to_a_file_leads_somewhere(path: Path) -> None:
    """The links within docs/ are left to mkdocs."""
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", path.read_text()) if "://" not in link]
    assert not [link for link in links if not (path.parent / link).exists()]


def test_the_table_of_contributing_names_files_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text[text.index("| to change |") : text.index("## Prove it")]
    paths = {path for path in re.findall(r"`([^`]+)`", table) if re.search(r"[/.]", path) and "<" not in path}
    assert len(paths) > 30
    assert not [path for path in paths if not (ROOT / path).exists()]


# docs/troubleshooting.md

CASES = re.findall(r"^```console\n\$ (.+)\n(.+)\n```", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)


@pytest.fixture
def home(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the data and experiments that the commands on the page name."""
    places = {
        "flat": ["a.png"],
        "few": ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"],
        "broken": ["cat/2.png", "cat/3.png", "cat/4.png", "dog/1.png", "dog/2.png", "dog/3.png"],
    }
    for number, file in enumerate(f"{folder}/{file}" for folder, files in places.items() for file in files):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number * 9).save(tmp_path / file)
    (tmp_path / "broken/cat/1.jpg").write_text("no image")
    shutil.copytree(ROOT / "tests/experiments/made_by_0_1", tmp_path / "results/first")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv("TOPRUNG_OUT", raising=False)
    return tmp_path


@pytest.mark.parametrize(("command", "message"), CASES, ids=[command for command, _ in CASES])
def test_messages_are_those_of_the_page(
    command: str, message: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *arguments = shlex.split(command)
    assert program == "toprung"
    try:
        code = main(arguments)
    except SystemExit as error:  # argparse
        code = int(error.code or 0)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert (code, said.replace(str(home), "/home/me")) == (2, message)


# the site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, check=True, capture_output=True, timeout=250,
    )  # fmt: skip
    return folder


def loaded_from_elsewhere(folder: Path) -> list[str]:
    """List the resources that a browser would fetch from another host to show the pages, links excluded."""
    fetched = []
    for page in folder.rglob("*.html"):
        tags = re.findall(r"<(?:script|link|img|iframe|source|video|audio|form)\b[^>]*>", page.read_text())
        fetched += [tag for tag in tags if re.search(r"""(?:src|srcset|href|action)\s*=\s*["']?(?:https?:)?//""", tag)]
    for sheet in folder.rglob("*.css"):
        fetched += re.findall(r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^)"']*""", sheet.read_text())
    return fetched


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {page.stem for page in site.glob("*.html")} - {"404"}
    assert pages == {page.stem for page in ROOT.glob("docs/*.md")}
    assert loaded_from_elsewhere(site) == []


def test_what_a_site_loads_from_elsewhere_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<link rel="stylesheet" href="https://fonts.example/a.css"><a href="https://b/">'
    )
    (tmp_path / "a.css").write_text("@font-face { src: url(//fonts.example/b.woff2) }")
    assert len(loaded_from_elsewhere(tmp_path)) == 2


def test_the_reference_has_the_public_names_with_their_attributes(site: Path) -> None:
    page = (site / "api.html").read_text()
    for name in ("tune.api.search", "tune.api.Result.predict", "search_spaces.Float", "trainables.training.fit"):
        assert f'id="{name}"' in page, name
    assert not re.findall(r"<b>\w+,</b>|\w+,</code>", page), "an entry of a docstring names two attributes"


# versions


def test_the_version_is_set_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "tune.version.__version__"}
    for path in (
        path for package in ("search_spaces", "trainables", "tune") for path in (ROOT / package).rglob("*.py")
    ):
        assert 'version("toprung")' not in path.read_text(), f"{path}: of a checkout, metadata may be older"


def test_the_changelog_has_the_version_with_its_date() -> None:
    released = re.findall(
        r"^## (\d+\.\d+\.\d+) - (\d{4}-\d{2}-\d{2})$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert released[0][0] == __version__


def test_workflows_call_make_alone_and_say_that_they_are_unverified() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    (file,) = (ROOT / ".github" / "workflows").glob("*.yml")
    assert "Unverified" in file.read_text().splitlines()[0]
    steps = [
        step["run"]
        for job in yaml.safe_load(file.read_text())["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    made = {step.split()[1] for step in steps if step.startswith("make ")}
    assert made <= targets
    assert made >= {"check", "test-unit", "test-integration", "test-lowest", "docs"}
