"""Schema of a database: its tables, the keys between them, and rules across tables; JSON on disk."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from raysynth.errors import SchemaError
from raysynth.files.storage import local_path, write_atomically

FORMAT_VERSION = 1
_NAME = r'"(?:[^"]|"")+"|[^\s".,()<>=]+'
_KEY = rf"\(\s*(?:{_NAME})(?:\s*,\s*(?:{_NAME}))*\s*\)|{_NAME}"
_COLUMNS = rf"({_NAME})\.({_KEY})"
_RELATION = re.compile(rf"\s*{_COLUMNS}\s*->\s*{_COLUMNS}\s*(,\s*nullable)?\s*")
_BY = rf"(?:\s+by\s+({_KEY}))?\s*"
_COMPARISON = re.compile(rf"\s*({_NAME})\.({_NAME})\s*(>=|<=|==|>|<)\s*({_NAME})\.({_NAME}){_BY}")
_TOTAL = re.compile(rf"\s*({_NAME})\.({_NAME})\s*==?\s*(sum|count)\(\s*({_NAME})(?:\.({_NAME}))?\s*\){_BY}")


class _Keyed:
    def __post_init__(self) -> None:
        for name, given in [*vars(self).items()]:
            if name.endswith("_key"):  # a text is one column, and no tuple of its letters
                object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))


@dataclass(frozen=True)
class Relation(_Keyed):
    """A foreign key: every row of `child` names one row of `parent`, or none where the key is nullable.

    Args:
        parent, child: names of the tables; the same name twice is a self-reference.
        parent_key, child_key: columns, in the same order; several are a composite key. A text is one column.
        nullable: whether the child's key may be missing.
    """

    parent: str
    child: str
    parent_key: tuple[str, ...]
    child_key: tuple[str, ...]
    nullable: bool = False

    @classmethod
    def parse(cls, text: str) -> Relation:
        """From `text`, 'visits.patient_id -> patients.id', child first.

        Composite keys stand in brackets, 'flights.(origin,hour) -> weather.(origin,hour)'; ', nullable' may follow;
        names with blanks, dots or brackets stand in double quotes. Raises `SchemaError` where the text is none.
        """
        found = _RELATION.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise SchemaError(
                f"{text!r} is no relation; write 'visits.patient_id -> patients.id', composite keys as "
                "'a.(x,y) -> b.(x,y)', names with blanks, dots or brackets in double quotes"
            )
        child, child_key, parent, parent_key, nullable = found.groups()
        relation = cls(_bare(parent), _bare(child), _names(parent_key), _names(child_key), nullable is not None)
        relation.validate()
        return relation

    def __str__(self) -> str:
        keys = f"{_spelled(self.child, self.child_key)} -> {_spelled(self.parent, self.parent_key)}"
        return keys + (", nullable" if self.nullable else "")

    @property
    def is_self_reference(self) -> bool:
        """Whether a table's rows name rows of the same table."""
        return self.child == self.parent

    def validate(self) -> None:
        """Raise `SchemaError` where a table is no text, or the keys are empty, repeat a column or differ in length."""
        if not (isinstance(self.parent, str) and isinstance(self.child, str)):
            raise SchemaError(f"parent and child are names of tables; found {self.parent!r} and {self.child!r}")
        if not self.child_key or len(self.child_key) != len(self.parent_key):
            raise SchemaError(
                f"relation {self}: a key has as many columns in '{self.child}' as in '{self.parent}', at least one; "
                f"found {len(self.child_key)} and {len(self.parent_key)}"
            )
        for table, key in ((self.child, self.child_key), (self.parent, self.parent_key)):
            if len(set(key)) < len(key):
                raise SchemaError(f"relation {self}: the key of '{table}' names a column twice")


@dataclass(frozen=True)
class TableKeys(_Keyed):
    """Keys and order of one table of a database.

    Args:
        name: of the table.
        primary_key: its columns; () = none, a text is one.
        order: column by which the rows of one parent are a sequence; None: they are a set.
        reference: the table is public and kept as it is (countries, airports).
    """

    name: str
    primary_key: tuple[str, ...] = ()
    order: str | None = None
    reference: bool = False


@dataclass(frozen=True)
class CrossTableRule(_Keyed):
    """A rule between each row and its parent, or between each row and all of its children.

    Args:
        kind: '>=', '>', '<=', '<' or '==' (each child's value compared with its parent's; '==' is a copy), 'sum'
            (the parent's value is the sum of its children's), 'count' (it is the number of its children).
        child, child_column: the child's side; the column is '' for 'count'.
        parent, parent_column: the parent's side.
        child_key: which foreign key of the child is meant; () = the only one between both tables, a text is one column.
    """

    kind: str
    child: str
    child_column: str
    parent: str
    parent_column: str
    child_key: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> CrossTableRule:
        """From `text`: 'visits.day >= patients.born', 'orders.total = sum(lines.amount)', 'orders.n = count(lines)'.

        ' by order_id' may follow, where several keys lead from the child to the parent.

        Raises:
            SchemaError: the text is none.
        """
        if not isinstance(text, str):
            raise SchemaError(f"a rule across tables is text; found {text!r}")
        if found := _TOTAL.fullmatch(text):
            parent, parent_column, kind, child, child_column, by = found.groups()
            if (kind == "count") == (child_column is None):
                names = (_bare(child), _bare(child_column or ""), _bare(parent), _bare(parent_column))
                return cls(kind, *names, _names(by or ""))
        elif found := _COMPARISON.fullmatch(text):
            child, child_column, kind, parent, parent_column, by = found.groups()
            names = (_bare(child), _bare(child_column), _bare(parent), _bare(parent_column))
            return cls(kind, *names, _names(by or ""))
        raise SchemaError(
            f"{text!r} is no rule across tables; write 'child.column >= parent.column' (or >, <=, <, ==), "
            "'parent.column = sum(child.column)' or 'parent.column = count(child)'"
        )

    def __str__(self) -> str:
        by = f" by {_spelled('', self.child_key)}" if self.child_key else ""
        parent, child = (_spelled(self.parent, (self.parent_column,)), _quoted(self.child))
        if self.kind in ("sum", "count"):
            return f"{parent} = {self.kind}({child}{'.' + _quoted(self.child_column) if self.child_column else ''}){by}"
        return f"{_spelled(self.child, (self.child_column,))} {self.kind} {parent}{by}"


@dataclass(frozen=True)
class DatabaseSchema:
    """The tables of a database, in the order of the output, the keys between them and the rules across them.

    Args:
        tables: one `TableKeys` for each table.
        relations: foreign keys.
        rules: `CrossTableRule` values; each must hold in every sampled row.

    Raises:
        SchemaError: a table is named twice or not at all, keys do not match, or a rule has no relation to follow.
    """

    tables: tuple[TableKeys, ...]
    relations: tuple[Relation, ...] = ()
    rules: tuple[CrossTableRule, ...] = ()

    def __post_init__(self) -> None:
        if repeated := sorted(name for name, count in Counter(self.names).items() if count > 1):
            raise SchemaError(f"tables are declared twice: {', '.join(repeated)}")
        for relation in self.relations:
            relation.validate()
            if absent := {relation.parent, relation.child} - set(self.names):
                raise SchemaError(f"relation {relation}: {_absent(min(absent), self.names)}")
        object.__setattr__(self, "relations", tuple(dict.fromkeys(self.relations)))  # a catalogue may repeat a key
        keys = Counter(str(replace(r, nullable=False)) for r in self.relations)
        if repeated := sorted(key for key, n in keys.items() if n > 1):
            raise SchemaError(f"relations are declared twice: {', '.join(repeated)}")
        for rule in self.rules:
            self.relation_of(rule)
        for table in self.tables:
            if table.order is not None and not self.parents_of(table.name):
                raise SchemaError(
                    f"table '{table.name}' has the order '{table.order}', but no parent whose sequence its rows could "
                    "be; declare the relation, or take the order out"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tables, in the order of the output."""
        return tuple(table.name for table in self.tables)

    def __getitem__(self, name: str) -> TableKeys:
        for table in self.tables:
            if table.name == name:
                return table
        raise SchemaError(f"the database has no table '{name}'; it has: {', '.join(self.names)}")

    def parents_of(self, table: str) -> tuple[Relation, ...]:
        """The foreign keys of `table`, self-references too."""
        return tuple(r for r in self.relations if r.child == table)

    def children_of(self, table: str) -> tuple[Relation, ...]:
        """The foreign keys that lead to `table`, self-references too."""
        return tuple(r for r in self.relations if r.parent == table)

    def roots(self) -> tuple[str, ...]:
        """Tables without a parent; self-references, keys that `set_aside` names, and reference tables do not count."""
        later = {*self.set_aside(), *(r for r in self.relations if self[r.parent].reference)}
        return tuple(n for n in self.names if all(r in later for r in self.parents_of(n)))

    def topological(self) -> tuple[str, ...]:
        """Names of all tables, each after its parents; keys that `set_aside` names do not count.

        Raises:
            SchemaError: a cycle of keys that may not be missing; names its tables and columns.
        """
        return self._ordered()[0]

    def set_aside(self) -> tuple[Relation, ...]:
        """Self-references, and of each cycle the nullable keys that are filled last; raises as `topological`."""
        return self._ordered()[1]

    def relation_of(self, rule: CrossTableRule) -> Relation:
        """The foreign key that `rule` follows; raises `SchemaError` where it is none, or one of several."""
        between = [r for r in self.parents_of(rule.child) if r.parent == rule.parent]
        found = [r for r in between if rule.child_key in ((), r.child_key)]
        if len(found) != 1:
            keys = f"there are {len(between)}: {'; '.join(map(str, between))}" if between else "there is none"
            raise SchemaError(
                f"rule '{rule}' needs one key that leads from '{rule.child}' to '{rule.parent}'; {keys}. Declare it"
                + (", or choose one by ' by COLUMN'" if between else "")
            )
        return found[0]

    def validate(self, columns: Mapping[str, Sequence[str]]) -> DatabaseSchema:
        """Raise `SchemaError` for a table or column that the database does not have, by name. Returns self.

        Args:
            columns: names of the columns of each table.
        """
        if absent := [name for name in self.names if name not in columns]:
            raise SchemaError(_absent(absent[0], columns))
        if undeclared := [name for name in columns if name not in self.names]:
            raise SchemaError(f"table '{undeclared[0]}' is not in the schema, which has: {', '.join(self.names)}")
        for where, table, names in self._mentioned():
            if wrong := [name for name in names if name not in columns[table]]:
                there = ", ".join(map(str, columns[table]))
                raise SchemaError(f"{where}: table '{table}' has no column '{wrong[0]}'; it has: {there}")
        return self

    def without(self, tables: Collection[str] = (), relations: Collection[Relation] = ()) -> DatabaseSchema:
        """The same without some `tables` and `relations`, and without the rules and orders along such keys."""
        left = tuple(r for r in self.relations if r not in relations and not {r.child, r.parent} & {*tables})
        children, rules = {r.child for r in left}, tuple(r for r in self.rules if self.relation_of(r) in left)
        kept = (t if t.name in children else replace(t, order=None) for t in self.tables if t.name not in tables)
        return DatabaseSchema(tuple(kept), left, rules)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; attributes at their default are left out."""
        texts = {"relations": [str(r) for r in self.relations], "rules": [str(r) for r in self.rules]}
        return {"format_version": FORMAT_VERSION, "tables": [_plain(t) for t in self.tables], **texts}

    @classmethod
    def from_dict(cls, content: Any) -> DatabaseSchema:
        """The schema of `content`, as `to_dict` gives it; raises `SchemaError` for anything else."""
        if not isinstance(content, Mapping) or content.get("format_version") != FORMAT_VERSION:
            raise SchemaError(f"a schema of a database is an object with tables and format_version {FORMAT_VERSION}")
        if unknown := set(content) - {"format_version", "tables", "relations", "rules"}:
            raise SchemaError(f"a schema of a database has no entry '{min(map(str, unknown))}'")
        for entry in ("tables", "relations", "rules"):
            if not isinstance(content.get(entry, []), list):
                raise SchemaError(f"'{entry}' of a schema of a database must be a list; found {content[entry]!r}")
        return cls(
            tuple(_table_from(t) for t in content.get("tables", [])),
            tuple(Relation.parse(r) for r in content.get("relations", [])),
            tuple(CrossTableRule.parse(r) for r in content.get("rules", [])),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to `path` as JSON; raises `StorageError`."""
        write_atomically(path, (json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DatabaseSchema:
        """Read from `path` what `save` wrote; raises `SchemaError` that names the file."""
        file = local_path(path, "relations")
        try:
            return cls.from_dict(json.loads(file.read_text(encoding="utf-8")))
        except SchemaError as error:
            raise SchemaError(f"'{file}': {error}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise SchemaError(f"'{file}' cannot be read as the schema of a database (JSON): {error}") from None

    def _mentioned(self) -> Iterable[tuple[str, str, Sequence[str]]]:
        """(what names them, table, columns) of everything that names columns."""
        for relation in self.relations:
            yield f"relation {relation}", relation.child, relation.child_key
            yield f"relation {relation}", relation.parent, relation.parent_key
        for table in self.tables:
            yield f"primary key of '{table.name}'", table.name, table.primary_key
            yield f"order of '{table.name}'", table.name, () if table.order is None else (table.order,)
        for rule in self.rules:
            yield f"rule '{rule}'", rule.child, (rule.child_column,) if rule.child_column else ()
            yield f"rule '{rule}'", rule.parent, (rule.parent_column,)

    def _ordered(self) -> tuple[tuple[str, ...], tuple[Relation, ...]]:
        """Tables, parents first (Kahn 1962), and the relations that had to wait.

        Where every table left waits for another one, one of a cycle that waits for nothing outside of it goes next, if
        all keys that it waits for are nullable. If there is none, each of that cycle has a key that is not: a cycle.
        """
        aside = [r for r in self.relations if r.is_self_reference]
        placed: list[str] = []
        while left := [n for n in self.names if n not in placed]:
            unmet = {n: [r for r in self.parents_of(n) if r.parent in left and r not in aside] for n in left}
            ready = [n for n in left if not unmet[n]]
            if not ready:
                above = {n: _reached(n, unmet) for n in left}
                circle = [n for n in left if all(n in above[a] for a in above[n])]
                ready = [n for n in circle if all(r.nullable for r in unmet[n])][:1]
                if not ready:
                    raise SchemaError(_cycle_message(circle[0], unmet))
                aside += unmet[ready[0]]
            placed += ready
        return tuple(placed), tuple(r for r in self.relations if r in aside)


def _reached(start: str, unmet: Mapping[str, Sequence[Relation]]) -> set[str]:
    """All tables that a table waits for, in any number of steps."""
    found, todo = set[str](), [start]
    while todo:
        new = {r.parent for r in unmet[todo.pop()]} - found
        found, todo = found | new, [*todo, *new]
    return found


def _cycle_message(start: str, unmet: Mapping[str, Sequence[Relation]]) -> str:
    """What is wrong with a cycle of keys that may not be missing, each of its keys by name."""
    walk, at = list[Relation](), start
    while at not in [r.child for r in walk]:
        walk.append(next(r for r in unmet[at] if not r.nullable))
        at = walk[-1].parent
    keys = "; ".join(str(r) for r in walk[[r.child for r in walk].index(at) :])
    return (
        f"the keys {keys} form a cycle, and none of them may be missing: no row could be the first. Declare "
        "one of them nullable (add ', nullable'), or leave it out"
    )


def _absent(name: str, names: Iterable[str]) -> str:
    return f"no table '{name}'; there are: {', '.join(names)}. Add it, correct the name, or leave the relation out"


def _quoted(name: str) -> str:
    return name if re.fullmatch(_NAME, name) and name[0] != '"' else '"' + name.replace('"', '""') + '"'


def _spelled(table: str, key: Sequence[str]) -> str:
    """'table.column' or 'table.(column,column)'; without a table the key alone."""
    columns = ",".join(_quoted(c) for c in key)
    return (f"{_quoted(table)}." if table else "") + (columns if len(key) == 1 else f"({columns})")


def _bare(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _names(key: str) -> tuple[str, ...]:
    return tuple(_bare(n) for n in re.findall(_NAME, key))


def _plain(table: TableKeys) -> dict[str, Any]:
    entries = ((f.name, getattr(table, f.name), f.default) for f in fields(table))
    return {k: list(v) if isinstance(v, tuple) else v for k, v, default in entries if v != default}


def _table_from(content: Any) -> TableKeys:
    """One table from its JSON: its name alone, or an object."""
    entry = {"name": content} if isinstance(content, str) else content
    if not isinstance(entry, Mapping) or (unknown := set(entry) - {f.name for f in fields(TableKeys)}):
        found = f"has no entry '{min(map(str, unknown))}'" if isinstance(entry, Mapping) else f"is no {content!r}"
        raise SchemaError(f"a table of a database {found}; it has: name, primary_key, order, reference")
    key: Any = entry.get("primary_key", ())
    is_text = isinstance(entry.get("name"), str) and isinstance(entry.get("order"), (str, type(None)))
    is_key = isinstance(key, (str, list, tuple)) and all(isinstance(k, str) for k in key)
    if not (is_text and is_key and isinstance(entry.get("reference", False), bool)):
        raise SchemaError(
            f"a table of a database has a name (text), primary_key (list of names), order (a name or null) and "
            f"reference (true or false); found {dict(entry)!r}"
        )
    return TableKeys(entry["name"], key, entry.get("order"), bool(entry.get("reference")))
