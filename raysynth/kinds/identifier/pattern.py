"""Identifier patterns: the mini-language that says how a key looks, parsed.

The language, written in `ColumnSchema.pattern`:

    uuid, UUID             a version-4 UUID with dashes, in lower or upper case
    integer                whole numbers, at first of up to nine digits
    integer(low, high)     whole numbers from low to high, inclusive
    PAT-[0-9]{6}           literal characters and classes; {n} repeats a class n times
    P[1-9][0-9]{0,5}       {m,n} gives a class any of several widths; one such class in a pattern
    \\[ \\] \\{ \\} \\\\         the literal characters that the language uses

A class lists ASCII characters and ranges, such as [0-9a-f], [A-Z] or [ACGT].
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

from raysynth.errors import SchemaError
from raysynth.kinds.identifier.key_pattern import MAX_WIDTH, SPECIAL

INTEGER_DEFAULT = (1, 10**9 - 1)
_INTEGER = re.compile(r"integer(?:\(\s*(-?[0-9]{1,19})\s*,\s*(-?[0-9]{1,19})\s*\))?")


@dataclass(frozen=True)
class TextPattern:
    """Keys as bytes of UTF-8: for each possible length, the characters allowed at each place.

    Args:
        layouts: for each length one tuple of alphabets, shortest first; a literal byte is an alphabet of one.
        widen_at: place before which a further character goes when more keys are needed.
        widen_with: its alphabet.
    """

    layouts: tuple[tuple[bytes, ...], ...]
    widen_at: int
    widen_with: bytes

    @property
    def size(self) -> int:
        """How many different keys it has."""
        return sum(prod(map(len, layout)) for layout in self.layouts)

    def widened(self) -> TextPattern:
        """The keys one character longer than the longest of these."""
        longest = self.layouts[-1]
        layout = (*longest[: self.widen_at], self.widen_with, *longest[self.widen_at :])
        return TextPattern((layout,), self.widen_at, self.widen_with)


@dataclass(frozen=True)
class IntegerPattern:
    """Whole numbers from low to high, inclusive."""

    low: int
    high: int

    @property
    def size(self) -> int:
        """How many different keys it has."""
        return self.high - self.low + 1

    def widened(self) -> IntegerPattern:
        """The numbers above, up to one more digit."""
        low = self.high + 1
        return IntegerPattern(low, 10 ** len(str(max(abs(low), abs(self.low)))) - 1)


def parse_pattern(text: str, column: str) -> TextPattern | IntegerPattern:
    """The keys that a pattern describes; raises `SchemaError` that names the column."""
    if text in ("uuid", "UUID"):
        parsed = parse_pattern("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", column)
        assert isinstance(parsed, TextPattern)
        if text == "uuid":
            return parsed
        return TextPattern(tuple(tuple(p.upper() for p in x) for x in parsed.layouts), 36, parsed.widen_with.upper())
    if match := _INTEGER.fullmatch(text):
        low, high = (int(match[1]), int(match[2])) if match[1] else INTEGER_DEFAULT
        if low > high:
            raise SchemaError(f"column '{column}': pattern '{text}' needs low <= high")
        return IntegerPattern(low, high)
    return _text_pattern(_tokens(text, column), text, column)


def _tokens(text: str, column: str) -> list[tuple[bytes, int, int]]:
    """(alphabet, fewest, most repeats) of each element, in order."""
    where = f"column '{column}': pattern '{text}'"
    tokens: list[tuple[bytes, int, int]] = []
    at = 0
    while at < len(text):
        if match := re.compile(r"\[((?:\\.|[^\]\\])+)\](?:\{(\d{1,4})(?:,(\d{1,4}))?\})?").match(text, at):
            fewest = int(match[2] or 1)
            tokens.append((_alphabet(match[1], where), fewest, int(match[3] or fewest)))
            at = match.end()
            continue
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
        elif text[at] in SPECIAL:
            raise SchemaError(
                f"{where}: unexpected '{text[at]}' at position {at}; write a class as [0-9], a repeat as [0-9]{{6}} or "
                "[0-9]{1,6} after a class, and a literal bracket, brace or backslash with a backslash before it"
            )
        tokens.extend((bytes([byte]), 1, 1) for byte in text[at].encode())
        at += 1
    return tokens


def _alphabet(inside: str, where: str) -> bytes:
    characters = re.findall(r"\\.|.", inside, flags=re.DOTALL)
    found: list[str] = []
    at = 0
    while at < len(characters):
        first = characters[at][-1]
        if at + 2 < len(characters) and characters[at + 1] == "-":
            last = characters[at + 2][-1]
            if first > last:
                raise SchemaError(f"{where}: range '{first}-{last}' runs backwards")
            found.extend(chr(c) for c in range(ord(first), min(ord(last), 128) + 1))
            at += 3
        else:
            found.append(first)
            at += 1
    if any(ord(c) >= 128 for c in found):
        raise SchemaError(f"{where}: a class may hold ASCII characters only; found '[{inside}]'")
    return "".join(sorted(set(found))).encode()


def _text_pattern(tokens: list[tuple[bytes, int, int]], text: str, column: str) -> TextPattern:
    where = f"column '{column}': pattern '{text}'"
    if not tokens:
        raise SchemaError(f"{where} is empty; write for example 'uuid', 'integer' or 'PAT-[0-9]{{6}}'")
    if any(fewest > most for _, fewest, most in tokens):
        raise SchemaError(f"{where}: a repeat {{m,n}} needs m <= n")
    variable = [i for i, (_, fewest, most) in enumerate(tokens) if fewest != most]
    if len(variable) > 1:
        raise SchemaError(f"{where}: only one class may have several widths {{m,n}}; give the others a fixed width")
    if sum(most for _, _, most in tokens) > MAX_WIDTH:
        raise SchemaError(f"{where}: longer than {MAX_WIDTH} characters")
    classes = [i for i, (alphabet, _, most) in enumerate(tokens) if len(alphabet) > 1 and most > 0]
    grows = (
        variable[0] if variable and len(tokens[variable[0]][0]) > 1 else (classes[-1] if classes else len(tokens) - 1)
    )
    widths = range(tokens[variable[0]][1], tokens[variable[0]][2] + 1) if variable else (0,)
    layouts = []
    for width in widths:
        repeats = [width if [i] == variable else fewest for i, (_, fewest, _) in enumerate(tokens)]
        layouts.append(tuple(t[0] for t, r in zip(tokens, repeats, strict=True) for _ in range(r)))
    widen_at = sum(most for _, _, most in tokens[: grows + 1])
    return TextPattern(tuple(layouts), widen_at, tokens[grows][0] if classes else b"0123456789")
