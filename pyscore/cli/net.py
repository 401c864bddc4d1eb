"""The net under every command: an error is a line on stderr and an exit status, never a traceback.

=======  ======================================================================
status   what happened
=======  ======================================================================
0        nobody reads stdout any more (``| head -1``): what was read was right
2        the command line, the input or the machine is at fault; the line says how
70       pyscore is at fault (EX_SOFTWARE); the lines say where to report it
130      Ctrl-C
=======  ======================================================================
"""

from __future__ import annotations

import traceback

from cyclopts.exceptions import CycloptsError

from pyscore._core.net import foreign_types, reason
from pyscore.cli import terminal
from pyscore.errors import PyscoreError

__all__ = ["CRASH", "REPORT", "status_of"]

CRASH = 70
"""Exit status of a fault of pyscore's own."""
REPORT = (
    "This is a fault of pyscore. Please report it in pyscore's issue tracker, with what the same command prints "
    "when --debug is added."
)


def status_of(error: BaseException, *, debug: bool) -> int:
    """Print what went wrong, with a traceback if `debug`, and return the exit status."""
    if debug:
        terminal.write_error("".join(traceback.format_exception(error)).rstrip("\n"))
    if isinstance(error, BrokenPipeError) and error.filename is None:
        terminal.drop_stdout()
        return 0
    notes = " ".join(getattr(error, "__notes__", ()))
    if isinstance(error, KeyboardInterrupt):
        terminal.print_error(f"interrupted. {notes or 'No file is left half-written.'}")
        return 130
    if (said := _fault_of_input(error)) is not None:
        terminal.print_error(f"{said} {notes}".rstrip())
        return 2
    terminal.print_error(f"pyscore crashed: {type(error).__name__}: {reason(error)}")
    if not debug:
        terminal.print_note(REPORT)
    return CRASH


def _fault_of_input(error: BaseException) -> str | None:
    """Return what is wrong with the command line, the input or the machine; None if pyscore is at fault."""
    if isinstance(error, CycloptsError):
        return f"{str(error).strip()} `pyscore --help` lists commands, `pyscore COMMAND --help` options."
    if isinstance(error, PyscoreError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    if isinstance(error, MemoryError):
        return "there is not enough memory. Give a smaller table, fewer threads, or a machine with more."
    if isinstance(error, foreign_types()):
        return f"{reason(error)} (said by {type(error).__module__.partition('.')[0]}; --debug shows where)"
    return None
