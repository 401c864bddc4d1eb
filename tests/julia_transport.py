"""The transport that the Julia tests use: the `julia` executable, or juliacall where PYSCORE_JULIA_TRANSPORT says so."""

import os
import shutil
import time
from pathlib import Path

TRANSPORT = os.environ.get("PYSCORE_JULIA_TRANSPORT", "executable")
"""``"juliacall"`` needs a Julia ≥ 1.10 that juliacall knows: see tests/julia/with_juliacall.sh."""
JULIA = shutil.which("julia")
"""The executable of the tests of starting it."""


def here() -> bool:
    """Whether the transport has a Julia to run."""
    return TRANSPORT == "juliacall" or JULIA is not None


def gone(pid):
    """Whether the process has ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition):
    while not condition():
        time.sleep(0.02)
