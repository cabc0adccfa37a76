"""Custom rules on rows, written as an expression such as "age >= years_employed + 14".

The text is parsed by Python's `ast` into a tree of listed operations and evaluated on whole columns by Arrow; nothing
is ever executed, so a rule from a hostile schema file can at worst be refused. The language:

    names               columns; `native-country` or col('native-country') for a name that is no Python word
    values              numbers, 'text', True, False; ISO 8601 text beside a time: admitted >= '2024-01-31'
    comparison          ==  !=  <  <=  >  >=  (chains too: 0 <= age <= 120),  in / not in ('a', 'b')
    logic               and, or, not, with unknown as a third value
    arithmetic          +  -  *  /  //  %;  of times + and -, and a span / or // another: (left - came) / days(1)
    functions           isnull(x), notnull(x), abs(x), min(x, y, ...), max(x, y, ...)
    spans of time       days(n), hours(n), minutes(n), seconds(n) of a number or a column: left == came + days(stay)
    parts of a time     year(t), quarter(t), month(t), week(t) (ISO), day(t), weekday(t) (0: Monday), dayofyear(t),
                        hour(t)

A comparison with a missing value is unknown, 'unknown or True' is true, 'unknown and False' is false (three-valued
logic, as in SQL); a row breaks the rule only where it is known to be false. A division by zero is missing.
"""

from __future__ import annotations

import ast
import gc
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from raysynth.errors import ConstraintError
from raysynth.schema.constraints.base import (
    TEXT,
    Constraint,
    Replacement,
    column_of,
    known_columns,
    satisfied,
    storage_type,
)
from raysynth.schema.constraints.derived import Derived, solved
from raysynth.schema.constraints.evaluation import PARTS, SPANS, evaluate
from raysynth.schema.table import TableSchema

MAX_LENGTH = 2000
MAX_DEPTH = 40
FUNCTIONS = {"isnull": 1, "notnull": 1, "abs": 1, **dict.fromkeys([*SPANS, *PARTS], 1), "min": None, "max": None}
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`([^`]+)`""")
_ALLOWED = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.BinOp),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE),
    *(ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Name, ast.Load, ast.Constant, ast.Call, ast.Tuple, ast.List, ast.Set),
)


@dataclass(frozen=True)
class Expression(Constraint):
    """A rule on single rows as text: columns, numbers, texts, arithmetic, comparisons, `and`, `or`, `not`, `in`.

    An equality is met by construction: one column is computed from the others (`schema/constraints/derived.py`). All
    other rules are met by rejection.

    Args:
        text: for example "age >= years_employed + 14 and (sex != 'M' or pregnant == False)".
    """

    text: str
    kind: ClassVar[str] = "expression"

    def __post_init__(self) -> None:
        parse(self.text)

    @property
    def involves(self) -> tuple[str, ...]:
        """The columns named in the text, in order."""
        return tuple(dict.fromkeys(n.id for n in ast.walk(parse(self.text)) if isinstance(n, ast.Name)))

    def validate(self, schema: TableSchema) -> None:
        """Columns of `schema`, and operations that their types allow."""
        texts = [n.value for n in ast.walk(parse(self.text)) if isinstance(n, ast.Constant)]
        quoted = [str(t) for t in texts if isinstance(t, str) and t in schema]
        cure = f"; '{quoted[0]}' in quotes is a text: for the column write `{quoted[0]}`" if quoted else ""
        if not self.involves:
            raise ConstraintError(f"{self} names no column{cure}")
        columns = known_columns(self, schema)
        empty = pa.table({c.name: pa.array([], storage_type(c.arrow_type)) for c in columns})
        try:
            result = self._evaluate(empty)
        except ConstraintError as error:
            raise ConstraintError(f"{error}{cure}") from None
        if not pa.types.is_boolean(result.type):
            raise ConstraintError(f"{self} gives {result.type}, not true or false; compare it with something")

    def holds(self, table: pa.Table) -> np.ndarray:
        """For each row of `table` whether the rule is not known to be false."""
        return satisfied(self._evaluate(table), table.num_rows)

    def replacements(self, schema: TableSchema) -> tuple[Replacement, ...]:
        """The column of `schema` that an equality computes from others; none where it solves for no column."""
        found = solved(parse(self.text), schema)
        if found is None:
            return ()
        operands = tuple(schema[n] for n in self.involves if n != found[0])
        return (Derived(schema[found[0]], operands, self.text, found[1]),)

    def _evaluate(self, table: pa.Table) -> pa.Array | pa.Scalar:
        columns = {name: column_of(table, name) for name in self.involves}
        try:
            return evaluate(parse(self.text), columns)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            types = ", ".join(f"'{n}' is {'text' if c.type == TEXT else c.type}" for n, c in columns.items())
            reason = str(error).split("\n")[0]
            raise ConstraintError(f"{self} cannot be evaluated where {types}: {reason}") from None


@lru_cache(maxsize=256)
def parse(text: str) -> ast.expr:
    """The checked tree, with col('x') as a name; raises `ConstraintError` for anything outside the language."""
    if not isinstance(text, str) or not text.strip():
        raise ConstraintError('an Expression needs a text such as "age >= 18"')
    if len(text) > MAX_LENGTH:
        raise ConstraintError(f"an Expression has at most {MAX_LENGTH} characters; split it into several constraints")
    try:
        tree = _tree(_unquoted(text.strip()))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConstraintError(f"Expression {text!r} cannot be read: {error}") from None
    _check(tree, text, 0)
    return _ColumnNames().visit(tree).body


def _tree(text: str) -> ast.Expression:
    """Python's tree; a collection of garbage in its middle that parses, too, would be an error of 3.11 (gh-106905)."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(text, mode="eval")
    finally:
        if collects:
            gc.enable()


def _unquoted(text: str) -> str:
    """The text with `name` (as in pandas' query and in MySQL) as col('name'); inside of quotes nothing changes."""
    return _QUOTED.sub(lambda m: f"col({m[1]!r})" if m[1] is not None else m[0], text)


def _check(node: ast.AST, text: str, depth: int) -> None:
    where = f"Expression {text!r}"
    if depth > MAX_DEPTH:
        raise ConstraintError(f"{where} is nested too deeply; split it into several constraints")
    if not isinstance(node, _ALLOWED):
        raise ConstraintError(
            f"{where}: {type(node).__name__} is not allowed; use comparisons, and/or/not, + - * / // %, in, "
            f"col('name') and {', '.join(FUNCTIONS)}"
        )
    if isinstance(node, ast.Constant) and not _is_plain(node.value):
        raise ConstraintError(
            f"{where}: the value {node.value!r} is not allowed; for a missing value use isnull(column)"
        )
    if isinstance(node, ast.Call):
        _check_call(node, where)
    if isinstance(node, ast.Compare) and any(isinstance(o, (ast.In, ast.NotIn)) for o in node.ops):
        _check_membership(node, where)
    elif isinstance(node, (ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare)) and any(
        isinstance(child, (ast.Tuple, ast.List, ast.Set)) for child in ast.iter_child_nodes(node)
    ):
        raise ConstraintError(f"{where}: a list of values may stand after `in` only")
    for child in ast.iter_child_nodes(node):
        # the name of a function is no column
        if not (isinstance(node, ast.Call) and child is node.func):
            _check(child, text, depth + 1)


def _check_call(node: ast.Call, where: str) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else None
    if node.keywords:
        raise ConstraintError(f"{where}: functions take no named arguments")
    if name == "col":
        if len(node.args) != 1 or not (isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)):
            raise ConstraintError(f"{where}: col takes the name of a column, for example col('native-country')")
        return
    if name not in FUNCTIONS:
        raise ConstraintError(f"{where}: unknown function; there are col, {', '.join(FUNCTIONS)}")
    wanted = FUNCTIONS[name]
    if (len(node.args) != wanted) if wanted else (len(node.args) < 2):
        raise ConstraintError(
            f"{where}: {name} takes {wanted or 'two or more'} argument{'s' if wanted is None else ''}"
        )
    if name in SPANS and isinstance(node.args[0], ast.Constant) and not _is_number(node.args[0].value):
        raise ConstraintError(f"{where}: {name} takes a number below a million, or a column of numbers")


def _check_membership(node: ast.Compare, where: str) -> None:
    group = node.comparators[0]
    is_list = isinstance(group, (ast.Tuple, ast.List, ast.Set)) and group.elts
    if len(node.ops) != 1 or not is_list or not all(isinstance(e, ast.Constant) for e in group.elts):  # type: ignore[attr-defined]
        raise ConstraintError(f"{where}: `in` takes a list of values, for example sex in ('F', 'M')")


def _is_plain(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 1 << 63
    return isinstance(value, (bool, float, str))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6


class _ColumnNames(ast.NodeTransformer):
    """col('x') to the name x."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "col":
            argument = node.args[0]
            assert isinstance(argument, ast.Constant)
            return ast.Name(id=str(argument.value), ctx=ast.Load())
        # only the arguments: the function's own name is no column
        node.args = [self.visit(a) for a in node.args]
        node.func = ast.Constant(value=node.func.id)  # type: ignore[attr-defined]
        return node
