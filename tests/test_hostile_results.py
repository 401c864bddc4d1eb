"""Results folders that somebody else wrote: the report opened in Chromium, and every reader of them, hear and run nothing."""

import json
import os
import re
from pathlib import Path

import pytest
from browsing import chromium, listener
from test_terminal import HOSTILE, obeyed

from pyscore.bench import record, report
from pyscore.bench.record import Row

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
    import pandas as pd

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
                 "deep.json: it nests", "pipe.json: it must be a plain file", "$\\frac{$"):  # fmt: skip
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
