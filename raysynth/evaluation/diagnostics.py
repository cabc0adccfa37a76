"""Diagnostics: is the synthetic table valid at all? Each check passes or fails, before any score is looked at.

A shareable report shows the columns from the synthetic table and the model's schema alone (`SyntheticAlone`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import binom

from raysynth.comparison.coding import Marginal, text_of
from raysynth.comparison.pairing import Tables
from raysynth.comparison.rows import sample_rows
from raysynth.data.arrow_types import is_text
from raysynth.errors import listed
from raysynth.evaluation.measures import cdf
from raysynth.kinds.arrow_text import RARE_LABEL, plain
from raysynth.kinds.evidence import Evidence
from raysynth.kinds.identifier.kind import key_pattern
from raysynth.kinds.identifier.making import IdentifierEncoder
from raysynth.schema.columns import Kind
from raysynth.schema.constraints.base import one_array
from raysynth.statistics.released import CategoryCounts, NumericDistribution

_KEYS = 100_000  # synthetic keys that are looked up in the real table
BESIDE = 100  # whole numbers on either side of a made key
_NAMED = 5  # columns named in the detail of a failed check
_LEVEL = 1e-4  # how often a column of fresh real rows is taken for a fault
_RECORDS = 1000  # so many records are no chance, whatever the numbers of rows


@dataclass(frozen=True)
class Diagnostic:
    """One check.

    Args:
        name: what is checked.
        passed: whether the synthetic table is valid in this respect.
        detail: what was found, in words.
    """

    name: str
    passed: bool
    detail: str


def diagnose(tables: Tables, marginals: dict[str, tuple[Marginal, Marginal]]) -> tuple[Diagnostic, ...]:
    """All checks of the synthetic table against the real one and the schema."""
    return (
        Diagnostic("Columns and kinds", True, f"all {len(tables.kinds)} columns are there and of the same kinds"),
        _ranges(tables, marginals),
        _categories(tables, marginals),
        _missing(tables, marginals),
        *_keys(tables),
        *_constraints(tables),
    )


def _ranges(tables: Tables, marginals: dict[str, tuple[Marginal, Marginal]]) -> Diagnostic:
    """Outside declared bounds no value is allowed; outside the real range so many as fresh real rows may have."""
    outside: dict[str, float] = {}
    by_chance: dict[str, float] = {}
    for name, (real, synthetic) in marginals.items():
        if isinstance(real, NumericDistribution) and isinstance(synthetic, NumericDistribution):
            declared = tables.schema[name].bounds if tables.kinds[name].is_number else None
            if real.total and synthetic.total:
                low, high = declared or (float(real.low[0]), float(real.high[-1]))
                below = float(cdf(synthetic, np.array([low]), left=True)[0])
                above = 1 - float(cdf(synthetic, np.array([high]))[0])
                most = max(below, above) * synthetic.total
                is_fresh = not declared and _chance_of_records(round(most), synthetic.total, real.total) > _LEVEL
                (by_chance if is_fresh else outside)[name] = below + above
    return _shares("Numbers within their range", outside, "values outside the declared or real range", by_chance)


def _chance_of_records(k: int, m: float, n: float) -> float:
    """How often the k largest of m and n values of one law are all of the m: 1 for k = 0, at most (m / (m + n))^k."""
    among = np.arange(min(k, _RECORDS))
    return float(np.prod(np.maximum(m - among, 0) / (m + n - among)))


def _categories(tables: Tables, marginals: dict[str, tuple[Marginal, Marginal]]) -> Diagnostic:
    """Beside declared categories no other is allowed; beside real ones so many as fresh real rows may bring: of these
    the share of the real rows whose value no other has is new (Good 1953)."""
    unseen: dict[str, float] = {}
    by_chance: dict[str, float] = {}
    rare = []
    for name, (real, synthetic) in marginals.items():
        if isinstance(real, CategoryCounts) and isinstance(synthetic, CategoryCounts):
            declared = tables.schema[name].categories
            known = {text_of(v) for v in (declared or real.values)}
            total = float(synthetic.counts.sum())
            if RARE_LABEL not in known and RARE_LABEL in synthetic.values:
                rare.append(name)
            known.add(RARE_LABEL)
            new = sum(
                float(n) for v, n in zip(synthetic.values, synthetic.counts, strict=True) if text_of(v) not in known
            )
            alone = 0.0 if declared or not real.counts.sum() else float((real.counts == 1).sum() / real.counts.sum())
            is_fresh = new <= binom.ppf(1 - _LEVEL, total, alone)
            (by_chance if is_fresh else unseen)[name] = new / total if total else 0.0
    found = _shares("Categories known", unseen, "values that the real table does not have", by_chance)
    return replace(found, detail=found.detail + _named(rare, f"; '{RARE_LABEL}' stands for protected ones in "))


def _missing(tables: Tables, marginals: dict[str, tuple[Marginal, Marginal]]) -> Diagnostic:
    """Where the real table lacks none, so many as fresh rows may lack: that it has none of them is chance, too."""
    lacking: dict[str, float] = {}
    by_chance: dict[str, float] = {}
    n, m = tables.real_statistics.n_rows, tables.synthetic_statistics.n_rows
    for name, (real, synthetic) in marginals.items():
        if not real.missing:
            is_fresh = _chance_of_records(round(synthetic.missing), m, n) > _LEVEL
            (by_chance if is_fresh else lacking)[name] = synthetic.missing / m
    return _shares("Missing values only where allowed", lacking, "values that the real table does not lack", by_chance)


def _keys(tables: Tables) -> list[Diagnostic]:
    keys = [n for n, k in tables.kinds.items() if k.is_key]
    if not keys:
        return []
    single = [n for n in keys if tables.real_statistics.columns[n].summary.all_unique]
    repeated = [n for n in single if not tables.synthetic_statistics.columns[n].summary.all_unique]
    unique = Diagnostic(
        "Keys unique", not repeated, f"{len(keys)} key columns{_named(repeated, '; repeated values in ')}"
    )
    return [unique, _copied([_found(tables, n) for n in keys])]


@dataclass(frozen=True)
class _Found:
    """Made keys of one column that occur in the real table, beside how many would by chance.

    Keys that are drawn from a space of D codes, of which the real table uses R, equal a real one with probability R/D:
    of n made ones at most the 99.9 % quantile of a binomial (n, R/D), which lies above that of draws without repeats.
    Whole numbers made near those of like rows equal as many as lie densely there: of the next 100 on the fuller side.

    Args:
        name: of the column.
        equal: made keys that occur in the real column.
        made: different made keys that were looked up, at most 100,000.
        chance: R/D, or the real share of the whole numbers beside made ones where that is larger, from 0 to 1.
        space: D, the codes of the pattern, or, for numbers, of the range that made ones fill where that is narrower.
    """

    name: str
    equal: int
    made: int
    chance: float
    space: int

    @property
    def is_copied(self) -> bool:
        """Whether more keys are equal than chance explains (it does once in 1,000 columns)."""
        return self.equal > binom.ppf(0.999, self.made, self.chance) if self.made else False

    @property
    def words(self) -> str:
        """The share that is equal, and where chance has a part in it, how large that is."""
        text = f"'{self.name}' ({self.equal / self.made:.2%}"
        return text + (f"; {self.chance:.2%} by chance, of {self.space:,} codes)" if self.chance > 1e-4 else ")")


def _found(tables: Tables, name: str) -> _Found:
    """Looks up to 100,000 made keys of a column up anywhere in the real one."""
    drawn = sample_rows(tables.synthetic, [name], _KEYS, np.random.default_rng(0)).column(name)
    keys = _texts(drawn).drop_null().unique()
    equal, beside = np.zeros(len(keys), dtype=bool), np.zeros((2, len(keys)))
    whole = pa.types.is_integer(tables.real_statistics.columns[name].type) and pa.types.is_integer(drawn.type)
    places = keys.cast(pa.int64()).to_numpy() if whole else None
    for block in tables.real.blocks([name]):
        equal |= pc.is_in(keys, value_set=_texts(block.column(0))).to_numpy(zero_copy_only=False)
        if places is not None:
            beside += _beside(places, np.sort(pc.unique(block.column(0)).drop_null().cast(pa.int64()).to_numpy()))
    column, real = tables.schema[name], tables.real_statistics.columns[name]
    space = IdentifierEncoder.from_schema(column).size
    if not is_text(real.type):  # of row numbers a part may be left of the real ones, too few to fill their range
        made = replace(column, pattern=key_pattern(Evidence(tables.synthetic_statistics.columns[name])))
        space = min(space, IdentifierEncoder.from_schema(made).size)
    # many that repeat are counted within 2 %
    used = real.n_rows - real.missing if real.summary.all_unique else 1.05 * real.n_distinct
    chance = max(used / space, float(beside.max(axis=0).mean()) / BESIDE if len(keys) else 0.0)
    return _Found(name, int(equal.sum()), len(keys), min(1.0, chance), space)


def _beside(places_K: np.ndarray, real: np.ndarray) -> np.ndarray:
    """How many of some real keys, ascending, are among the `BESIDE` numbers below and above each place, (2, K).

    Each side by itself, since where a run of keys ends there are none on the other.
    """
    ends = [places_K + d for d in (-BESIDE, 0, 1, BESIDE + 1)]
    far, below, above, high = (np.searchsorted(real, e) for e in ends)
    return np.stack([below - far, high - above])


def _copied(columns: list[_Found]) -> Diagnostic:
    copied = sorted((c for c in columns if c.is_copied), key=lambda c: -c.equal / c.made)
    by_chance = [c for c in columns if not c.is_copied and c.equal]
    what = "keys that occur in the real table"
    found, as_well = (listed((c.words for c in some), _NAMED) for some in (copied, by_chance))
    text = f"{what}: {found}" if copied else f"no more {what} than by chance in {len(columns)} columns"
    return Diagnostic("Keys not copied", not copied, text + (f"; {as_well}" if by_chance else ""))


def _texts(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column as text, in one piece."""
    return plain(one_array(column)).cast(pa.large_string())


def _constraints(tables: Tables) -> list[Diagnostic]:
    constraints = tables.schema.constraints
    if not constraints:
        return []
    broken, rows = np.zeros(len(constraints), dtype=np.int64), 0
    for block in tables.synthetic.blocks():
        table = pa.Table.from_batches([block])
        broken += [int(np.count_nonzero(~np.asarray(c.holds(table)))) for c in constraints]
        rows += block.num_rows
    return [
        Diagnostic(f"Constraint: {c}", int(n) == 0, f"broken by {int(n):,} of {rows:,} rows")
        for c, n in zip(constraints, broken, strict=True)
    ]


def _shares(name: str, shares: dict[str, float], what: str, by_chance: dict[str, float]) -> Diagnostic:
    """A check of all columns that fails by those of `shares`, and names those that chance explains."""
    bad, fresh = ({n: s for n, s in found.items() if s > 1e-9} for found in (shares, by_chance))
    n_columns = len(shares) + len(by_chance)
    text = f"{what}: {_with_shares(bad)}" if bad else f"no {'more ' if fresh else ''}{what} "
    if not bad:
        text += f"{'than fresh rows have ' if fresh else ''}in {n_columns} columns"
    return Diagnostic(name, not bad, text + (f"; no more than fresh rows have: {_with_shares(fresh)}" if fresh else ""))


def _with_shares(found: dict[str, float]) -> str:
    return listed((f"'{n}' ({found[n]:.2%})" for n in sorted(found, key=lambda n: -found[n])), _NAMED)


def _named(names: list[str], before: str) -> str:
    return before + ", ".join(f"'{n}'" for n in names[:_NAMED]) if names else ""


@dataclass(frozen=True)
class SyntheticColumn:
    """One column of the synthetic table.

    Args:
        name: of the column.
        kind: by the model's schema, else by the synthetic table itself.
        synthetic: its distribution; None for identifiers and personal data.
        missing_synthetic: share of rows without a value.
    """

    name: str
    kind: Kind
    synthetic: Marginal | None
    missing_synthetic: float


def synthetic_columns(tables: Tables) -> tuple[SyntheticColumn, ...]:
    """The columns of the synthetic table, as they are without a look at the real one."""
    alone = tables.synthetic_alone
    if alone is None:
        return ()
    marginals, n_rows = alone.marginals(), alone.synthetic_statistics.n_rows
    columns = []
    for name, kind in alone.kinds.items():
        own = marginals[name][1] if name in marginals else None
        columns.append(SyntheticColumn(name, kind, own, 0.0 if own is None else own.missing / n_rows))
    return tuple(columns)
