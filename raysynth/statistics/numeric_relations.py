"""Relations between numbers in a sample of rows: equal columns, sums, products, steps, orderings, spans of times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from keyword import iskeyword

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.constraints import Constraint, Expression, Inequality
from raysynth.schema.constraints.base import column_of
from raysynth.schema.constraints.evaluation import PARTS, SPANS

FEWEST = 30  # rows in which the columns of a relation have values
EVIDENCE = 20  # rows that would break a relation if its columns were independent
EXCEPTIONS = 0.005  # share of rows: what is broken more often is no relation
_MORE_VALUES = 1.2  # times as many values as the total has, and a part of it is what is computed
_MOST_DECIMALS = 9  # of a number that is no measured one: a quotient
_PROBES = 24  # rows that sums are looked for with
_OVERLAP = 0.05  # share of rows that would break an ordering so: below that the ranges lie apart by themselves


def of_numbers(rows: pa.Table, columns: Sequence[ColumnSchema]) -> Iterator[tuple[Constraint, str]]:
    """Equal columns, sums, products and orderings of numbers; orderings, equality and differences of times."""
    families: dict[Kind, list[tuple[str, np.ndarray]]] = {}
    for column in columns:
        values = _floats(column_of(rows, column.name))
        if np.isfinite(values).sum() >= FEWEST and len(np.unique(values[np.isfinite(values)])) > 1:
            families.setdefault(column.kind, []).append((column.name, values))
    plain = [member for kind, members in families.items() if kind.is_number for member in members]
    for kind, members in sorted(families.items(), key=lambda item: not item[0].is_number):  # numbers first
        equal = _equal(members)
        for a, b in equal:
            yield (Expression(f"{quoted(b)} == {quoted(a)}"), f"'{b}' equals '{a}'")
        rest = [m for m in members if m[0] not in {b for _, b in equal}]
        totals: set[str] = set()
        if kind.is_number:
            for relation, total in _sums(rest):
                totals.add(total)
                yield relation
        elif kind.is_dated:
            microseconds = {n: _microseconds(column_of(rows, n).type) for n, _ in rest}
            for relation, later in _spans(rest, microseconds, plain):
                totals.add(later)
                yield relation
        yield from _orderings(rest, totals)


def of_calendar(
    rows: pa.Table, dates: Sequence[ColumnSchema], whole: Sequence[ColumnSchema]
) -> Iterator[tuple[Constraint, str]]:
    """Columns of whole numbers that are the year, month, weekday, ... of a date or time; each once.

    Or a number and its year (an age at the end of 2020). Not where the part has one value only, in the sample: the
    column would follow from any date.
    """
    numbers = {c.name: _floats(column_of(rows, c.name)) for c in whole}
    for date in dates:
        times = column_of(rows, date.name)
        for part, find in PARTS.items():
            if part == "hour" and not pt.is_timestamp(times.type):
                continue
            values = _floats(find(times))
            if len(np.unique(values[np.isfinite(values)])) < 2:
                continue
            made = {f"{part}({quoted(date.name)})": values}
            if part == "weekday":  # from 1, from Sunday, from Sunday and 1
                text = next(iter(made))
                made |= {f"{text} + 1": values + 1, f"({text} + 1) % 7": (values + 1) % 7}
                made[f"({text} + 1) % 7 + 1"] = (values + 1) % 7 + 1
            for text, expected in made.items():
                for name in [n for n, v in numbers.items() if _holds(_same(v, expected))]:
                    del numbers[name]
                    yield Expression(f"{quoted(name)} == {text}"), f"'{name}' is the {part} of '{date.name}'"
            for name, sign in product(list(numbers), ("k", "-k")) if part == "year" else ():  # an age of one year
                made_with = None if name not in numbers else _constant(numbers[name], values, sign)
                if made_with is not None:
                    del numbers[name]
                    text, words = (made_with.format(f"year({n})") for n in (quoted(date.name), f"'{date.name}'"))
                    yield Expression(f"{quoted(name)} == {text}"), f"'{name}' is {words}"


def _floats(array: pa.Array) -> np.ndarray:
    """Values (N,) as doubles, NaN where missing."""
    missing = array.is_null().to_numpy(zero_copy_only=False)
    if pt.is_date32(array.type):
        array = array.cast(pa.int32())
    plain = array.cast(
        pa.float64() if pt.is_decimal(array.type) else pa.int64() if pt.is_temporal(array.type) else array.type
    )
    values = plain.fill_null(0).to_numpy(zero_copy_only=False).astype(float)
    return np.where(missing, np.nan, values)


def _same(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Where two arrays of doubles are equal but for rounding; NaN where either is missing."""
    size = np.maximum(np.abs(left), np.abs(right))
    return np.where(np.isnan(left) | np.isnan(right), np.nan, np.abs(left - right) <= 1e-9 * size)


def _holds(same: np.ndarray) -> bool:
    """Whether a relation holds in a sample, but for few exceptions."""
    known = np.isfinite(same)
    return bool(known.sum() >= FEWEST and same[known].mean() >= 1 - EXCEPTIONS)


def _equal(members: Sequence[tuple[str, np.ndarray]]) -> list[tuple[str, str]]:
    """(a, b) for each column b that equals an earlier one a, which equals none itself."""
    result: list[tuple[str, str]] = []
    for (a, x), (b, y) in combinations(members, 2):
        if not {a, b} & {later for _, later in result} and _holds(_same(x, y)):
            result.append((a, b))
    return result


def _sums(members: Sequence[tuple[str, np.ndarray]]) -> Iterator[tuple[tuple[Constraint, str], str]]:
    """Each column that is the sum, difference or product of others, or completes one sum, once, with its name."""
    names, values = [n for n, _ in members], np.array([v for _, v in members])
    if len(names) < 2:
        return
    probes = values[:, _full_rows(values)]
    done: set[str] = set()
    for words, target, parts in _explained(probes):
        name = names[target]
        if name in done or any(names[p] in done and name in names[p] for p in parts):
            continue
        made = values[list(parts)].prod(0) if words == "*" else values[list(parts)].sum(0)
        if words == "=":
            number = float(np.nanmedian(values[target] + made))
            if _fill(values[[target, *parts]]) and _holds(_same(values[target] + made, np.full(len(made), number))):
                done.add(name)
                text = " - ".join([f"{number:.15g}", *(quoted(names[p]) for p in parts)])
                shown = " + ".join(f"'{names[p]}'" for p in (*parts, target))
                yield (Expression(f"{quoted(name)} == {text}"), f"{shown} is {number:.15g}"), name
            continue
        if words in ("k", "-k"):
            if (made_with := _constant(values[target], made, words)) is not None:
                done.add(name)
                text = made_with.format(quoted(names[parts[0]]))
                shown = made_with.format(f"'{names[parts[0]]}'")
                yield (Expression(f"{quoted(name)} == {text}"), f"'{name}' is {shown}"), name
            continue
        if not _fill(values[list(parts)], trivial=1.0 if words == "*" else 0.0):
            continue
        if _holds(_same(values[target], made)):
            done |= {name}
            solved, rest = _solved(values, target, parts) if words == "+" else _divided(values, target, parts)
            sign = words if solved == target else {"+": "-", "*": "/"}[words]
            text = f" {sign} ".join(quoted(names[p]) for p in rest)
            shown = f" {words} ".join(f"'{names[p]}'" for p in parts)
            yield (Expression(f"{quoted(names[solved])} == {text}"), f"'{name}' is {shown}"), name


def _fill(values: np.ndarray, trivial: float = 0.0) -> bool:
    """Whether each of some columns (columns, N) has enough values that are neither 0 nor trivial."""
    return all(np.sum(np.isfinite(v) & (v != trivial) & (v != 0)) >= FEWEST for v in values)


def _constant(values: np.ndarray, part: np.ndarray, words: str) -> str | None:
    """How a column is made from another one and a number, as a form with a place for that one; None where it is not.

    Args:
        values, part: of both, (N,).
        words: 'k': the number is their difference; '-k': it is their sum.
    """
    base = part if words == "k" else -part
    number = np.nanmedian(values - base)
    if (words == "k" and number == 0) or not _holds(_same(values, base + number)):
        return None
    if words == "-k":
        return f"{number:.15g} - {{}}"
    return f"{{}} {'+' if number > 0 else '-'} {abs(number):.15g}"


def _solved(values: np.ndarray, target: int, parts: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """(column, total and other parts) of a sum: the column that the others make, which has most values of its own.

    Of 'price = discount + sale price' that is the sale price: the price has its few values by itself, and a model that
    makes it from two others would give it more.
    """
    count = [len(np.unique(v[np.isfinite(v)])) for v in values]
    most = max(parts, key=lambda p: count[p])
    if count[most] <= _MORE_VALUES * count[target]:
        return target, parts
    return most, (target, *(p for p in parts if p != most))


def _divided(values: np.ndarray, target: int, parts: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """(column, columns that make it) of a product: a factor, where drawn ones would not make its numbers.

    Of 'count = hours * count per hour' that is the count per hour: counts are whole, and a product of drawn numbers
    hardly ever is.
    """
    decimals = [_decimals_of(values[i]) for i in (target, *parts)]
    if sum(decimals[1:]) <= decimals[0]:
        return target, parts
    finest = parts[int(np.argmax(decimals[1:]))]
    other = next(p for p in parts if p != finest)
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = np.where(values[other] == 0, np.nan, values[target] / values[other])
    return (finest, (target, other)) if _holds(_same(values[finest], quotient)) else (target, parts)


def _decimals_of(values: np.ndarray) -> int:
    """Decimals that all values are written with; `_MOST_DECIMALS` where more are needed."""
    known = values[np.isfinite(values)]
    fits = (d for d in range(_MOST_DECIMALS) if np.all(np.abs(known - np.round(known, d)) <= 1e-9 * np.abs(known)))
    return next(fits, _MOST_DECIMALS)


def _microseconds(type_: pa.DataType) -> float:
    """Microseconds of one unit of a type of dates or times."""
    if pt.is_date32(type_):
        return float(SPANS["days"])
    return {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}[type_.unit]


def _spans(
    times: Sequence[tuple[str, np.ndarray]],
    microseconds: Mapping[str, float],
    numbers: Sequence[tuple[str, np.ndarray]],
) -> Iterator[tuple[tuple[Constraint, str], str]]:
    """Each column of times that another one and a number of days, hours, minutes or seconds make, once, with its name.

    Also where the number is the same in all rows.
    """
    done: set[str] = set()
    for (a, x), (b, y) in combinations(times, 2):
        if microseconds[a] != microseconds[b] or {a, b} & done:
            continue
        gap = (y - x) * microseconds[a]
        known = gap[np.isfinite(gap)]
        if len(known) < FEWEST:
            continue
        (low, high), gap = ((a, b), gap) if np.median(known) >= 0 else ((b, a), -gap)
        same = np.median(gap[np.isfinite(gap)])
        if same and _holds(_same(gap, np.full(len(gap), same))) and same % SPANS["seconds"] == 0:
            unit = next(u for u, size in SPANS.items() if same % size == 0)
            number = f"{same / SPANS[unit]:.0f}"
            found = (f"{unit}({number})", f"{number} {unit}")
        else:
            hits = (
                (f"{unit}({quoted(n)})", f"'{n}' {unit}")
                for unit, size in SPANS.items()
                for n, v in numbers
                if np.sum(np.isfinite(v) & (v != 0)) >= FEWEST and _holds(_same(gap, v * size))
            )
            found = next(hits, ("", ""))
        if found[0]:
            done.add(high)
            text = f"{quoted(high)} == {quoted(low)} + {found[0]}"
            yield (Expression(text), f"'{high}' is '{low}' and {found[1]}"), high


def _full_rows(values: np.ndarray) -> np.ndarray:
    """Some rows, those with most values first and, of these, ones that differ."""
    order = np.argsort(np.isnan(values).sum(0), kind="stable")
    return order[np.unique(np.linspace(0, min(len(order), 40 * _PROBES) - 1, _PROBES).astype(int))]


def _explained(probes: np.ndarray) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """(operation, column, columns that make it) that hold in a few rows: runs of neighbours first, then pairs.

    '=': all of them have one sum.
    """
    n = len(probes)
    for first in range(n):
        total = probes[first].copy()
        for last in range(first + 1, n):
            total = total + probes[last]
            if last - first >= 2:
                if _is_one(total):
                    yield "=", last, tuple(range(first, last))
                for target in _hits(probes, total):
                    if not first <= target <= last:
                        yield "+", target, tuple(range(first, last + 1))
    for a, b in combinations(range(n), 2):
        for operation, made in (("+", probes[a] + probes[b]), ("*", probes[a] * probes[b])):
            for target in _hits(probes, made):
                if target not in (a, b):
                    yield operation, target, (a, b)
    for a, b in combinations(range(n), 2):
        for words, steps in (("k", probes[b] - probes[a]), ("-k", probes[b] + probes[a])):
            if _is_one(steps):
                yield words, b, (a,)


def _is_one(values: np.ndarray) -> bool:
    """Whether a third of some rows at least have a value, and all the same one."""
    known = values[np.isfinite(values)]
    return bool(len(known) >= _PROBES // 3 and np.ptp(known) <= 1e-9 * max(1.0, np.abs(known).max()))


def _hits(probes: np.ndarray, made: np.ndarray) -> list[int]:
    """Columns that equal some values wherever both are there, in a third of the rows at least."""
    same = _same(probes, made[None, :])
    known = np.isfinite(same)
    enough = known.sum(1) >= _PROBES // 3
    good = enough & (np.where(known, same, 1).sum(1) >= known.shape[1] - 1)  # one may be an exception
    return [int(i) for i in np.flatnonzero(good)]


def _orderings(members: Sequence[tuple[str, np.ndarray]], totals: set[str]) -> Iterator[tuple[Constraint, str]]:
    """a <= b where independent columns of the same values would often break it; what others imply is left out."""
    above: dict[tuple[str, str], bool] = {}
    for (a, x), (b, y) in combinations(members, 2):
        known = np.isfinite(x) & np.isfinite(y)
        n = int(known.sum())
        if n < FEWEST or {a, b} & totals:
            continue
        for low, high, u, v in ((a, b, x[known], y[known]), (b, a, y[known], x[known])):
            if np.mean(u > v) > EXCEPTIONS:
                continue
            ordered = np.sort(v)
            by_chance = np.searchsorted(ordered, u, "left").mean() / n
            ties = np.searchsorted(ordered, u, "right").mean() - by_chance * n  # rows equal by chance
            if by_chance >= _OVERLAP and by_chance * n >= EVIDENCE:
                above[low, high] = bool(ties >= EVIDENCE and np.all(u < v))
                break
    for (low, high), strict in above.items():
        between = {b for a, b in above if a == low} & {a for a, b in above if b == high}
        if not between:
            sign = "<" if strict else "<="
            yield (Inequality(low, high, strict), f"'{low}' {sign} '{high}'")


def quoted(name: str) -> str:
    """A column in the language of expressions."""
    return name if name.isidentifier() and name.isascii() and not iskeyword(name) else f"col({name!r})"
