"""MkDocs hook: formulas become MathML, which browsers draw themselves: a page loads nothing from elsewhere."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

__all__ = ["on_page_content"]

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)
LETTER = re.compile(r"\\math(cal|bb)\s*(?:\{\s*([A-Z])\s*\}|([A-Z]))")
NAMED = re.compile(r'(<mi>(?:log|det|exp|min|max)</mi>)(?!</m|<mo stretchy="false">&#x00028;)')
ARG = re.compile(r"\\arg\s*\\(min|max)")


def on_page_content(content: str, **_: Any) -> str:
    """Replace what pymdownx.arithmatex has marked; called by MkDocs for each page."""
    content = BLOCK.sub(lambda found: mathml(found[1], "block"), content)
    return INLINE.sub(lambda found: mathml(found[1], "inline"), content)


def mathml(latex: str, display: str = "inline") -> str:
    """LaTeX as MathML Core: letters of other alphabets are characters, and "log" keeps off its argument.

    Raises
    ------
    ValueError
        If a command is unknown; the converter would print it as it is.
    """
    source = ARG.sub(r"\\operatorname{arg\1}", html.unescape(latex).strip())
    made = convert(LETTER.sub(lambda found: letter(found[1], found[2] or found[3]), source), display=display)
    if unknown := re.search(r"\\\w*", re.sub(r"<[^>]*>", "", made)):
        raise ValueError(f"the formula {latex!r} has a command that can't be converted: {unknown[0]}.")
    return NAMED.sub(r'\1<mspace width="0.17em"></mspace>', made)


def letter(alphabet: str, capital: str) -> str:
    """Script (cal) or double-struck (bb) capital of Unicode; some are older than their alphabet: elsewhere."""
    first, older = {
        "cal": ("𝒜", dict(zip("BEFHILMR", "ℬℰℱℋℐℒℳℛ", strict=True))),
        "bb": ("𝔸", dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True))),
    }[alphabet]
    return older.get(capital, chr(ord(first) + ord(capital) - ord("A")))
