"""Text from outside, made safe to show on a terminal, in Markdown and in a figure.

Names of columns, datasets and files come from outside. A terminal executes some characters instead of showing
them, and some reverse the text after them. Markdown may hold HTML. matplotlib reads ``$…$`` as a formula.
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
"""Control characters (C0, C1), format characters (bidirectional ones, too), surrogates, line separators."""


def _obeyed(character: str) -> bool:
    """Whether a terminal or browser acts on a character instead of showing it."""
    return unicodedata.category(character) in _CATEGORIES and character not in _JOINERS


def printable(text: object) -> str:
    r"""Return text in which characters that a terminal would act on are escaped; ESC becomes ``\x1b``.

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
    r"""As `printable`, for a name: line breaks and tabs are escaped, too.

    Examples
    --------
    >>> one_line("a\nb")
    'a\\nb'
    """
    return "".join(_escaped(c) if _obeyed(c) else c for c in str(text))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def as_json(value: Any, *, ascii_only: bool = False) -> str:
    r"""Return a value as indented JSON in which characters that a terminal would act on are escaped.

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
    r"""Return text for a line of Markdown. Bold and code stay; HTML, links, images and attributes are disabled.

    Examples
    --------
    >>> markdown_text("**a** <b> [c](d) p < 0.05")
    '**a** &lt;b> [c]\\(d) p < 0.05'
    """
    flat = " ".join(printable(text).split("\n"))
    return _ACTIVE.sub(lambda found: _INERT[found[0]], flat)


def figure_text(name: object) -> str:
    r"""Return a name for matplotlib: on one line, not read as a formula, not left out of a legend.

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
    """Replace a character that the encoding lacks by an ASCII sign, or by its escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end].translate(_SIGNS)
    return lacking.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error(FALLBACK, _fallback)


def encodable(text: str, encoding: str | None) -> str:
    r"""Return text in which characters that the encoding lacks are replaced; see `FALLBACK`.

    Examples
    --------
    >>> encodable("5 ± κ", "ascii")
    '5 +- \\u03ba'
    """
    return text.encode(encoding or "utf-8", FALLBACK).decode(encoding or "utf-8")
