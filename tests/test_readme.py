"""The README's Python runs, and its tables are those of the code."""

import re
from pathlib import Path

import pytest

from pyscore.backends import BACKENDS
from pyscore.scoring.scores import SCORES

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_blocks_run(block, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    for shown in re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE):
        assert shown in printed


def test_what_the_readme_prints_is_compared():
    assert "# ['log_likelihood', 'log_prior', 'decoder_volume']" in README


def test_the_table_of_scores_is_complete():
    rows = re.findall(r"^\| \**`(\w+)`\** \|.*\| ([^|]+) \| ([^|]+) \|$", README, re.MULTILINE)
    shown = {name: (equation.strip(), original.strip().strip("`")) for name, equation, original in rows}
    assert {n: shown[n] for n in SCORES} == {n: (s.equation, s.original) for n, s in SCORES.items()}


def test_the_table_of_backends_is_complete():
    shown = re.search(r"## Backends\n(.*?)\n## ", README, re.DOTALL).group(1)
    assert set(re.findall(r"^\| `(\w+)` \|", shown, re.MULTILINE)) == set(BACKENDS)


def test_both_commands_are_shown():
    assert "make demo" in README
    assert "make test" in README
