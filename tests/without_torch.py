"""PYSCORE_WITHOUT_TORCH=1 runs the tests where there is no torch, and counts what that leaves out.

Left out are the files that import torch, or what needs it, at their top, and the tests that end in a missing torch. Where torch
is there the variable is an error, and without the variable a missing torch is a failure like any other: nothing is skipped that
could have run.
"""

import importlib.util
import os

import pytest

from pyscore.errors import BackendUnavailable

WANTED = os.environ.get("PYSCORE_WITHOUT_TORCH") == "1"
NAMED = ("No module named 'torch'", "needs PyTorch")
files: list[str] = []
tests: list[str] = []


def missing(error):
    """Whether an exception says that torch is not there, or shows a command's message that does."""
    if isinstance(error, AssertionError) and any(text in str(error) for text in NAMED):
        return True
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name == "torch":
            return True
        if isinstance(error, BackendUnavailable) and "torch" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def pytest_configure(config):
    if WANTED and importlib.util.find_spec("torch") is not None:
        raise pytest.UsageError("PYSCORE_WITHOUT_TORCH=1, but torch is installed: these tests could run.")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    wanting = any(text in str(report.longrepr) for text in NAMED)
    if WANTED and report.outcome == "failed" and isinstance(collector, pytest.Module) and wanting:
        files.append(collector.nodeid)
        report.outcome, report.longrepr, report.result = "passed", None, []
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if WANTED and report.outcome == "failed" and call.excinfo is not None and missing(call.excinfo.value):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1], "Skipped: needs torch")
        tests.append(item.nodeid)
    return report


def pytest_terminal_summary(terminalreporter):
    if WANTED:
        terminalreporter.section("left out for want of torch")
        terminalreporter.write_line(f"{len(files)} files: {', '.join(files)}")
        terminalreporter.write_line(f"{len(tests)} tests of other files")
