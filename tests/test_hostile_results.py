"""Results folders that somebody else wrote: the report opened in Chromium, and every reader of them, hear and run nothing."""

import copy
import html
import json
import math
import os
import random
import re
import shutil
import warnings
from pathlib import Path

import pandas as pd
import pytest
from browsing import chromium, listener
from command_line import run
from test_terminal import HOSTILE, obeyed

from pyscore._core.markdown import markdown_table
from pyscore._core.plain_files import MOST_DEPTH, read_json, read_plain
from pyscore._core.text import one_line
from pyscore.bench import record, report, tables
from pyscore.bench.compare import compare
from pyscore.bench.record import Row
from pyscore.bench.report_plots import inline_svg, rates
from pyscore.errors import InvalidInput
from pyscore.experiment.result_tables import slug
from pyscore.scoring.plots import plot_explanation, save_figure

ROOT = Path(__file__).parents[1]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9" {}>{}</svg>'
RUN = "window.ran=1;fetch('{at}/run')"


def attacks(at):
    """SVG files, by name, that run script, call `at` or cover the page where they are made part of it."""
    run_it = RUN.format(at=at)
    inner = {
        "script": f"<script>{run_it}</script>",
        "upper": f"<SCRIPT>{run_it}</SCRIPT>",
        "onload": f'<g onload="{run_it}"/>',
        "upper-onload": f'<g ONLOAD="{run_it}"/><set ONBEGIN="{run_it}" attributeName="x" to="1"/>',
        "animate": f'<a><animate attributeName="href" values="javascript:{run_it}"/><text y="9">click</text></a>',
        "handler": f'<animate onbegin="{run_it}" attributeName="x" dur="1s"/>',
        "foreign": f'<foreignObject><iframe xmlns="http://www.w3.org/1999/xhtml" srcdoc="&lt;script&gt;{run_it}&lt;/script&gt;"/></foreignObject>',
        "image": f'<image href="{at}/image" width="9" height="9"/><image xlink:href="{at}/ximage" width="9" height="9"/>',
        "use": f'<use href="{at}/use#a"/>',
        "upper-url": f'<rect width="9" height="9" fill="URL({at}/url)" style="fill: UrL({at}/style-url)"/>',
        "image-set": f'<rect width="9" height="9" style="background:image-set(\'{at}/set\' 1x);mask-image:-webkit-image-set(\'{at}/wset\' 1x)"/>',
        "filter": f'<filter id="f"><feImage href="{at}/fe"/></filter><rect width="9" height="9" filter="url(#f)"/>',
        "style": f"<style>@import '{at}/import'; * {{ background: url({at}/sheet) }}</style>",
        "cursor": f'<g style="cursor: url({at}/cursor), auto"><rect width="9" height="9"/></g>',
        "fixed": '<rect width="9" height="9" style="position:fixed;inset:0;z-index:99"/>',
        "deep": "<g>" * 150 + "</g>" * 150,
        "link": f'<a href="javascript:{run_it}"><rect width="9" height="9"/></a>',
    }
    found = {name: SVG.format("", text) for name, text in inner.items()}
    found["root"] = SVG.format(
        f'onload="{run_it}" ONLOAD="{run_it}" style="position:fixed;top:0;left:0;width:100vw;height:100vh"', ""
    )
    found["sheet"] = f'<?xml-stylesheet href="{at}/pi"?>' + SVG.format("", "")
    found["entity"] = f'<!DOCTYPE svg [<!ENTITY x SYSTEM "{at}/entity">]>' + SVG.format("", "<text>&x;</text>")
    found["doctype"] = f'<!DOCTYPE svg SYSTEM "{at}/dtd">' + SVG.format("", "")
    found["too-deep"] = SVG.format("", "<g>" * 100_000 + "</g>" * 100_000)
    return found


def names(at):
    """Texts that a page must show as text."""
    run_it = RUN.format(at=at)
    return [
        f"<script>{run_it}</script>", f'"><img src=x onerror="{run_it}">', f"<svg/onload={run_it}>", "</title><h1>", "</script><b>",
        f"`<img src={at}/code onerror={run_it}>`", "{{ 7*7 }}", "{% raw %}", "<!-- policy -->", "$\\frac{$", "$x$", "\u202eevil",
        f"url({at}/name)", f"javascript:{run_it}", f"![i]({at}/md)", *HOSTILE[:-1],
    ]  # fmt: skip


def hostile_folder(folder, at):
    experiment = folder / "results"
    experiment.mkdir(parents=True)
    for name, text in attacks(at).items():
        (experiment / f"{name}.svg").write_text(text)
    (experiment / "summary.json").write_text("{}")
    every = names(at)
    frame = pd.DataFrame({f"{name}{i}": [name, "x"] for i, name in enumerate(every)})
    frame.to_csv(experiment / "auc.csv", index=False)
    (folder / "secret").write_text("c\nROOTPASSWORD\n")
    (experiment / "verdicts.csv").symlink_to(folder / "secret")
    rows = [
        Row(
            "kernels", name, f"{name} other", [1.0, 2.0], base=True, unit=f"{name}", notes=name, facts={name: name}
        )
        for name in every
    ]
    rows += [
        Row("scaling", name, name, [0.1 * s], unit="row", facts={"sweep": name, "size": s})
        for name in every[:6]
        for s in (10,)
    ]
    measured = record.describe(rows, every[0], {"asked": 2}, not_measured=every)
    measured.machine.update(processor=every[1], gpu=every[2])
    measured.versions.update({name: name for name in every})
    record.write(folder / "m.json", measured)
    check = {"function": every[0], "backend": every[1], "dtype": every[2], "ok": False, every[1]: every[1]}
    (folder / "v.json").write_text(json.dumps({"rows": [check], "bit_equal": {every[0]: every}}))
    (folder / "<img src=x onerror=alert(1)>.json").write_text("{")
    (folder / "deep.json").write_text("[" * 100_000)
    os.mkfifo(folder / "pipe.json")
    return folder


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def looked_at(browser, path):
    """Open a page, scroll, click and hover everywhere; returns it."""
    page = browser.new_page(viewport={"width": 900, "height": 700})
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(path.as_uri())
    page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.mouse.click(450, 350)
    page.wait_for_timeout(500)
    return page


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
def test_a_hostile_folder_runs_nothing_and_calls_nobody(browser, tmp_path):
    with listener() as (at, heard):
        folder = hostile_folder(tmp_path / "folder", at)
        text = report.write_report(folder, tmp_path / "r.html")
        page = looked_at(browser, tmp_path / "r.html")
        page.locator("#theme").click()
        assert page.evaluate("window.ran") is None
        assert not heard
        frames = [frame.url for frame in page.frames]
        assert frames == [(tmp_path / "r.html").as_uri()], "no frame of others"
        cover = page.evaluate(
            "[...document.querySelectorAll('body *')].filter(e => getComputedStyle(e).position === 'fixed').length"
        )
        assert cover == 0
        assert page.evaluate("document.title").startswith("pyscore: folder")
    assert not obeyed(text)
    assert "ROOTPASSWORD" not in text
    shown = page.evaluate("document.body.innerText")
    for said in ("verdicts.csv (it is a symbolic link", "entity.svg (a figure must define no entities", "too-deep.svg (a figure must nest",
                 "deep.json: it nests", "pipe.json: it is a pipe", "$\\frac{$"):  # fmt: skip
        assert said in shown, said


def test_the_listener_hears_an_unprotected_page(browser, tmp_path):
    with listener() as (at, heard):
        text = "<!doctype html><body>" + attacks(at)["root"] + attacks(at)["image"]
        (tmp_path / "open.html").write_text(text)
        page = looked_at(browser, tmp_path / "open.html")
        assert page.evaluate("window.ran") == 1
        assert {line.split()[1] for line in heard if " " in line} >= {"/run", "/image"}


def test_the_policy_of_the_page_stops_what_gets_past_everything_else(browser, tmp_path):
    """As if escaping had failed: raw attacks in the body of a real report."""
    with listener() as (at, heard):
        text = report.build_report(tmp_path)
        raw = "".join(
            attacks(at)[name] for name in ("script", "onload", "image", "style", "use", "filter", "foreign")
        )
        raw += f'<img src={at}/img><script src="{at}/js"></script><link rel=stylesheet href="{at}/css"><iframe src="{at}/frame"></iframe>'
        raw += f'<p style="background:url({at}/bg)">x</p><form action="{at}/form"><button id=go>go</button></form><base href="{at}/">'
        (tmp_path / "r.html").write_text(text.replace("<main>", "<main>" + raw))
        page = looked_at(browser, tmp_path / "r.html")
        page.evaluate("document.getElementById('go').click()")
        page.wait_for_timeout(300)
        assert page.evaluate("window.ran") is None
        # Chromium may open a connection ahead of what it then is not allowed to ask.
        assert set(heard) <= {"connected"}, heard
        before = page.evaluate("document.documentElement.dataset.theme")
        page.evaluate("document.getElementById('theme').click()")
        assert page.evaluate("document.documentElement.dataset.theme") != before, "our own script runs"


def test_a_policy_is_there_and_allows_only_our_script(tmp_path):
    text = report.build_report(tmp_path)
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)[1]
    assert text.index("Content-Security-Policy") < text.index("<style>")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert re.fullmatch(r"'sha256-[\w+/=]+'", rules["script-src"])
    assert "connect-src" not in rules


# ── files of the right shape with wrong leaves ──

ODD = [
    None, True, -1, 0, 10**400, -(10**400), 1e308, 5e-324, math.nan, math.inf, "", "x", "\udc80", "\x1b[2J", "$\\frac{$", [], {}, [[]], "a" * 20_000,
]  # fmt: skip
"""What is put in the place of every value of a file."""


def places(value, path=()):
    """Every place of a JSON value, its inner ones, too."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    value = copy.copy(value)
    value[path[0]] = changed(value[path[0]], path[1:], new)
    return value


def small_record(tmp_path):
    rows = [
        Row("kernels", "w", "kernel", [0.5, 0.6], base=True, error=1.0, count=10, unit="row", notes="n"),
        Row(
            "datasets",
            "iris: proposed",
            "numpy",
            [0.5],
            base=True,
            unit="row",
            facts={"auc": 0.9, "memory_mb": 3.0},
        ),
        Row(
            "datasets",
            "iris: proposed",
            "numba",
            [0.1],
            unit="row",
            facts={"auc": 0.8, "auc equal": False, "ranks equal": False},
        ),
        Row("peers", "iris: rows", "pyscore", [0.5], base=True, facts={"dataset": "iris", "auc": 0.9}),
        Row("scaling", "s", "numba", [0.001], base=True, target=2.0, facts={"sweep": "n", "size": 1}),
    ]
    found = record.describe(
        rows, "c", {"asked": 2}, compile_seconds={"k": {"compiled": 1.0, "cached": 0.1}}, not_measured=["x"]
    )
    record.write(tmp_path / "m.json", found)
    return json.loads((tmp_path / "m.json").read_text())


@pytest.mark.filterwarnings("ignore")
def test_every_wrong_leaf_of_measurements_is_named_or_shown(tmp_path):
    content = small_record(tmp_path)
    refused, kept = 0, []
    for path in places(content):
        for odd in ODD:
            mutated = changed(content, path, odd)
            try:
                found = record.of_json(mutated, "m.json")
            except InvalidInput as error:
                refused += str(error).startswith("`m.json`")
                continue
            text = tables.render(found) + tables.markdown_block(found)
            assert not obeyed(tables.markdown_block(found)), (path, odd)
            assert len(text) > 100
            compare(found, found)
            kept.append(mutated)
    assert refused + len(kept) == sum(1 for _ in places(content)) * len(ODD), "each is refused by name, or shown"
    assert refused > 500
    assert len(kept) > 200
    (tmp_path / "m.json").unlink()
    for number, each in enumerate(random.Random(0).sample(kept, 12)):
        (tmp_path / f"{number}.json").write_text(json.dumps(each))
    page = report.build_report(tmp_path)
    assert "Files that were not used" not in page, page[-3000:]
    assert not obeyed(page)


@pytest.mark.parametrize(
    ("path", "odd", "said"),
    [
        (("rows", 0, "seconds"), 3, "`rows[0].seconds` must be a list"),
        (("rows", 0, "seconds", 1), 10**400, "`rows[0].seconds[1]` must be a number"),
        (("rows", 0, "seconds", 1), 0, "`rows[0].seconds[1]` must be a number at least 1e-12"),
        (("rows", 4, "facts"), {"sweep": "n"}, "`rows[4].facts` must be an object that has 'size' beside 'sweep'"),
        (("rows", 1), "copy", "`rows[1]` must be an object with suite, work, contestant, seconds; got 'copy'"),
        (("machine", "threads"), [], "`machine.threads` must be an object"),
        (("compile_seconds", "k", "cached"), "0.1", "`compile_seconds.k.cached` must be a number"),
        (("date",), 5, "`date` must be text"),
    ],
)
def test_the_message_names_file_and_field(tmp_path, capsys, path, odd, said):
    (tmp_path / "m.json").write_text(json.dumps(changed(small_record(tmp_path), path, odd)))
    for arguments in (["compare", "M", "M"], ["merge", "M", "-o", tmp_path / "o.json"], ["table", "M"]):
        status, _, err = run(capsys, "bench", *[tmp_path / "m.json" if a == "M" else a for a in arguments])
        assert status == 2
        assert f"m.json` is a damaged file of measurements: {said}" in err.replace("\n", " ")


def test_two_rows_of_the_same_work_and_contestant_are_refused(tmp_path):
    content = small_record(tmp_path)
    content["rows"].append(content["rows"][0])
    with pytest.raises(InvalidInput, match=r"rows\[5\]` must be other work"):
        record.of_json(content, "m.json")


STORED = {
    "grid": {"name": "g"},
    "datasets": ["d"],
    "splits": [0],
    "stacks": ["d-easy-s"],
    "options": {"steps": 1},
    "notes": {},
}


def test_every_wrong_leaf_of_a_manifest_is_named_or_shown(tmp_path, capsys):
    content = {"runs": {"k" * 16: STORED}}
    refused = 0
    for path in places(content):
        for odd in ODD:
            (tmp_path / "manifest.json").write_text(json.dumps(changed(content, path, odd)))
            status, out, err = run(capsys, "reproduce", "--status", "-o", tmp_path)
            assert status in (0, 2), (path, odd, err)
            assert not obeyed(out + err)
            assert status == 0 or "manifest" in err
            refused += status == 2
    assert refused > 100
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    status, _, err = run(capsys, "reproduce", "--status", "-o", tmp_path)
    assert status == 2
    assert f"nests more than {MOST_DEPTH} levels" in err.replace("\n", " ")


def test_only_plain_files_are_read(tmp_path):
    (tmp_path / "t").write_text("{}")
    (tmp_path / "l").symlink_to(tmp_path / "t")
    os.mkfifo(tmp_path / "p")
    assert read_plain(tmp_path / "l") == b"{}"
    for name, follow, said in (("l", False, "symbolic link"), ("p", True, "plain file"), (".", True, "Is a directory"), ("none", True, "No such"),
                               ("a\0b", True, "name")):  # fmt: skip
        with pytest.raises(InvalidInput, match=said):
            read_plain(tmp_path / name, follow=follow)
    with pytest.raises(InvalidInput, match="at most 1 are read"):
        read_plain(tmp_path / "t", most=1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[" * 40 + b"]" * 40, "nests more"), (b"[" * 100_000, "nests more"), (b'{"a": 1, "a": 2}', "twice"), (b"\xff", "UTF-8"), (b"{", "not JSON"),
        (b"1" * 5000, "not JSON that can be used"), (b"", "not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(tmp_path, text, said):
    (tmp_path / "t").write_bytes(text)
    with pytest.raises(InvalidInput, match=said):
        read_json(tmp_path / "t")


# ── tables of the results page ──


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (
            "selected",
            "EXACT,corrected",
            "<b>,corrected",
            "column `convention` must be a convention, ORIGINAL or EXACT; line 2",
        ),
        ("selected", "0.9406968124536694", "1.5", "column `auc_test` must be between 0 and 1; line 2 has '1.5'"),
        ("selected", "dataset,split", "data,split", "lacks the column(s) dataset"),
        ("runs", "breast-cancer-wisconsin,0", ",0", "column `dataset` is empty in line 2"),
        ("runs", "breast-cancer-wisconsin,0", "breast-cancer-wisconsin,x", "it is not a table"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path, name, old, new, said, capsys):
    folder = tmp_path / "results"
    shutil.copytree(ROOT / "docs" / "results", folder, ignore=shutil.ignore_patterns("*.svg", "*.png"))
    text = (folder / f"{name}.csv").read_text()
    assert old in text
    (folder / f"{name}.csv").write_text(text.replace(old, new, 1))
    status, _, err = run(capsys, "results", "--from-summary", folder, "-o", tmp_path / "r.md")
    assert status == 2
    assert f"{name}.csv" in err
    assert said in err.replace("\n", " ")


def test_names_in_markdown_are_text():
    hostile = [
        "<script>1</script>",
        "[a](javascript:1)",
        "![i](http://x/)",
        "<img src=x>",
        "a{: onclick=x }",
        "&#60;b>",
        "<!-- bench: end -->",
        "a|b",
        "a\nb",
    ]
    text = markdown_table(pd.DataFrame({name: [name] for name in hostile}))
    assert len(text.splitlines()) == 3
    assert not re.search(r"<[a-z!]|\]\(|\{:|&#60;", text)
    assert markdown_table(pd.DataFrame({"a": ["**b** `c` p < 0.05 [31]"]})).endswith("| **b** `c` p < 0.05 [31] |")


def test_a_name_is_no_path():
    for name in ("/../../../tmp/x", "..", "a/b\\c", "é\x1b", "x" * 5000):
        assert re.fullmatch(r"[a-z0-9-]{0,120}", slug(name))
    assert slug("x" * 500) != slug("x" * 501)
    assert slug("ORIGINAL / EXACT") == "original-exact"


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
@pytest.mark.parametrize("name", ["$\\frac{$", "$x$", "a\x1bb", "_hidden", "\\$", "$", "\u202e", "a\nb"])
def test_names_in_figures_are_text(tmp_path, name):
    lines = pd.DataFrame({
        "row": [0, 0], "feature": [name, "b"], "value": [1.0, 2.0], "expected": [0.0, 0.0], "residual": [1.0, 2.0], "sigmas": [1.0, 2.0],
        "contribution": [0.5, 2.0], "log_likelihood": [-1.0, -1.0], "score": [-1.0, -1.0],
    })  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        save_figure(plot_explanation(lines), tmp_path / "f.svg")
        svg = inline_svg(rates([Row("s", name, name, [1.0, 2.0], unit="row")], name), "f", name)
    assert not obeyed(svg)
    shown = re.sub(r"\s+", " ", html.unescape(svg))
    assert shown.count(one_line(name)) >= 3, "work, contestant and title, as text"
