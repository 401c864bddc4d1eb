"""Text of others made fit to be shown: on a terminal, in Markdown, in a figure.

Names of columns, datasets and files come from outside. A terminal obeys some characters instead of showing them,
and some reverse what stands after them; Markdown may hold HTML; matplotlib reads ``$…$`` as a formula.
"""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from typing import Any

__all__ = ["FALLBACK", "as_json", "encodable", "figure_text", "markdown_text", "one_line", "printable"]

_JOINERS = frozenset("\u200c\u200d")  # Persian, Indic scripts and emoji need these two
_ASCII = re.compile(r"[\n -~]*")
_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control characters (C0, C1), format (bidirectional, too), halves of surrogate pairs, separators of lines."""


def _obeyed(character: str) -> bool:
    """Whether a terminal or browser does something at a character instead of showing it."""
    return unicodedata.category(character) in _CATEGORIES and character not in _JOINERS


def printable(text: object) -> str:
    r"""Return text with every character that would be obeyed instead of shown as its escape: ESC is ``\x1b``.

    Line breaks and tabs stay.

    Examples
    --------
    >>> printable("a\x1b[2Jb\u202ec")
    'a\\x1b[2Jb\\u202ec'
    """
    text = str(text)
    if _ASCII.fullmatch(text):
        return text
    return "".join(_escaped(c) if _obeyed(c) and c not in "\n\t" else c for c in text)


def one_line(text: object) -> str:
    r"""`printable` for a name: line breaks and tabs are escapes, too.

    Examples
    --------
    >>> one_line("a\nb")
    'a\\nb'
    """
    return "".join(_escaped(c) if _obeyed(c) else c for c in str(text))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def as_json(value: Any, *, ascii_only: bool = False) -> str:
    r"""Return a value as indented JSON without a character that a terminal obeys; it reads back as the same value.

    Examples
    --------
    >>> print(as_json({"a": "\x9b1m"}))
    {
      "a": "\u009b1m"
    }
    """
    text = json.dumps(value, indent=2, ensure_ascii=ascii_only)
    if text.isascii():
        return text.replace("\x7f", "\\u007f")
    return "".join(json.dumps(c)[1:-1] if c != "\n" and _obeyed(c) else c for c in text).replace("\x7f", "\\u007f")


_ACTIVE = re.compile(
    r"<(?=[A-Za-z/!?])"  # a tag, a comment, an address in angle brackets
    r"|&(?=#|[A-Za-z]\w*;)"  # an entity
    r"|(?<=\])(?=[(\[:])"  # a link, an image
    r"|\{(?=\s*[:.#]|\s*[\w-]+\s*=)"  # attributes of the element before
)
_INERT = {"<": "&lt;", "&": "&amp;", "": "\\", "{": "&#123;"}


def markdown_text(text: object) -> str:
    r"""Return text for a line of Markdown: bold and code stay, but it makes no HTML, link, image or attribute.

    Examples
    --------
    >>> markdown_text("**a** <b> [c](d) p < 0.05")
    '**a** &lt;b> [c]\\(d) p < 0.05'
    """
    flat = " ".join(printable(text).split("\n"))
    return _ACTIVE.sub(lambda found: _INERT[found[0]], flat)


def figure_text(name: object) -> str:
    r"""Return a name for a figure of matplotlib: on one line, never a formula, never hidden from a legend.

    Examples
    --------
    >>> figure_text("$\\frac{$")
    '\\$\\frac{\\$'
    """
    text = one_line(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


# ── terminals that cannot show every character ──

_SIGNS = str.maketrans({
    "–": "-", "—": "-", "−": "-", "…": "...", "·": ".", "•": "*", "×": "x", "≤": "<=", "≥": ">=", "→": "->",
    "←": "<-", "±": "+-", "≈": "~", "∞": "inf", "“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " ",
    "²": "^2", "³": "^3", "‖": "||", "═": "=", "─": "-",
})  # fmt: skip
FALLBACK = "pyscore.ascii"
"""Name of the error handler of codecs for characters that an encoding lacks."""


def _fallback(error: UnicodeError) -> tuple[str, int]:
    """Put a sign of ASCII, or an escape, where an encoding lacks a character."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end].translate(_SIGNS)
    return lacking.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error(FALLBACK, _fallback)


def encodable(text: str, encoding: str | None) -> str:
    r"""Return text with what an encoding lacks written otherwise.

    Examples
    --------
    >>> encodable("5 ± κ", "ascii")
    '5 +- \\u03ba'
    """
    return text.encode(encoding or "utf-8", FALLBACK).decode(encoding or "utf-8")
