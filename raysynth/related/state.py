"""A fitted database model as one model file's content, and back: a model in the model for each table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.errors import ModelFileError
from raysynth.files.model_file import ModelContent, under
from raysynth.kinds.identifier.making import IdentifierEncoder
from raysynth.related.forms import Forms
from raysynth.related.learning import DatabaseModel, TableModel
from raysynth.related.plan import TablePlan, plan_of
from raysynth.related.rows import RowModel
from raysynth.related.siblings import Siblings
from raysynth.related.summaries import Summaries
from raysynth.schema.columns import ColumnSchema, column_from_dict, column_to_dict
from raysynth.schema.relations import DatabaseSchema, Relation
from raysynth.schema.table import TableSchema

METHOD = "relational"


def to_content(model: DatabaseModel, parameters: Mapping[str, Any]) -> ModelContent:
    """What `from_content` reads: reference tables as Arrow streams, all else as JSON values and arrays.

    Args:
        model: of the database. parameters: of the synthesizer, JSON values.
    """
    tables: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for number, (name, table) in enumerate(model.tables.items()):
        tables[name], own = _table_state(table)
        arrays |= {f"{number}.{k}": a for k, a in own.items()}
    for number, name in enumerate(sorted(model.references)):
        arrays[f"reference.{number}"] = _as_bytes(model.references[name][0])
    meta = {
        "method": METHOD,
        "parameters": dict(parameters),
        "database": model.schema.to_dict(),
        "nested": [str(r) for r in model.nested],
        "order": list(model.tables),  # of the tables: JSON keeps none
        "tables": tables,
        "references": {name: columns.to_dict() for name, (_, columns) in model.references.items()},
        "identifier_key": model.key,
    }
    return ModelContent(meta, arrays)


def from_content(content: ModelContent) -> DatabaseModel:
    """The inverse of `to_content`; raises `ModelFileError`, or what a damaged file raises."""
    meta, arrays = content.meta, content.arrays
    schema = DatabaseSchema.from_dict(meta["database"])
    references = {
        name: (_from_bytes(arrays[f"reference.{number}"]), TableSchema.from_dict(entry))
        for number, (name, entry) in enumerate(sorted(meta["references"].items()))
    }
    columns = {n: TableSchema.from_dict(t["schema"]) for n, t in meta["tables"].items()}
    columns |= {n: own for n, (_, own) in references.items()}
    types = {n: pa.schema([(c.name, c.arrow_type) for c in s.columns]) for n, s in columns.items()}
    rows = {n: int(t["n_rows"]) for n, t in meta["tables"].items()} | dict.fromkeys(references, 0)
    closest = {Relation.parse(t["primary"]): 1.0 for t in meta["tables"].values() if t.get("primary")}
    located = frozenset(Relation.parse(r) for t in meta["tables"].values() for r in t.get("located", ()))
    plans = {p.name: p for p in plan_of(schema, types, rows, closest, located)}
    if list(plans) != list(meta["order"]):
        raise ModelFileError("the model file's tables do not fit its relations; refit the model")
    tables = {
        name: _table_from(plan, meta["tables"][name], under(f"{number}.", arrays))
        for number, (name, plan) in enumerate(plans.items())
    }
    nested = tuple(r for r in schema.relations if str(r) in meta.get("nested", ()))  # earlier files have none
    return DatabaseModel(schema, tables, references, int(meta["identifier_key"]), nested)


def _table_state(table: TableModel) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    rows, arrays = (None, {}) if table.model is None else table.model.to_state()
    meta = {
        "primary": None if table.plan.primary is None else str(table.plan.primary),
        "located": [str(r) for r in table.plan.located],
        "schema": table.schema.to_dict(),
        "keys": {c: k.to_dict() for c, k in table.keys.items()},
        "columns": [column_to_dict(c) for c in table.forms.columns],
        "compared": list(table.forms.compared),
        "parted": sorted(table.forms.parted),
        "order": table.forms.order,
        "siblings": [column_to_dict(c) for c in table.siblings.columns],
        "repeated": sorted(table.siblings.repeated),
        "echoed": sorted(table.siblings.echoed),
        "summaries": None if table.summaries is None else table.summaries.to_dict(),
        "context": list(table.context),
        "n_rows": table.n_rows,
        "n_alone": table.n_alone,
        "line": table.line,
        "apart": [list(s) for s in table.apart],
        "model": rows,
    }
    return meta, arrays


def _table_from(plan: TablePlan, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> TableModel:
    columns = _columns(meta["columns"])
    above = meta.get("summaries")  # files of the first versions have none
    summaries = None
    if above is not None:
        if plan.primary is None:
            raise ModelFileError(f"table '{plan.name}' has no parent to summarise it; refit the model")
        summaries = Summaries.from_dict(plan.primary, above)
    compared = {c: r for c, r in plan.compared.items() if c in meta["compared"]}
    is_sequence = plan.order is not None or (summaries is not None and summaries.order is not None)
    line = meta["line"]
    return TableModel(
        plan=plan,
        schema=TableSchema.from_dict(meta["schema"]),
        keys={c: IdentifierEncoder.from_dict(k) for c, k in meta["keys"].items()},
        forms=Forms(columns, compared, meta["order"], frozenset(meta.get("parted", ()))),
        siblings=Siblings(
            _columns(meta["siblings"]),
            is_sequence,
            *(frozenset(meta.get(k, ())) for k in ("repeated", "echoed")),
        ),
        summaries=summaries,
        context=tuple(meta["context"]),
        model=None if meta["model"] is None else RowModel.from_state(meta["model"], arrays),
        n_rows=int(meta["n_rows"]),
        n_alone=int(meta["n_alone"]),
        line=None if line is None else (str(line[0]), int(line[1])),
        apart=tuple(tuple(map(str, s)) for s in meta.get("apart", ())),  # earlier files have none
    )


def _columns(entries: list[Any]) -> tuple[ColumnSchema, ...]:
    return tuple(column_from_dict(e) for e in entries)


def _as_bytes(rows: pa.Table) -> np.ndarray:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return np.frombuffer(sink.getvalue(), np.uint8)


def _from_bytes(data: np.ndarray) -> pa.Table:
    try:
        rows = pa.ipc.open_stream(pa.py_buffer(data.astype(np.uint8).tobytes())).read_all()
        rows.validate(full=True)
    except pa.ArrowException as error:
        raise ModelFileError(f"a reference table in the model file is damaged ({error}); refit the model") from error
    return rows
