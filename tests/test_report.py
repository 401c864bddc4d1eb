"""The HTML report: what is on it, that it asks nobody for anything, and, where there is a Chromium, that it works."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from pyscore import report, report_plots
from pyscore.bench import record
from pyscore.bench.record import Row
from pyscore.bench.tables import slope
from pyscore.cli.app import main
from pyscore.errors import DataUnavailable
from pyscore.report_plots import inline_svg, rates, scaling

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


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
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids)), "identifiers of inlined figures do not meet"


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


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def test_tables_sort_and_the_theme_turns_in_a_browser(results, tmp_path, browser):
    target = tmp_path / "r.html"
    report.write_report(results, target)
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="light")
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(target.as_uri())
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
