"""Keys whose order tells of other columns: row numbers of a table in order of time, parcels numbered by district.

Made keys that do not follow the other columns could be told from real ones by these. So the number of such a key is
learned as that of any other column, by cells that at least `rare_threshold` persons share, and made keys lie near the
drawn numbers (`kinds/identifier/making.py`). No real key is an end of a cell, and none is read when keys are made.
Without a privacy budget only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.data.fragments import Table
from raysynth.kinds.identifier.pattern import ROW_NUMBERS_FROM, parse_pattern
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.table import TableSchema
from raysynth.statistics.relations import sampled_rows
from raysynth.statistics.table_statistics import ColumnStatistics, TableStatistics

FALSE_ALARM = 1e-4  # of a key that tells nothing, over all columns
GROUPS, ROWS_OF_GROUP = 32, 50
MOST_CLASSES = 64
SAID = "made near the keys of like rows, since their order tells of other columns"


def with_keys_in_order(table: Table, schema: TableSchema, statistics: TableStatistics) -> TableSchema:
    """The schema with `in_order` of the keys whose order tells of other columns, or that do not fill their range.

    Args:
        table: its dates read.
        schema: of its columns, persons known. statistics: exact.
    """
    keys = [c for c in schema.columns if c.in_order is None and _may_be(c, schema, statistics)]
    if not keys:
        return schema
    rows = sampled_rows(table)
    found = [c.name for c in keys if _tells(rows, c, schema)]
    columns = [_in_order(c, statistics.columns[c.name]) if c.name in found else c for c in schema.columns]
    return replace(schema, columns=tuple(columns))


def _in_order(column: ColumnSchema, seen: ColumnStatistics) -> ColumnSchema:
    low, high = seen.extremes or (0, 0)
    each, said = (int(high) - int(low) + 1) / seen.n_distinct, SAID
    if each > 1 / ROW_NUMBERS_FROM:  # of row numbers, which fill their range, it was said
        said += f"; where these lie, one number in {each:,.3g} is a real key"
    reason = f"{column.reason}; {said}" if column.reason else said
    return replace(column, in_order=True, reason=reason, inferred=(*column.inferred, "in_order"))


def _may_be(column: ColumnSchema, schema: TableSchema, statistics: TableStatistics) -> bool:
    """Whether it is a key of whole numbers, of rows or of persons (a second one, too, `within` it), that none lacks."""
    seen = statistics.columns[column.name]
    if not column.kind.is_key or not pa.types.is_integer(column.arrow_type) or seen.missing:
        return False
    if column.within not in (None, schema.entity):
        return False
    of_persons = column.within is not None or column.name == schema.entity
    return seen.n_distinct > GROUPS and (seen.summary.all_unique or of_persons)


def _tells(rows: pa.Table, key: ColumnSchema, schema: TableSchema) -> bool:
    """Whether groups of neighbouring keys differ in another column, or keys lie unevenly in the pattern's range.

    Of persons with several rows one of each counts, and only what their order tells: where other keys in the same order
    stood for them, rows would be made alike.
    """
    from scipy.stats import kstest  # takes a second, which a table without such keys need not wait for

    numbers, first = np.unique(rows.column(key.name).to_numpy(), return_index=True)
    of_rows = len(first) == rows.num_rows
    rows, numbers = rows.take(pa.array(first)), numbers.astype(np.float64)
    pattern = parse_pattern(key.pattern or "integer", key.name)
    low, size = float(getattr(pattern, "low", 0)), float(pattern.size)
    if of_rows and kstest((numbers - low + 0.5) / size, "uniform").pvalue < FALSE_ALARM:
        return True
    groups = int(min(GROUPS, len(numbers) // ROWS_OF_GROUP))
    others = [c for c in schema.columns if c.name != key.name and c.kind.is_modelled]
    if groups < 2 or not others:
        return False
    group_N = np.argsort(np.argsort(numbers, kind="stable"), kind="stable") * groups // len(numbers)
    return any(_p_value(rows.column(c.name), c, group_N, groups) < FALSE_ALARM / len(others) for c in others)


def _p_value(values: pa.ChunkedArray, column: ColumnSchema, group_N: np.ndarray, groups: int) -> float:
    """Of groups that do not differ: of numbers twice the smaller of Kruskal and Wallis' (1952) and of the ranks'
    correlation's (Spearman 1904), which sees weaker trends; of categories by chi-square.
    """
    from scipy.stats import chi2_contingency, kruskal, spearmanr

    if column.kind.is_numeric:
        present = pc.is_valid(values).to_numpy()
        rank_N, own_N = pc.rank(values, tiebreaker="dense").to_numpy()[present], group_N[present]
        samples = [x for x in (rank_N[own_N == g] for g in range(groups)) if len(x)]
        if len(samples) < 2 or rank_N.min() == rank_N.max():
            return 1.0
        return min(1.0, 2 * min(float(kruskal(*samples).pvalue), float(spearmanr(own_N, rank_N).pvalue)))
    codes = pc.fill_null(pc.dictionary_encode(values).combine_chunks().indices, -1).to_numpy() + 1
    shown = np.argsort(-np.bincount(codes), kind="stable")[:MOST_CLASSES]
    place = np.full(codes.max() + 1, len(shown))
    place[shown] = np.arange(len(shown))
    counts = np.bincount(group_N * (len(shown) + 1) + place[codes], minlength=groups * (len(shown) + 1))
    counts = counts.reshape(groups, -1)[:, : len(shown) + 1]
    counts = counts[:, counts.sum(0) >= 5 * groups]  # else the approximation does not hold
    counts = counts[counts.any(axis=1)]
    return float(chi2_contingency(counts, correction=False).pvalue) if min(counts.shape) > 1 else 1.0
