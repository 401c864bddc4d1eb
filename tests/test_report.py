"""The HTML report: what is on it, that it asks nobody for anything, and, where there is a Chromium, that it works."""

import html
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree.ElementTree import fromstring

import numpy as np
import pandas as pd
import pytest
from browsing import chromium

from pyscore.bench import record, report, report_plots
from pyscore.bench.record import Row
from pyscore.bench.report_plots import check_svg, element, inline_svg, rates, scaling
from pyscore.bench.tables import slope
from pyscore.cli.app import main
from pyscore.errors import DataUnavailable, InvalidInput

ROOT = Path(__file__).parents[1]
MEASURED, EXPERIMENT = ROOT / "bench" / "results.json", ROOT / "docs" / "results"
"""What is committed."""


class Page(HTMLParser):
    """Tags with attributes, and the text of the page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self.open and "script" not in self.open:
            self.text += data


def check_identifiers(page):
    """Each is there once, and what is referred to is there."""
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids)), sorted({each for each in ids if ids.count(each) > 1})[:9]
    referred = set()
    for _, attrs in page.tags:
        for key, value in attrs.items():
            referred.update(re.findall(r"url\(#([^)]+)\)", value or ""))
            if key.endswith("href") and value.startswith("#"):
                referred.add(value[1:])
            if key in ("aria-labelledby", "aria-describedby"):
                referred.update(value.split())
    assert referred <= set(ids), sorted(referred - set(ids))[:9]


def rows(**more):
    base = Row(
        "kernels", "w", "kernel", [0.002, 0.0021, 0.0022], base=True, error=1.0, count=10, unit="row", **more
    )
    return [base, Row("kernels", "w", "<other>", [0.9, 1.0, 1.1], target=900.0, count=10, unit="row")]


@pytest.fixture
def results(tmp_path):
    """A folder with one file of each kind, and a foreign one."""
    folder = tmp_path / "results"
    (folder / "experiment").mkdir(parents=True)
    measured = record.describe(rows(), "pyscore bench kernels", {"asked": 2}, not_measured=["jax: not installed"])
    record.write(folder / "kernels.json", measured)
    check = {"function": "decode", "backend": "numba", "dtype": "float64", "error": 0.5, "bound": 8.0}
    failed = {**check, "function": "encode", "error": 9.0, "ok": False, "ulp": None}
    verify = {"pyscore": "0", "rows": [{**check, "ok": True, "ulp": None}, failed], "bit_equal": {"numba": []}}
    (folder / "verify.json").write_text(json.dumps(verify))
    (folder / "other.json").write_text("{}")
    (folder / "experiment" / "summary.json").write_text("{}")
    (folder / "experiment" / "auc.csv").write_text("setting,mean,splits\nORIGINAL,0.75,5\nEXACT,0.8125,5\n")
    (folder / "experiment" / "ranks.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    return folder


def test_everything_in_the_folder_is_on_the_page(results):
    text = report.build_report(results)
    page = Page(text)
    for said in ("kernels.json", "<other>", "476×!", "jax: not installed", "where 900 was asked for", "0.812",
                 "encode on numba float64", "other.json", "verdicts.csv", "Out of bounds"):  # fmt: skip
        assert said in page.text, said
    assert "<other>" not in text, "text of files is escaped"
    assert sum(tag == "table" for tag, _ in page.tags) == 3
    assert sum(tag == "caption" for tag, _ in page.tags) == 3
    heads = [attrs for tag, attrs in page.tags if tag == "th" and attrs.get("scope") == "col"]
    assert all(head["aria-sort"] == "none" for head in heads)
    assert "aria-sort" in text[text.index("<script>") :]
    check_identifiers(page)


def test_the_page_asks_nobody(results):
    page = Page(report.build_report(results))
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            address = attrs.get(name) or "#"
            assert address.startswith(("#", "data:")), (tag, address)
        assert not re.search(r"url\((?!#|'#|\"#)", attrs.get("style") or "")
    text = report.build_report(results)
    style = text[text.index("<style>") : text.index("</style>")]
    script = text[text.rindex("<script>") :]
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|http", script)


def test_sections_without_files_say_so(tmp_path):
    page = Page(report.build_report(tmp_path))
    for said in ("No file of measurements here", "No summary of an experiment", "No table of pyscore verify"):
        assert said in page.text
    with pytest.raises(DataUnavailable, match="must be a folder"):
        report.build_report(tmp_path / "none")


def test_the_command_writes_it(results, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["report", str(results), "-o", str(tmp_path / "r.html")])
    assert stop.value.code == 0
    assert (tmp_path / "r.html").read_text() == report.build_report(results)
    assert "kilobytes" in capsys.readouterr().out


def test_the_slope_is_the_exponent():
    def sweep(power):
        return [
            Row("scaling", "w", "a", [1e-6 * n**power] * 3, facts={"sweep": "n", "size": n})
            for n in (10, 100, 1000)
        ]

    assert slope(sweep(2)) == pytest.approx(2)
    assert str(slope(sweep(1)[:2])) == "nan"
    assert "slope 1.50" in inline_svg(scaling(sweep(1.5), "n"), "s", "d")


def test_nine_contestants_look_different():
    assert len({report_plots._look(index) for index in range(20)}) == 20


def test_plots_take_their_colour_from_the_page():
    svg = inline_svg(rates(rows(), "t"), "plot", "described")
    assert svg.startswith('<svg role="img" aria-label="described"')
    assert "currentColor" in svg
    assert "<metadata" not in svg
    assert svg == inline_svg(rates(rows(), "t"), "plot", "described"), "equal measurements, equal bytes"


SMALL_VERIFY = {
    "function": "decode",
    "backend": "numba",
    "dtype": "float64",
    "error": 0.5,
    "bound": 8.0,
    "ok": True,
}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"rows": [{}], "bit_equal": {}}, "rows[0] must be an object with function, backend, dtype, ok"),
        ({"rows": [], "bit_equal": {}}, "rows must be a list of 1 to"),
        ({"rows": [1], "bit_equal": {}}, "rows[0] must be an object"),
        ({"rows": {"ok": True}, "bit_equal": {}}, "rows must be a list"),
        ({"rows": [{**SMALL_VERIFY, "ok": "no"}], "bit_equal": {}}, "rows[0].ok must be true or false; got 'no'"),
        ({"rows": [{**SMALL_VERIFY, "error": 10**400}], "bit_equal": {}}, "rows[0].error must be a number"),
        ({"rows": [{**SMALL_VERIFY, "more": {}}], "bit_equal": {}}, "rows[0].more must be a number"),
        ({"rows": [SMALL_VERIFY], "bit_equal": ["decode"]}, "bit_equal must be an object"),
        ({"rows": [SMALL_VERIFY], "bit_equal": {"numba": "decode"}}, "bit_equal.numba must be a list"),
    ],
)
def test_a_damaged_file_of_verify_is_named(tmp_path, content, said):
    (tmp_path / "v.json").write_text(json.dumps(content))
    page = Page(report.build_report(tmp_path))
    assert "v.json is a damaged file of pyscore verify" in page.text
    assert said in page.text


def test_a_damaged_file_of_measurements_is_named(tmp_path):
    record.write(tmp_path / "m.json", record.describe(rows(), "pyscore bench kernels", {"asked": 2}))
    content = json.loads((tmp_path / "m.json").read_text())
    machine = content["machine"]
    for part, said in (
        ("processor", "without processor"),
        (None, "machine must be an object"),
        (1, "cpus must be a whole number"),
    ):
        content["machine"] = part and {k: v for k, v in machine.items() if k != part} | (
            {"cpus": []} if part == 1 else {}
        )
        (tmp_path / "m.json").write_text(json.dumps(content))
        text = Page(report.build_report(tmp_path)).text
        assert "m.json is a damaged file of measurements" in text
        assert said in text


def test_damaged_files_of_an_experiment_are_named(results):
    (results / "experiment" / "auc.csv").write_text("")
    (results / "experiment" / "ranks.svg").write_text("<svg")
    text = Page(report.build_report(results)).text
    for said in (
        "Not here: verdicts.csv",
        "auc.csv (it is not a table: No columns",
        "ranks.svg (a figure must be well-formed SVG",
    ):
        assert said in text, said


def test_two_experiments_and_two_records_share_no_identifier(results):
    shutil.copytree(results / "experiment", results / "again" / "experiment")
    shutil.copy(results / "kernels.json", results / "kernels-2.json")
    page = Page(report.build_report(results))
    check_identifiers(page)
    assert "again/experiment" in page.text


FIGURE = """<?xml version="1.0"?><!DOCTYPE svg>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="72pt" height="36pt">
<metadata><x xmlns="http://example.org/" href="http://example.org/"/></metadata>
<defs><style type="text/css">*{stroke-linejoin: round; stroke-linecap: butt}</style>
<path id="m" d="M 0 0" style="stroke: #000000; fill: #ffffff"/><clipPath id="c"><rect width="9" height="9"/></clipPath></defs>
<g id="unused" clip-path="url(#c)"><use xlink:href="#m" style="stroke: #cccccc; fill: #0072b2"/></g></svg>"""


def test_a_figure_takes_the_colours_of_the_page_and_a_name():
    svg = element(fromstring(FIGURE), "f", 'a "b" <c>')
    page = Page(svg)
    check_identifiers(page)
    assert [attrs["id"] for _, attrs in page.tags if "id" in attrs] == ["f-m", "f-c"], "others are left out"
    assert dict(page.tags)["svg"]["aria-label"] == 'a "b" <c>'
    assert dict(page.tags)["svg"]["viewbox"] == "0 0 72 36"
    assert "stroke: currentColor; fill: var(--paper, #fff)" in svg
    assert "stroke: color-mix(in srgb, currentColor 20%, var(--paper, #fff)); fill: #0072b2" in svg
    assert not re.search("style>|metadata|http", svg)


SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">{}</svg>'
)


@pytest.mark.parametrize(
    "inner",
    [
        '<path d="M 0 0"/>', '<image href="data:image/png;base64,"/>', "<script>alert(1)</script>", '<g onclick="alert(1)"/>',
        '<use href="https://example.org/#a"/>', '<g style="fill: url(https://example.org)"/>', "<foreignObject/>",
        "<style>p { color: red }</style>", '<g ONLOAD="alert(1)"/>', '<rect style="position:fixed; inset:0"/>',
    ],
)  # fmt: skip
def test_a_figure_of_a_file_is_always_an_image(results, inner):
    (results / "experiment" / "ranks.svg").write_text(SVG.format(inner))
    (results / "kernels.json").unlink()
    text = report.build_report(results)
    assert inner not in text
    assert '<img alt="ranks" src="data:image/svg+xml;base64,' in text
    assert "<svg" not in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<svg", "well-formed"), ("<html/>", "an <svg> element"), ("", "well-formed"), ('<?xml version="1.0" encoding="odd"?><svg/>', "well-formed"),
        ('<!DOCTYPE svg [<!ENTITY a "b">]><svg/>', "no entities"), ("<svg>" + "<g>" * 100_000, "nest at most 200"), ("\x1b<svg/>", "well-formed"),
    ],
)  # fmt: skip
def test_what_is_no_svg_is_refused(text, said):
    with pytest.raises(InvalidInput, match=f"{said}.*Draw it again"):
        check_svg(text.encode())


def test_figures_of_matplotlib_are_svg():
    for path in EXPERIMENT.glob("*.svg"):
        check_svg(path.read_bytes())


@pytest.mark.parametrize(
    ("value", "text", "key"),
    [
        (-0.0004, "-0.0004", "-0.0004"), (3.1e-5, "3.1e-05", "3.1e-05"), (-0.0, "0", "-0.0"), (0.8125, "0.812", "0.8125"),
        (np.float64(1234), "1,234", "1234.0"), (1e300, "1e+300", "1e+300"),
        (math.inf, "inf", "Infinity"), (-math.inf, "-inf", "-Infinity"), ("inf×", "inf×", "Infinity"),
        ("-inf", "-inf", "-Infinity"), ("1,060,000 rows/s~", "1,060,000 rows/s~", "1060000.0"),
        (math.nan, "–", None), (np.float32("nan"), "–", None), (pd.NA, "–", None), (None, "–", None),
        ("nan", "–", None), ("–", "–", None), (",", ",", None), ("infinite", "infinite", None),
    ],
)  # fmt: skip
def test_what_a_cell_shows_and_is_sorted_by(value, text, key):
    cell = report._cell(value, short=False)
    assert cell.text == text
    assert (None if cell.value is None else cell.key) == key


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The page of everything that is committed, and of a file of verify."""
    folder = tmp_path_factory.mktemp("full")
    shutil.copy(MEASURED, folder)
    shutil.copytree(EXPERIMENT, folder / "results")
    equal = {"numba": ["decode"]}
    (folder / "verify.json").write_text(json.dumps({"rows": [SMALL_VERIFY] * 3, "bit_equal": equal}))
    report.write_report(folder, folder / "r.html")
    return folder / "r.html"


def test_the_full_page_begins_with_the_ratios(full):
    text = full.read_text()
    page = Page(text)
    check_identifiers(page)
    found = record.read(MEASURED)
    body = page.text[page.text.index("In short\n") :]
    order = ["Medians, and ranges", "Where we lose", "Machine, versions and commands", "proposed on each dataset, times",
             "Times as fast as NumPy, median over", "all 840 rows", "how many times as fast ours is", "AUC on the test rows",
             "from the cache", "The paper's claims"]  # fmt: skip
    places = [body.index(each) for each in order]
    assert places == sorted(places)
    shown = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", re.findall(r"<tbody>.*?</tbody>", text, flags=re.DOTALL)[0])
    wanted = report.pivots.headlines(found).to_numpy().ravel()
    assert [html.unescape(re.sub("</?code>", "`", cell)) for cell in shown] == list(wanted), "the first table"
    assert '<td class="right">equal</td>' in text, "words in a column of numbers stand below them"
    for kernel in found.compile_seconds:
        assert f'<th scope="row">{kernel}</th>' in text
    for loss in report.tables.losses(found):
        assert loss in page.text
    folded = re.findall(r"<details(.*?)><summary>(.*?)</summary>", text)
    assert ["open" in attributes for attributes, _ in folded] == [False] * len(folded)
    assert all(len(table.split("<tr>")) - 2 <= report.LONG for table in unfolded_tables(text))


def unfolded_tables(text):
    outside = re.sub(r"<details.*?</details>", "", text, flags=re.DOTALL)
    return re.findall(r"<table>.*?</table>", outside, flags=re.DOTALL)


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def opened(browser, path, scheme):
    """The page on a phone, and what it says on the console and asks for from now on."""
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page.set_default_timeout(0)  # the suite's own limit ends what hangs
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    return page, said, asked


def test_tables_sort_and_the_theme_turns_in_a_browser(results, tmp_path, browser):
    target = tmp_path / "r.html"
    report.write_report(results, target)
    page, said, asked = opened(browser, target, "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "a phone does not scroll sideways"
    table = page.locator("table").nth(1)
    head = table.locator("thead th", has_text="mean")
    head.locator("button").focus()
    for key, state, values in (
        ("Enter", "ascending", ["0.750", "0.812"]),
        ("Space", "descending", ["0.812", "0.750"]),
    ):
        page.keyboard.press(key)
        assert head.get_attribute("aria-sort") == state
        assert table.locator("tbody tr td:nth-child(2)").all_inner_texts() == values
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    assert page.locator("#theme").get_attribute("aria-pressed") == "true"
    assert not said
    assert all(url.startswith(("file:", "data:")) for url in asked)


SORT_ALL = """() => [...document.querySelectorAll("table")].flatMap(table => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  return [...table.tHead.rows[0].cells].flatMap((head, column) => head.classList.contains("number") ? [0, 1].map(() => {
    head.querySelector("button").click();
    return { state: head.ariaSort, keys: [...table.tBodies[0].rows].map(row => row.cells[column].dataset.value ?? null) };
  }) : []);
})"""


def ordered(keys, *, falling=False):
    """Keys as they must be sorted: numbers, then what is missing."""
    numbers = sorted((float(key) for key in keys if key is not None), reverse=falling)
    return numbers + [None] * keys.count(None)


def test_the_full_page_in_a_browser(full, browser):
    page, said, asked = opened(browser, full, "dark")
    dark = colours(page)
    page.emulate_media(color_scheme="light")
    light = colours(page)
    for scheme in (dark, light):
        assert abs(scheme["paper"] - scheme["line"]) > 100, "lines of the figures can be seen"
    assert dark["paper"] < 60 < 200 < light["paper"]
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    sorts = page.evaluate(SORT_ALL)
    assert len(sorts) > 100
    for index, each in enumerate(sorts):
        assert each["state"] == ("descending" if index % 2 else "ascending")
        found = [None if key is None else float(key) for key in each["keys"]]
        assert found == ordered(each["keys"], falling=index % 2)
    for width in (390, 1200):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "with all folds open"
    assert not said
    assert all(url.startswith(("file:", "data:")) for url in asked)


def colours(page):
    """Brightness of the page, and of the darkest-to-paper line of its figures' frames."""
    return page.evaluate("""() => {
      const bright = text => { const [r, g, b] = text.match(/[\\d.]+/g).map(Number); return (r + g + b) / 3; };
      const frame = document.querySelector('figure svg [style*="stroke: currentColor"]');
      return { paper: bright(getComputedStyle(document.body).backgroundColor), line: bright(getComputedStyle(frame).stroke) };
    }""")


def test_infinities_sort_to_the_ends_and_what_is_missing_last(results, tmp_path, browser):
    (results / "kernels.json").unlink()
    values = ["2", "inf", "", "-inf", "-0.0004", "inf", "10"]
    lines = "".join(f"s{i},{value}\n" for i, value in enumerate(values))
    (results / "experiment" / "auc.csv").write_text("setting,mean\n" + lines)
    (results / "experiment" / "verdicts.csv").write_text("claim,count\na,x\nb,\nc,w\n")
    report.write_report(results, tmp_path / "r.html")
    page = browser.new_page()
    page.set_default_timeout(0)
    page.goto((tmp_path / "r.html").as_uri())
    wanted = {"mean": ["-inf", "-0.0004", "2", "10", "inf", "inf", "–"], "count": ["w", "x", "–"]}
    for column, rising in wanted.items():
        table = page.locator("table", has=page.locator("thead th", has_text=column))
        for want in (rising, [*rising[-2::-1], "–"]):
            table.locator("thead th", has_text=column).locator("button").click()
            assert table.locator("tbody tr td:nth-child(2)").all_inner_texts() == want
