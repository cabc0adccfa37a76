"""Direct comparison: what stands in a release just as it stood in the row of one or a few persons.

Attacks measure what a release gives away on the whole, and one copied row among thousands moves none of their figures.
Here every real row is looked for: whole rows, and single values (pseudonyms, names, rare categories, odd numbers) that
only a few persons have. The baseline is the same search for persons whom the synthesizer never saw. Where the release
knows nothing of who was in the fit, who of all persons was is chance, so the number of those found who were has a
hypergeometric distribution (Fisher's exact test); of several columns the smallest p-value counts, times their number.

A single find proves nothing by that test. It is 'to look at' where chance is not seen to bring such finds: nobody
outside the fit is found, and of a column of numbers nearly all persons have a value of their own.

Shape legend: R real rows (those of the fit, then of the holdout), S rows of the release, P persons, U values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.attacks.attack import Records
from raysynth.attacks.verdicts import Verdict
from raysynth.comparison.coding import microseconds, numbers, text_of
from raysynth.comparison.intervals import Estimate
from raysynth.comparison.rates import clopper_pearson
from raysynth.data.keys import numbered
from raysynth.files.model_file import ModelContent
from raysynth.kinds.arrow_text import plain, plain_type
from raysynth.schema.columns import Kind
from raysynth.schema.table import TableSchema

MOST_NUMBERS = 50  # rows that are listed of one column
OWN_VALUES = 0.9  # share of persons with a value of their own, from which on numbers hardly coincide by chance
TITLES = {
    "rows": "Whole rows of one or few persons",
    "names": "Identifiers, names and other personal data",
    "values": "Categories and text of few persons",
    "numbers": "Numbers and dates of few persons",
    "file": "Values of few persons, stored in the model file",
}


@dataclass(frozen=True)
class Found:
    """One column, or whole rows ('').

    Args:
        column: its name.
        members, others: persons of the fit, and of the holdout, of whom something was found.
        p_value: two-sided, of so many among the members by chance; 1 where nothing was found.
        rows: numbers of rows of the real table, from 0, the first of them.
        by_chance: whether such finds are seen to come about by chance.
    """

    column: str
    members: int
    others: int
    p_value: float
    rows: tuple[int, ...] = field(default=(), repr=False)
    by_chance: bool = False

    @property
    def to_look_at(self) -> bool:
        """Whether somebody should look at the rows, however few: chance is not seen to bring them."""
        return self.members > 0 and not self.by_chance


@dataclass(frozen=True)
class Comparison:
    """One kind of direct comparison.

    Args:
        key: of `TITLES`.
        n_members, n_others: persons who were looked for.
        found: by column.
        verdict: corrected for all attacks and comparisons; None: not yet judged.
    """

    key: str
    n_members: int
    n_others: int
    found: tuple[Found, ...]
    verdict: Verdict | None = None

    @property
    def p_value(self) -> float:
        """The smallest p-value of a column, times the number of columns."""
        return min(min(f.p_value for f in self.found) * len(self.found), 1.0)

    @property
    def surely(self) -> bool:
        """Whether surely more of the fit's persons are found than of others."""
        return self.verdict is not None and self.verdict.found

    @property
    def to_look_at(self) -> tuple[Found, ...]:
        """Columns with rows that somebody should look at."""
        return tuple(f for f in self.found if f.to_look_at)

    @property
    def most(self) -> Found:
        """The column whose values are found most surely."""
        return min(self.found, key=lambda f: (f.p_value, -f.members))

    def share(self, members: bool) -> Estimate:
        """Share of the persons found by `most`: of those in the fit, or of others."""
        hits, n = (self.most.members, self.n_members) if members else (self.most.others, self.n_others)
        return clopper_pearson(hits, n)


@dataclass(frozen=True)
class People:
    """The real rows, of the fit and of the holdout, and whose they are.

    Args:
        members, others: rows of each.
        kinds: of all columns.
        public: columns whose values are declared, or were released with noise: those are nobody's secret.
        fewest: as many persons share a value that is nobody's (`rare_threshold`).
    """

    members: Records
    others: Records
    kinds: Mapping[str, Kind]
    public: frozenset[str]
    fewest: int

    @property
    def owner_R(self) -> np.ndarray:
        """A number for the person of each row, those of the fit before others."""
        owners = []
        for records in (self.members, self.others):
            own = records.rows.owners_N
            owners.append(np.arange(len(records)) if own is None else np.unique(own, return_inverse=True)[1])
        return np.concatenate([owners[0], owners[1] + owners[0].max() + 1])

    @property
    def sizes(self) -> tuple[int, int]:
        """Persons of the fit, and others."""
        n_members = int(self.owner_R[: len(self.members)].max()) + 1
        return n_members, int(self.owner_R.max()) + 1 - n_members

    def columns(self, *, names: bool, discrete: bool) -> list[str]:
        """Columns of identifiers and personal data; or of categories, or of numbers; but for public ones."""
        chosen = {n: k for n, k in self.kinds.items() if k.is_modelled is not names and n not in self.public}
        return [n for n, k in chosen.items() if names or k.is_discrete is discrete]


def public_columns(schema: TableSchema) -> frozenset[str]:
    """Columns whose list of values was declared, or released with noise."""
    return frozenset(c.name for c in schema.columns if c.categories is not None and "categories" not in c.inferred)


def compare_release(people: People, release: Records) -> tuple[Comparison, ...]:
    """What stands in released rows just as in the real ones: whole rows, and values by column."""
    groups = {"names": (True, True), "values": (False, True), "numbers": (False, False)}
    found: dict[str, list[Found]] = {"rows": [_whole_rows(people, release)]}
    for key, (names, discrete) in groups.items():
        found[key] = [
            _rare_values(people, column, release.table.column(column))
            for column in people.columns(names=names, discrete=discrete)
        ]
    return tuple(Comparison(key, *people.sizes, tuple(of)) for key, of in found.items() if of)


def compare_file(people: People, content: ModelContent) -> Comparison | None:
    """Values of few persons that stand in a model file, as text or as a number; None: all columns are public."""
    texts, stored = stored_values(content)
    found = []
    for name in people.kinds:
        if name in people.public:
            continue
        dtype = people.members.table.column(name).type
        if _is_number(dtype):
            unit = microseconds(dtype)
            held = pa.chunked_array([pa.array(np.unique(np.concatenate([stored, stored / unit])))])
            found.append(_rare_values(people, name, held, unit))
        else:
            found.append(_rare_values(people, name, pa.chunked_array([pa.array(sorted(texts), pa.string())])))
    return Comparison("file", *people.sizes, tuple(found)) if found else None


def stored_values(content: ModelContent) -> tuple[set[str], np.ndarray]:
    """Every text (keys included) and every different number (U,) in a model file."""
    texts, found = set(), []
    for value in _leaves(content.meta):
        if isinstance(value, str):
            texts.add(value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63:
            found.append(float(value))
    arrays = [np.unique(a.astype(float)) for a in content.arrays.values() if a.dtype.kind in "iuf"]
    together = np.unique(np.concatenate([np.array(found, dtype=float), *arrays]))
    return texts, together[np.isfinite(together)]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from (k for k in value if isinstance(k, str))
        value = list(value.values())
    if isinstance(value, list | tuple):
        for entry in value:
            yield from _leaves(entry)
    else:
        yield value


def _whole_rows(people: People, release: Records) -> Found:
    """Rows that are equal in all compared columns."""
    sides = (people.members.rows, people.others.rows, release.rows)
    columns = [np.concatenate([s.codes_NC[:, j] for s in sides]) for j in range(sides[0].codes_NC.shape[1])]
    for j in range(sides[0].numbers_NV.shape[1]):
        values = np.concatenate([s.numbers_NV[:, j] for s in sides])
        columns.append(np.unique(values, return_inverse=True)[1])
    code = numbered(columns)
    n = len(sides[0]) + len(sides[1])
    return _searched(people, "", code[:n], code[n:])


def _rare_values(people: People, name: str, held: pa.ChunkedArray, unit: float = 1.0) -> Found:
    """Persons of whom a value of few stands among those that are held; `unit`: of times, where these are plain."""
    columns = [people.members.table.column(name), people.others.table.column(name), held]
    codes = _codes(columns, unit)
    return _searched(people, name, np.concatenate(codes[:2]), codes[2])


def _searched(people: People, name: str, code_R: np.ndarray, held_S: np.ndarray) -> Found:
    """What is found of whom; codes below 0 are missing values, which are nobody's."""
    from scipy.stats import hypergeom

    owner_R, (n_members, n_others) = people.owner_R, people.sizes
    n_codes = int(max(code_R.max(initial=0), held_S.max(initial=0))) + 1
    pairs = np.unique(np.stack([code_R, owner_R]), axis=1)
    persons_U = np.bincount(pairs[0][pairs[0] >= 0], minlength=n_codes)
    held_U = np.zeros(n_codes, dtype=bool)
    held_U[held_S[held_S >= 0]] = True
    hit_R = (code_R >= 0) & (held_U & (persons_U < people.fewest))[code_R]
    hit_P = np.zeros(n_members + n_others, dtype=bool)
    hit_P[owner_R[hit_R]] = True
    members, others = int(hit_P[:n_members].sum()), int(hit_P[n_members:].sum())
    p = float(hypergeom.sf(members - 1, n_members + n_others, members + others, n_members))
    rows = np.flatnonzero(hit_R[: len(people.members)])[:MOST_NUMBERS]
    known = people.members.numbers_N
    return Found(
        column=name,
        members=members,
        others=others,
        p_value=min(2 * p, 1.0),
        rows=tuple((rows if known is None else known[rows]).tolist()),
        by_chance=others > 0 or (name != "" and people.kinds[name].is_numeric and _repeats(code_R, persons_U)),
    )


def _repeats(code_R: np.ndarray, persons_U: np.ndarray) -> bool:
    """Whether many persons share a value with another one, so that a fresh person would, too."""
    known = code_R[code_R >= 0]
    return len(known) == 0 or float((persons_U[known] == 1).mean()) < OWN_VALUES


def _codes(columns: Sequence[pa.ChunkedArray], unit: float) -> list[np.ndarray]:
    """Equal codes for equal values of several columns, numbers by their value and all else by its text; -1: missing."""
    if all(_is_number(c.type) for c in columns):
        sides = [numbers(c.combine_chunks()) for c in columns]
        sides[-1] = sides[-1] * unit
        values = np.concatenate(sides)
        codes = np.where(np.isnan(values), -1, np.unique(values, return_inverse=True)[1])
        return np.split(codes, np.cumsum([len(s) for s in sides])[:-1])
    known: dict[str, int] = {}
    return [_text_codes(c, known) for c in columns]


def _text_codes(column: pa.ChunkedArray, known: dict[str, int]) -> np.ndarray:
    encoded = pc.dictionary_encode(plain(column)).combine_chunks()
    texts = [None if v is None else text_of(v) for v in encoded.dictionary.to_pylist()]
    lookup = np.array([*(-1 if t is None else known.setdefault(t, len(known)) for t in texts), -1], dtype=np.int64)
    found: np.ndarray = lookup[pc.fill_null(encoded.indices.cast(pa.int64()), len(texts)).to_numpy()]
    return found


def _is_number(dtype: pa.DataType) -> bool:
    kind = plain_type(dtype)
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_temporal(kind)
    )
