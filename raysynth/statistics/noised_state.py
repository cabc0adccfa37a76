"""Noised statistics as JSON values and arrays, so that they are released once and used by many fits, or after a stop.

They were released, so a file of them tells nothing that their ledger does not cover.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from raysynth.dp.accounting.ledger import Event, Ledger
from raysynth.errors import ModelFileError
from raysynth.schema.table import TableSchema
from raysynth.statistics.noised import NoisedColumn, NoisedStatistics
from raysynth.statistics.released import CategoryCounts, Noised, NoisedMean, NumericDistribution, from_plain, to_plain

_CELLS = ("low", "high", "counts")  # arrays of a distribution


def to_state(statistics: NoisedStatistics, schema: TableSchema) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """JSON values and named arrays that `from_state` reads.

    Args:
        statistics: of a table.
        schema: that they were released with: it says of which type the values are.
    """
    columns, arrays = [], {}
    for i, column in enumerate(statistics.columns.values()):
        entry: dict[str, Any] = {"name": column.name, "n_rows": column.n_rows, "missing": column.missing}
        if column.counts is not None:
            value = asdict(column.counts.value)
            arrays[f"{i}.counts"] = np.asarray(value.pop("counts"), dtype=np.float64)
            value["values"] = to_plain(value["values"], schema[column.name].value_type)
            entry["counts"] = {"value": value, "event": _event_out(column.counts.event)}
        if column.numbers is not None:
            value = asdict(column.numbers.value)
            arrays |= {f"{i}.{k}": np.asarray(value.pop(k), dtype=np.float64) for k in _CELLS}
            entry["numbers"] = {"value": value, "event": _event_out(column.numbers.event)}
        columns.append(entry)
    return {"n_rows": statistics.n_rows, "columns": columns}, arrays


def from_state(meta: dict[str, Any], arrays: dict[str, np.ndarray], schema: TableSchema) -> NoisedStatistics:
    """The inverse of `to_state`; raises `ModelFileError` where the state does not fit the schema."""
    try:
        columns = {}
        for i, entry in enumerate(meta["columns"]):
            name, counts, numbers = entry["name"], None, None
            if "counts" in entry:
                value = entry["counts"]["value"]
                values = tuple(from_plain(value["values"], schema[name].value_type))
                found = CategoryCounts(**{**value, "values": values, "counts": arrays[f"{i}.counts"]})
                counts = Noised(found, _event_in(entry["counts"]["event"]))
            if "numbers" in entry:
                cells = {k: arrays[f"{i}.{k}"] for k in _CELLS}
                value = {**entry["numbers"]["value"], **cells}
                value["noised"] = None if value.get("noised") is None else NoisedMean(**value["noised"])
                distribution = NumericDistribution(**value)
                numbers = Noised(distribution, _event_in(entry["numbers"]["event"]))
            columns[name] = NoisedColumn(name, entry["n_rows"], entry["missing"], counts, numbers)
        return NoisedStatistics(int(meta["n_rows"]), columns)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"the kept statistics do not fit this table's schema: {error}; fit anew, without them"
        ) from error


def _event_out(event: Event) -> dict[str, Any]:
    return Ledger([event]).to_dict()


def _event_in(content: dict[str, Any]) -> Event:
    return Ledger.from_dict(content).events[0]
