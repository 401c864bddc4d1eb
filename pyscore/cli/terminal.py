"""What every command writes through: text of others is shown, never obeyed (`pyscore._core.text`), and what the
terminal's encoding lacks is written otherwise. Errors and notes go to stderr.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape as escape_markup
from rich.segment import Segment

from pyscore._core.text import FALLBACK, encodable, printable

__all__ = [
    "console",
    "drop_stdout",
    "escape",
    "finish_stdout",
    "goes_on",
    "print_error",
    "print_note",
    "ready_streams",
    "show_warning",
    "write",
    "write_error",
]


class _Console(Console):
    """A console that shows the text of others, whoever prints it: cyclopts prints help and errors here, too."""

    def on_broken_pipe(self) -> None:
        """Say no more to a stderr that nobody reads; a stdout that nobody reads ends the command (`main`)."""
        if not self.stderr:
            raise BrokenPipeError
        self.quiet = True

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render as rich does, each piece of text made printable in the encoding of the stream."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(encodable(printable(segment.text), self.encoding), segment.style)


def console(*, stderr: bool = False) -> Console:
    """Return a console for stdout or stderr as they are now."""
    return _Console(stderr=stderr)


def ready_streams() -> None:
    """Let stdout and stderr take every character: one that their encoding lacks becomes ASCII."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - for as long as the command takes
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=FALLBACK)


def finish_stdout() -> None:
    """Write what is still held back for stdout; if that fails, it is not tried again when Python ends.

    Raises
    ------
    OSError
        If it cannot be written: a `BrokenPipeError` if nobody reads it any more, as after ``| head -1``.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        drop_stdout()
        raise


def drop_stdout() -> None:
    """Let all that is still written to stdout vanish."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def goes_on(hint: str) -> Iterator[None]:
    """Add to a Ctrl-C how the work can be continued."""
    try:
        yield
    except KeyboardInterrupt as error:
        if hint:
            error.add_note(hint)
        raise


def write(text: str) -> None:
    """Write lines of text to stdout."""
    sys.stdout.write(printable(text) + "\n")


def write_error(text: str) -> None:
    """Write lines of text to stderr."""
    sys.stderr.write(printable(text) + "\n")


def escape(text: object) -> str:
    """Return text for a line of a console: shown, not obeyed, neither by the terminal nor by rich."""
    return escape_markup(encodable(printable(text), getattr(sys.stdout, "encoding", None)))


def print_error(text: str) -> None:
    """Print one error on stderr, without colours where there is no memory left for rich."""
    try:
        console(stderr=True).print(f"[bold red]error:[/bold red] {escape(text)}", highlight=False, soft_wrap=True)
    except (MemoryError, SystemError):  # CPython says "error return without exception set" where memory ends
        write_error(f"error: {text}")


def print_note(text: str) -> None:
    """Print on stderr what is worth knowing and no reason to worry."""
    console(stderr=True).print(f"[cyan]note:[/cyan] {escape(text)}", highlight=False, soft_wrap=True)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning without the source line that it came from."""
    text = f"[yellow]warning:[/yellow] {escape(message)}"
    console(stderr=True).print(text, highlight=False, soft_wrap=True)
