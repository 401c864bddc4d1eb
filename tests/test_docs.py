"""The documentation: every block runs, every table is that of the code, every formula and command exists.

The blocks of a page run in order, Python in one namespace, in a folder of the page's own, with a few training steps.
Shell commands are parsed against the command line's own signatures; those that need neither network nor minutes run.
"""

import importlib.util
import re
import shlex
from pathlib import Path
from pkgutil import resolve_name

import pytest

from pyscore.cli.app import app, main
from pyscore.convention import Convention
from pyscore.detectors.svae import SVAEDetector
from pyscore.scoring.scores import SCORES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GENERATED = {"unreliable/report.md"}
"""Written by commands beside their tables; not a page."""
PAGES = sorted({path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - GENERATED)
BLOCK = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"python", "sh", "julia"}
STEPS = 30
RUN = {"fit", "score", "explain", "data list"}
"""Commands that run, with what the blocks before them have written; `evaluate` does where it is given a model."""


def load(name):
    specification = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made():
    return load("make_pages")


def blocks(page):
    return BLOCK.findall((DOCS / page).read_text())


def fewer(text):
    """The same code with a few training steps."""
    return re.sub(r"\bsteps=[\d_]+", f"steps={STEPS}", text)


# ── blocks ──


def test_every_block_says_what_it_is():
    for page in PAGES:
        assert {language for language, _ in blocks(page)} <= LANGUAGES, page
        assert (DOCS / page).read_text().count("```") == 2 * len(blocks(page)), page


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(SVAEDetector.__init__.__kwdefaults__, "steps", STEPS)
    names = {}
    for number, (language, text) in enumerate(blocks(page), 1):
        if language == "python":
            exec(compile(fewer(text), f"{page}, block {number}", "exec"), names)
        elif language == "sh":
            for line in text.splitlines():
                run_line(line)


def run_line(line):
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]  # a variable of the environment
    match words:
        case []:
            pass
        case ["pyscore", *arguments]:
            app.parse_args(arguments, exit_on_error=False, print_error=False)
            if is_cheap(arguments) and "--scheduler" not in arguments:
                with pytest.raises(SystemExit) as stop:
                    main(few_steps(arguments))
                assert stop.value.code in (0, None), line
        case ["make", *targets]:
            makefile = (ROOT / "Makefile").read_text()
            assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets), line
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module) is not None, line
        case ["python" | "sh", script, *_]:
            assert (ROOT / script).is_file(), line
        case ["pip", "install", *_]:
            assert words[2].startswith("pyscore-anomaly"), line
        case _:
            pytest.fail(f"unknown command: {line}")


def is_cheap(arguments):
    return bool(RUN & {arguments[0], " ".join(arguments[:2])}) or (
        arguments[0] == "evaluate" and "--model" in arguments
    )


def few_steps(arguments):
    """`fit` of a model with few steps, whatever the line says."""
    if arguments[0] != "fit" or "--detector" not in arguments:
        return arguments
    if "--steps" in arguments:
        place = arguments.index("--steps")
        arguments = arguments[:place] + arguments[place + 2 :]
    return [*arguments, "--steps", str(STEPS)]


@pytest.mark.parametrize(
    "line", ["pyscore fit", "pyscore fit a.csv --stepz 3", "pyscore score m t --backend", "make nothing", "ls"]
)
def test_a_wrong_line_is_found(line):
    with pytest.raises(BaseException):  # noqa: B017, PT011 (cyclopts', pytest's or an assertion)
        run_line(line)


# ── tables, links, formulas ──


NAMES = {"points", "scores", "demo", "datasets", "others", "conventions", "backends", "rooms", "twins"}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_tables_are_those_of_the_code(made, name):
    assert made.committed(name) == made.TABLES[name][1]()


def test_every_table_is_tested(made):
    marked = {
        name for page in PAGES for name in re.findall(r"<!-- (\S+): made by make_pages", (DOCS / page).read_text())
    }
    assert marked == set(made.TABLES) == NAMES


def test_all_fields_and_scores_are_explained():
    julia, scores = (DOCS / "julia.md").read_text(), (DOCS / "scores.md").read_text()
    assert all(f"| `{field}` |" in julia for field in Convention.fields())
    assert all(f"| `{name}` |" in scores for name in SCORES)


def test_pictures_are_there():
    for page in PAGES:
        for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", (DOCS / page).read_text()):
            assert ((DOCS / page).parent / target).is_file(), f"{page}: {target}"


def test_every_page_is_in_the_navigation():
    shown = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text().split("\nnav:")[1]))
    assert shown == set(PAGES)


def test_every_documented_object_exists():
    for page in PAGES:
        for name in re.findall(r"^::: (\S+)", (DOCS / page).read_text(), re.MULTILINE):
            assert exists(name), f"{page}: {name}"


def exists(name):
    """Whether it is a module, or an attribute of one."""
    try:
        return resolve_name(name) is not None
    except (ImportError, AttributeError):
        return False
