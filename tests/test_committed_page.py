"""The page that is committed is what the committed tables give."""

from pathlib import Path

from command_line import run

DOCS = Path(__file__).parents[1] / "docs"


def test_results_page(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PYSCORE_DATA", str(tmp_path))  # no dataset is needed
    page = DOCS / "results.md"
    status, _, err = run(capsys, "results", "--from-summary", DOCS / "results", "-o", page, "--check")
    assert status == 0, err
