"""Table schema: what each column is, how it may leave, and the rules between columns; JSON on disk.

Constraints come from JSON by a table from their kind to their class, which `constraints/` fills.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from raysynth.errors import ConstraintError, SchemaError
from raysynth.files.notebook import html_table
from raysynth.files.storage import place, write_atomically
from raysynth.schema.columns import PROVENANCE, ColumnSchema, Kind, as_kind, column_from_dict, column_to_dict

FORMAT_VERSION = 1


@dataclass(frozen=True)
class TableSchema:
    """All columns in order, the constraints between them, and the protection of rare values.

    Args:
        columns: one `ColumnSchema` for each column, in the order of the output. A schema for a fit without a budget may
            leave columns out: these are inferred.
        constraints: `raysynth.constraints.Constraint` values; each must hold in every sampled row.
        rare_threshold: categories in fewer rows than this are never sampled, nor are this many of the smallest and of
            the largest numbers (default 5; 1 switches the protection off).
        max_categories: most categories of a column with a code of their own; the rest shares one (default 1,000).
        entity: column that says whose each row is, where persons have several rows: `rare_threshold` then counts
            persons, and the column is made anew. None: found by `fit`, where a column looks like it.
        releases: the ledger (as JSON values) of what was released with noise for this schema, which every fit with it
            pays for; None: nothing was.
    """

    columns: tuple[ColumnSchema, ...] = ()
    constraints: tuple[Any, ...] = ()
    rare_threshold: int = 5
    max_categories: int = 1000
    entity: str | None = None
    releases: Mapping[str, Any] | None = None
    _by_name: dict[str, ColumnSchema] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("columns", "constraints"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._by_name.update({c.name: c for c in self.columns})

    def __getitem__(self, name: str) -> ColumnSchema:
        if name not in self._by_name:
            raise SchemaError(f"the schema has no column '{name}'; it has: {', '.join(self._by_name)}")
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(c.name for c in self.columns)

    @property
    def modelled(self) -> tuple[ColumnSchema, ...]:
        """The columns whose values a model learns (the others are regenerated)."""
        return tuple(c for c in self.columns if c.kind.is_modelled)

    def as_modelled(self) -> TableSchema:
        """The schema as models see it: dates that are written as text are datetimes."""
        return replace(self, columns=tuple(c.as_modelled() for c in self.columns))

    def with_column(self, name: str, **changes: Any) -> TableSchema:
        """A copy with `changes` of attributes of column `name`, as `with_column('zip', kind='categorical')`."""
        known = {f.name for f in fields(ColumnSchema)} - {"name", *PROVENANCE}
        if unknown := set(changes) - known:
            raise SchemaError(
                f"column '{name}': unknown attribute {sorted(unknown)}; valid: {', '.join(sorted(known))}"
            )
        if "kind" in changes:
            changes["kind"] = as_kind(changes["kind"], name)
            if not changes["kind"].is_dated:
                changes.setdefault("date_format", None)
        column = self[name]
        changes |= {p: tuple(f for f in getattr(column, p) if f not in changes) for p in PROVENANCE}
        changes.setdefault("reason", "declared")
        column = replace(column, **changes)
        column.validate()
        return replace(self, columns=tuple(column if c.name == name else c for c in self.columns))

    def declared_public(self) -> TableSchema:
        """The same schema with all fields declared public; call it only if you know them without looking at the rows.

        The reasons of the inference are left out, since they count rows.
        """
        columns = (replace(c, inferred=(), reason="declared") if c.inferred else c for c in self.columns)
        return replace(self, columns=tuple(columns))

    def require_public(self) -> None:
        """Raise `SchemaError` unless the schema may be used under a privacy budget.

        It may not where a field was read from the rows without noise, or was released with noise by a fit whose ledger
        the schema does not carry, so that its cost would be counted nowhere.
        """
        if self.releases is None and (unpaid := [c for c in self.columns if c.released]):
            raise SchemaError(
                f"column '{unpaid[0].name}': {', '.join(unpaid[0].released)} were released with noise by a fit, and "
                "the schema does not say at what cost, which another fit has to pay. Release a schema by "
                "infer_schema(data, epsilon=0.1), or, where you know these facts without the rows, declare them: edit "
                "the JSON and take its lists 'released' out"
            )
        private = [c for c in self.columns if c.inferred]
        if not private:
            return
        others = f", and as much of {len(private) - 1} other columns" if len(private) > 1 else ""
        raise SchemaError(
            f"column '{private[0].name}': {', '.join(private[0].inferred)} were read from the rows{others}; under a "
            "privacy budget a schema is public. Release one with noise by infer_schema(data, epsilon=0.1) (each fit "
            "with it pays for that), or, where you know these facts without the rows, declare them: edit the JSON and "
            "take its lists 'inferred' out, or use schema.declared_public()"
        )

    def validate(self, *, complete: bool = True) -> TableSchema:
        """Check every column and constraint by itself; raises `SchemaError` that names the column. Returns self.

        Args:
            complete: whether the schema declares all columns of its table. If not, constraints on others are not
                checked yet: where the table is opened, its other columns are inferred, and the whole is checked.
        """
        if not self.columns and not (self.constraints or self.entity):
            raise SchemaError("the schema has no columns")
        if repeated := sorted(name for name, count in Counter(self.names).items() if count > 1):
            raise SchemaError(f"column names must be unique; repeated: {', '.join(repeated)}")
        for column in self.columns:
            column.validate()
        if not (isinstance(self.rare_threshold, int) and self.rare_threshold >= 1):
            raise SchemaError(f"rare_threshold must be a whole number >= 1 (1 = off); found {self.rare_threshold!r}")
        if not (isinstance(self.max_categories, int) and self.max_categories >= 2):
            raise SchemaError(f"max_categories must be a whole number >= 2; found {self.max_categories!r}")
        if not (self.entity is None or isinstance(self.entity, str)):
            raise SchemaError(f"entity must be the name of a column; found {self.entity!r}")
        for column in self.columns:
            if column.within is not None and column.within not in self:
                raise SchemaError(f"column '{column.name}' is within '{column.within}', which the schema does not have")
        for constraint in self.constraints:
            if complete or all(name in self for name in constraint.involves):
                constraint.validate(self)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; attributes at their default are left out."""
        result: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "rare_threshold": self.rare_threshold,
            "max_categories": self.max_categories,
        }
        if self.columns:
            result["columns"] = [column_to_dict(c) for c in self.columns]
        if self.entity is not None:
            result["entity"] = self.entity
        if self.constraints:
            result["constraints"] = [c.to_dict() for c in self.constraints]
        if self.releases is not None:
            result["releases"] = self.releases
        return result

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, complete: bool = True) -> TableSchema:
        """The schema of `content`, as `to_dict` gives it, validated; raises `SchemaError`.

        `complete`: see `validate`; a schema without the entry 'columns' is not.
        """
        listed = (
            content.get("columns", [] if content.get("constraints") else None) if isinstance(content, Mapping) else 0
        )
        if not isinstance(listed, list):
            raise SchemaError("a schema is a JSON object with a list 'columns', or 'constraints', or both")
        if content.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
            raise SchemaError(
                f"schema format_version {content['format_version']!r} is not known; "
                f"this raysynth reads {FORMAT_VERSION}"
            )
        known = {"format_version", "rare_threshold", "max_categories", "entity", "columns", "constraints", "releases"}
        known |= {"$schema"}  # by which an editor completes entries; it says nothing of the table
        if unknown := set(content) - known:
            raise SchemaError(f"unknown entries in the schema: {sorted(unknown)}; valid: {sorted(known)}")
        columns = tuple(column_from_dict(c) for c in content.get("columns", ()))
        if "columns" in content and not columns:
            raise SchemaError("the schema has no columns; leave 'columns' out where all are to be inferred")
        constraints: tuple[Any, ...] = ()
        if content.get("constraints"):
            constraints = tuple(constraint_from_dict(c) for c in content["constraints"])
        limits = {k: content[k] for k in ("rare_threshold", "max_categories", "entity", "releases") if k in content}
        return cls(columns=columns, constraints=constraints, **limits).validate(
            complete=complete and "columns" in content
        )

    def save(self, path: str | os.PathLike[str], *, private: bool = False) -> None:
        """Write JSON to `path` (or URI), meant to be edited by hand; `private`: the user's alone (0600), since rows
        were read for it. Raises `StorageError`."""
        content = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        write_atomically(path, content.encode("utf-8"), private=private)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TableSchema:
        """Read from `path` what `save` wrote, or part of it; raises `SchemaError` that names the file and the fault."""
        file = place(path, "schema file")
        try:
            with file.open() as stream:
                content = json.loads(stream.read().decode("utf-8"))
        except OSError as error:
            raise SchemaError(f"cannot read schema file '{file}': {error.strerror or error}") from error
        except ValueError as error:
            raise SchemaError(f"schema file '{path}' is not valid JSON: {error}") from error
        return cls.from_dict(content, complete=False)

    def describe(self) -> str:
        """One line for each column with its name, its kind and the reason; this is what `fit` prints."""
        width = max(len(c.name) for c in self.columns)
        return "\n".join(f"{c.name:<{width}}  {c.kind:<12} {c.reason or 'declared'}" for c in self.columns)

    def _repr_html_(self) -> str:
        rows = [(c.name, c.kind, c.dtype or "", c.reason or "declared") for c in self.columns]
        caption = f"TableSchema of {len(self.columns)} columns"
        return html_table(caption, ("column", "kind", "type", "why"), rows, [f"Rule: {c!r}" for c in self.constraints])


def declared(schema: TableSchema, kinds: Mapping[Kind, Iterable[str] | None]) -> TableSchema:
    """The schema with the kinds of some columns fixed by lists of names (`categorical_columns=[...]`)."""
    seen: dict[str, Kind] = {}
    for kind, names in kinds.items():
        for name in names or ():
            if name in seen and seen[name] is not kind:
                raise SchemaError(f"column '{name}' is listed both as {seen[name]} and as {kind}; keep one")
            seen[name] = kind
            if name not in schema:
                raise SchemaError(
                    f"column '{name}' is listed as {kind}, but the table has no such column; "
                    f"it has: {', '.join(schema.names)}"
                )
            schema = schema.with_column(name, kind=kind, reason="declared")
    return schema


KINDS: dict[str, type[Any]] = {}


def constraint_from_dict(content: Any) -> Any:
    """The constraint of `content`, as `Constraint.to_dict` writes it: {"kind": "inequality", "low": "a", "high": "b"}.

    Raises:
        ConstraintError: unknown kind or attribute, or one that is missing; names it and what is valid.
    """
    if not isinstance(content, Mapping) or content.get("kind") not in KINDS:
        raise ConstraintError(f"a constraint is an object with 'kind', one of {', '.join(KINDS)}; found {content!r}")
    kind = KINDS[content["kind"]]
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items() if k != "kind"}
    known = {f.name: f for f in fields(kind)}
    if unknown := set(values) - set(known):
        raise ConstraintError(
            f"constraint '{content['kind']}': unknown entries {sorted(unknown)}; valid: {list(known)}"
        )
    needed = {n for n, f in known.items() if f.default is MISSING}
    if absent := needed - set(values):
        raise ConstraintError(f"constraint '{content['kind']}': missing entries {sorted(absent)}")
    for name, value in values.items():
        _check_entry(content["kind"], name, str(known[name].type), value)
    return kind(**values)


def _check_entry(kind: str, name: str, type_: str, value: Any) -> None:
    valid = {
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
        "float": isinstance(value, (int, float)) and not isinstance(value, bool),
        "tuple[str, ...]": isinstance(value, tuple) and all(isinstance(v, str) for v in value),
        "tuple[tuple[Any, ...], ...] | None": value is None
        or (isinstance(value, tuple) and all(isinstance(v, (list, tuple)) for v in value)),
    }
    if not valid.get(type_, True):
        raise ConstraintError(f"constraint '{kind}': entry '{name}' must be {type_}; found {value!r}")
