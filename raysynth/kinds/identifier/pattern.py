"""Identifier patterns: the mini-language that says how a key looks, parsed.

The language, written in `ColumnSchema.pattern`:

    uuid, UUID             a version-4 UUID with dashes, in lower or upper case
    integer                whole numbers, at first of up to nine digits
    integer(low, high)     whole numbers from low to high, inclusive
    PAT-[0-9]{6}           literal characters and classes; {n} repeats a class n times
    P[1-9][0-9]{0,5}       {m,n} gives a class any of several widths; one such class in a pattern
    \\[ \\] \\{ \\} \\\\         the literal characters that the language uses

A class lists ASCII characters and ranges, such as [0-9a-f], [A-Z] or [ACGT].

Patterns are inferred from a sample of keys, too: what they share stays, what varies becomes a class of characters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from math import prod

from raysynth.errors import SchemaError

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


MAX_WIDTH = 256
SPECIAL = "\\[]{}"
ROW_NUMBERS_FROM = 0.25  # share of a range that whole numbers fill, each once, to be row numbers
FEW_OF_RANGE, STEPS_OF_RANGE = 0.05, 100  # share of a range that sparse keys fill at most, and what its ends lie on
ROWS_BESIDE_AN_END = 10  # row numbers that the grid of their range has at least in each step
MIN_SAMPLE = 5  # what fewer keys than this have in common could be most of a key: it stays no literal
_KEYS_FOR_FIRST_DIGIT = 100  # of one width of digits: none with a leading zero is then no chance (.9**100 < 3e-5)
_USUAL = 0.6  # share of keys with one shape, or with one word at a place, that all made keys then have
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DIGITS, _UPPER, _LOWER = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"


def infer_pattern(sample: Sequence[str], n_rows: int = 0) -> str:
    """The pattern of some keys, in the mini-language; a pure function of the sample.

    It keeps what all keys share (prefix, separators, width, classes of characters at each place) and generalises the
    rest: a run of digits that varies anywhere becomes [0-9] throughout, [1-9] first where no key begins it with zero
    (and widths differ, or there are at least 100 keys). Whole numbers without leading zeros give
    'integer(low, high)' with low and high of the widths seen, and at least 4 times as many numbers as there are rows.
    Where keys have several shapes, those of more than 60 % of them count, as does a word at one place ('https', 'INV').
    Of fewer than five different keys nothing but the separators stays literal. An empty sample gives 'uuid'.

    Args:
        sample: some keys as text.
        n_rows: rows of the table, where more than the sample.
    """
    keys = sorted({str(s) for s in sample if s is not None and str(s) != ""})
    if not keys:
        return "uuid"
    for name, case in (("uuid", str), ("UUID", str.upper)):
        if all(case(k.lower()) == k and _UUID.fullmatch(k.lower()) for k in keys):
            return name
    if all(re.fullmatch(r"0|-?[1-9][0-9]{0,17}", k) for k in keys):
        numbers = [int(k) for k in keys]
        return integer_pattern(min(numbers), max(numbers), max(n_rows, len(sample)))
    columns = _aligned(keys) if max(map(len, keys)) <= MAX_WIDTH // 4 else None  # a byte or more a character
    if columns is None:
        usual = _of_usual_shape(keys)
        return infer_pattern(usual, n_rows) if len(usual) < len(keys) else _loose_pattern(keys)
    protect = len(keys) < MIN_SAMPLE
    parts = [_run_pattern(values, protect) for values in columns]
    return "".join(_one_variable(parts))


def integer_pattern(low: int, high: int, n_rows: int, largest: int = 2**63 - 1) -> str:
    """'integer(low, high)' for whole numbers seen between low and high.

    The range has the digits of the numbers, and more where that leaves less than 4 numbers a row; its ends are powers
    of ten, or `largest`, so they tell no number of the table.
    """
    digits = min(len(str(max(abs(low), abs(high)))), len(str(largest)))
    lower = 10 ** (digits - 1) if low > 0 and len(str(low)) == digits > 1 else min(low, 1)
    while 10**digits - lower < 4 * n_rows:
        digits += 1
    upper = min(10**digits - 1, largest)
    if low < 0:
        return f"integer({-upper}, {upper if high > 0 else -1})"
    return f"integer({min(lower, upper)}, {upper})"


def row_number_pattern(low: int, high: int, n_rows: int, largest: int = 2**63 - 1) -> str | None:
    """'integer(low, high)' for row numbers: whole numbers of which each row (or person) has another, in a range that
    they fill.

    None where they fill less than a quarter of it, or the range would end above `largest`. Rows that nobody has seen
    yet would have numbers of the same range, and of a wider one none. Its ends lie on a grid of 1, 2 or 5 times a power
    of ten with at least ten of the numbers in each step: no end tells of one (but that counting begins at 0 or 1).
    """
    if low < 0 or n_rows < ROWS_BESIDE_AN_END or n_rows < ROW_NUMBERS_FROM * (high - low + 1):
        return None
    return _on_grid(low, high, n_rows, 1, largest)


def sparse_pattern(low: int, high: int, n_keys: int, largest: int = 2**63 - 1) -> str | None:
    """'integer(low, high)' for keys that fill at most a twentieth of their range; None for others.

    Its ends lie on such a grid, too, with at least a hundredth of the range and ten of the keys in each step.
    """
    width = high - low + 1
    if low < 0 or n_keys < ROWS_BESIDE_AN_END or n_keys > FEW_OF_RANGE * width:
        return None
    return _on_grid(low, high, n_keys, width // STEPS_OF_RANGE, largest)


def _on_grid(low: int, high: int, n_keys: int, least: int, largest: int) -> str | None:
    """The range to the next points of a grid outside, with at least ten of the keys, and `least` numbers, in a step."""
    enough = max(least, -(-ROWS_BESIDE_AN_END * (high - low + 1) // n_keys))
    step = next(s for e in count() for s in (10**e, 2 * 10**e, 5 * 10**e) if s >= enough)
    end = -(-high // step) * step
    return f"integer({low if low < 2 else max(low // step * step, 1)}, {end})" if end <= largest else None


def _aligned(keys: list[str]) -> list[list[str]] | None:
    """The keys cut into columns of runs: by separators and digits where all agree, by place where lengths do."""
    by_separator = [re.findall(r"[0-9A-Za-z]+|[^0-9A-Za-z]", k) for k in keys]
    if _same_shape(by_separator, lambda run: run if not run[0].isalnum() or not run[0].isascii() else "w"):
        groups = [list(c) for c in zip(*by_separator, strict=True)]
        return [column for group in groups for column in _cut_group(group)]
    if len({len(k) for k in keys}) == 1:
        return [keys]
    return None


def _cut_group(values: list[str]) -> list[list[str]]:
    """An alphanumeric group cut into runs of letters and of digits, if every key has the same runs."""
    runs = [re.findall(r"[0-9]+|[^0-9]+", v) for v in values]
    if _same_shape(runs, lambda run: "d" if run[0].isdigit() else "a"):
        return [list(c) for c in zip(*runs, strict=True)]
    return [values]


def _of_usual_shape(keys: list[str]) -> list[str]:
    """The keys of the one shape that most have; all where there is none."""
    shape = [re.sub(r"[A-Za-z]+", "w", re.sub(r"[0-9]", "0", key)) for key in keys]
    most, count = Counter(shape).most_common(1)[0]
    return [k for k, s in zip(keys, shape, strict=True) if s == most] if count > _USUAL * len(keys) else keys


def _same_shape(rows: list[list[str]], kind: Callable[[str], str]) -> bool:
    first = [kind(r) for r in rows[0]]
    return all([kind(r) for r in row] == first for row in rows)


def _run_pattern(values: list[str], protect: bool) -> tuple[str, int, int]:
    """(class or literal, fewest, most) for one run; a literal has widths (0, 0)."""
    if len(set(values)) == 1 and not (protect and values[0].isalnum()):
        return _escaped(values[0]), 0, 0
    usual, count = Counter(values).most_common(1)[0]
    if not protect and count > _USUAL * len(values) and usual.isalpha() and len(usual) > 2:
        return _escaped(usual), 0, 0
    lengths = [len(v) for v in values]
    characters = set("".join(values))
    if len(set(lengths)) == 1 and not protect and characters <= set(_UPPER + _LOWER):
        places = [set(c) for c in zip(*values, strict=True)]
        if any(len(p) == 1 for p in places):
            return "".join(_escaped(min(p)) if len(p) == 1 else _class_of(p) for p in places), 0, 0
    prefix = "" if protect else _common_letters(values)
    if prefix and len(prefix) < min(lengths):
        body, fewest, most = _run_pattern([v[len(prefix) :] for v in values], protect)
        return (_escaped(prefix) + body, fewest, most)
    is_padded = any(v[0] == "0" for v in values) or (
        min(lengths) == max(lengths) and len(values) < _KEYS_FOR_FIRST_DIGIT
    )
    if characters <= set(_DIGITS) and max(lengths) > 1 and not is_padded:
        return "[1-9][0-9]", min(lengths) - 1, max(lengths) - 1
    return _class_of(characters), min(lengths), max(lengths)


def _one_variable(parts: list[tuple[str, int, int]]) -> list[str]:
    """Elements as text, with several widths kept for the most variable one and the largest width for the others."""
    widest = max(range(len(parts)), key=lambda i: parts[i][2] - parts[i][1])
    texts = []
    for i, (text, fewest, most) in enumerate(parts):
        if most == 0:
            texts.append(text)
        elif i == widest and fewest < most:
            texts.append(f"{text}{{{fewest},{most}}}")
        else:
            texts.append(text if most == 1 else f"{text}{{{most}}}")
    return texts


def _loose_pattern(keys: list[str]) -> str:
    """Keys of no common shape: the prefix of letters and separators that all share, then one class."""
    prefix = _common_letters(keys) if len(keys) >= MIN_SAMPLE else ""
    prefix = prefix[: min(min(map(len, keys)) - 1, MAX_WIDTH // 8)]
    rest = [k[len(prefix) :] for k in keys]
    most = min(max(map(len, rest)), MAX_WIDTH - len(prefix.encode()))
    fewest = min(most, *map(len, rest))
    return f"{_escaped(prefix)}{_class_of(set(''.join(rest)))}{{{fewest},{most}}}"


def _common_letters(values: list[str]) -> str:
    """The longest prefix without digits that all values share."""
    first, last = min(values), max(values)
    same = [a for a, _ in _takewhile_equal(first, last)]
    return re.match(r"[^0-9]*", "".join(same))[0]  # type: ignore[index]  # matches the empty string at least


def _takewhile_equal(first: str, last: str) -> list[tuple[str, str]]:
    flags = groupby(zip(first, last, strict=False), key=lambda pair: pair[0] == pair[1])
    same, pairs = next(flags, (False, iter(())))
    return list(pairs) if same else []


def _class_of(characters: set[str]) -> str:
    """The usual class that covers the characters: digits, hex, letters of one case, ..."""
    letters = "".join(sorted(c for c in characters if not c.isdigit() or not c.isascii()))
    digits = "0-9" if any(c in _DIGITS for c in characters) else ""
    for case, hexadecimal in ((_LOWER, "a-f"), (_UPPER, "A-F")):
        if letters and set(letters) <= set(case[:6]) and digits:
            return f"[{digits}{hexadecimal}]"
    parts = digits
    parts += "A-Z" if any(c in _UPPER for c in characters) else ""
    # letters beyond ASCII are regenerated as plain ones: a class holds ASCII only
    parts += "a-z" if any(c in _LOWER or not c.isascii() for c in characters) else ""
    others = sorted(c for c in characters if c.isascii() and not c.isalnum())
    return "[" + parts + "".join("\\" + c if c in SPECIAL + "-" else c for c in others) + "]"


def _escaped(literal: str) -> str:
    return "".join("\\" + c if c in SPECIAL else c for c in literal)
