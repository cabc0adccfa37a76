"""What every method promises, checked: `check_synthesizer(MyMethod, epochs=1)`, in the way of scikit-learn's suite.

A method that passes behaves like raysynth's own wherever these promises are relied on: constructor and parameters, what
is refused and how, types that come back, repeatable rows, conditions, files, and the privacy budget. How good its rows
are is another question (`raysynth.evaluation`).
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raysynth.errors import (
    ConditionError,
    DataError,
    InputError,
    NotFittedError,
    ParameterError,
    RaysynthError,
    SchemaError,
)
from raysynth.fitting.checks import is_private
from raysynth.methods.base import Synthesizer
from raysynth.methods.parameters import Declared, declared
from raysynth.methods.registry import load_synthetic_model
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema

N_ENTITIES, N_VISITS = 60, 4
EPSILON, DELTA = 20.0, 1e-3  # much, so that a small table is enough for every mechanism
KEY = "entity"
ON_ENTITIES = {"kind": "b"}  # a condition that a method of sequences meets, too
CONDITIONS: tuple[dict[str, Any], ...] = (ON_ENTITIES, {"kind": ["a", "b"], "count": (2, 6)}, {"flag": True})
FIRST_DAY, LAST_DAY = pd.Timestamp("2024-01-01"), pd.Timestamp("2024-12-31")
SCHEMA = TableSchema(
    (
        ColumnSchema("kind", Kind.CATEGORICAL, "string", categories=("a", "b", "c"), nullable=False),
        ColumnSchema("count", Kind.CONTINUOUS, "int64", bounds=(0, 8), nullable=False),
        ColumnSchema("amount", Kind.CONTINUOUS, "double", bounds=(-5, 5), decimals=3),
        ColumnSchema("flag", Kind.BOOLEAN, "bool", nullable=False),
        ColumnSchema("day", Kind.DATETIME, "timestamp[us]", bounds=(FIRST_DAY.value // 1000, LAST_DAY.value // 1000)),
        ColumnSchema("maybe", Kind.CONTINUOUS, "int64", "Int64", bounds=(0, 4), decimals=0),
    )
)

WITHIN_BUDGET: dict[str, Any] = {"epsilon": EPSILON, "delta": DELTA, "schema": SCHEMA}

# How a fit was spread; its schema is `schema_`.
NOT_IN_FILES = {"schema", "scaling_config", "run_config", "keep_shards", "odometer"}


def check_synthesizer(cls: type[Synthesizer], **parameters: Any) -> tuple[str, ...]:
    """Check that a method keeps what all methods promise; call it in the tests of a method of your own.

    Args:
        cls: the class of the method.
        parameters: constructor arguments by which a fit of 240 rows is quick (epochs, small networks). The table has
            the columns kind (text), count (whole numbers), amount (numbers, some missing), flag (bool), day (times),
            maybe (nullable whole numbers) and, for methods of sequences, entity (their key).

    Returns:
        The names of the checks, all passed.

    Raises:
        AssertionError: names every check that failed, and says what was expected and what was found.
    """
    case = Case(cls, parameters)
    failures = []
    for check in CHECKS:
        try:
            check(case)
        except (AssertionError, RaysynthError, TypeError, ValueError, KeyError, AttributeError) as error:
            failures.append(f"{check.__name__}: {type(error).__name__}: {error}")
    if failures:
        raise AssertionError(f"{cls.__name__} breaks {len(failures)} promise(s):\n" + "\n".join(failures))
    return tuple(check.__name__ for check in CHECKS)


@dataclass(frozen=True)
class Case:
    """A method under check, with the table that it learns; one fit serves all checks that only look at it."""

    cls: type[Synthesizer]
    parameters: dict[str, Any]

    def make(self, **more: Any) -> Synthesizer:
        """A new synthesizer of the method, not fitted; `more` goes before the suite's own parameters."""
        own = {"sequence_key": KEY, "static_columns": ["kind"]} if self.cls.learns_sequences else {}
        given = {"seed": 1, "verbose": False, **own, **self.parameters, **more}
        return self.cls(**{**(WITHIN_BUDGET if self.is_always_private else {}), **given})

    @cached_property
    def is_always_private(self) -> bool:
        """Whether the method has a budget by default; its noise comes from no seed then."""
        return is_private(self.cls(**self.parameters))

    @cached_property
    def table(self) -> pd.DataFrame:
        """The table that the suite fits, with a key column for methods of sequences."""
        return conformance_table(with_key=self.cls.learns_sequences)

    @cached_property
    def fitted(self) -> Synthesizer:
        """A synthesizer fitted to `table`, shared by the checks that change nothing."""
        return self.make().fit(self.table)

    @property
    def conditions(self) -> Sequence[dict[str, Any]]:
        """What rows are asked for."""
        return (ON_ENTITIES,) if self.cls.learns_sequences else CONDITIONS


def conformance_table(*, with_key: bool = False) -> pd.DataFrame:
    """A table of 240 rows, a few for each of 60 entities, with a column of every usual type."""
    rng = np.random.default_rng(20)
    n = N_ENTITIES * N_VISITS
    count = rng.integers(0, 9, n)
    amount = np.where(rng.random(n) < 0.2, np.nan, np.round(count / 4 + rng.normal(size=n), 3))
    columns: dict[str, Any] = {
        "kind": np.repeat(rng.choice(["a", "b", "c"], N_ENTITIES), N_VISITS),
        "count": count,
        "amount": np.clip(amount, -5, 5),
        "flag": rng.random(n) < 0.4,
        "day": (FIRST_DAY + pd.to_timedelta(rng.integers(0, 300, n), unit="D")).astype("datetime64[us]"),
        "maybe": pd.Series(rng.integers(0, 5, n), dtype="Int64").where(rng.random(n) < 0.8),
    }
    if with_key:
        columns = {KEY: np.repeat(np.arange(N_ENTITIES), N_VISITS) + 1000, **columns}
    return pd.DataFrame(columns)


# ---- the promises ----------------------------------------------------------------------------------------------------


def constructor_keeps_its_arguments(case: Case) -> None:
    """Keyword arguments with defaults, kept as they are under their names; nothing is fitted or checked yet."""
    arguments = list(inspect.signature(case.cls).parameters.values())
    for argument in arguments:
        _require(argument.kind is argument.KEYWORD_ONLY, f"'{argument.name}' is no keyword-only argument")
        _require(argument.default is not argument.empty, f"'{argument.name}' has no default")
    _require({a.name for a in arguments} == set(case.cls().get_params()), "get_params does not name all arguments")
    given = {**case.make().get_params(), "categorical_columns": ["kind"]}
    kept = case.cls(**given)
    for name, value in given.items():
        _require(getattr(kept, name) is value, f"'{name}' is not kept as it was given")


def parameters_are_set_and_cloned(case: Case) -> None:
    """`set_params` refuses an unknown name; a clone is unfitted and has the same parameters."""
    with _refusal(ParameterError, "no_such_parameter"):
        case.make().set_params(no_such_parameter=1)
    copy = case.fitted.clone()
    _require(type(copy) is case.cls and copy.get_params() == case.fitted.get_params(), "a clone has other parameters")
    with _refusal(NotFittedError):
        copy.sample(1)


def values_out_of_range_are_refused(case: Case) -> None:
    """Of every declared parameter, by its name, and before the data is looked at."""
    for name, one in declared(case.cls).items():
        for value in values_out_of_range(one):
            with _refusal(ParameterError, name):
                case.make(**{name: value}).fit(None)


def nothing_works_before_fit(case: Case) -> None:
    """`sample` and `save` ask for `fit` first."""
    with _refusal(NotFittedError):
        case.make().sample(3)
    with tempfile.TemporaryDirectory() as folder, _refusal(NotFittedError):
        case.make().save(Path(folder) / "model")


def bad_tables_are_refused(case: Case) -> None:
    """No rows, no table, or a column that is listed and not there; a fit that failed leaves nothing fitted."""
    if not case.is_always_private:  # within a budget no error depends on rows
        with _refusal(DataError):
            case.make().fit(case.table.iloc[:0])
    with _refusal(InputError):
        case.make().fit({"kind": 3})
    model = case.make(categorical_columns=["no such column"])
    with _refusal(SchemaError, "no such column"):
        model.fit(case.table)
    with _refusal(NotFittedError):
        model.sample(1)


def types_come_back(case: Case) -> None:
    """Columns in their order with their dtypes, as many rows as asked for, and the learned table as it was."""
    before = conformance_table(with_key=case.cls.learns_sequences)
    rows = case.fitted.sample(7, seed=0)
    pd.testing.assert_frame_equal(case.table, before, obj="the table that was learned from")
    _require(list(rows) == list(before), f"columns are {list(rows)}; expected {list(before)}")
    for name in before:
        _require(rows[name].dtype == before[name].dtype, f"'{name}' is {rows[name].dtype}, was {before[name].dtype}")
    found = rows[KEY].nunique() if case.cls.learns_sequences else len(rows)
    _require(found == 7, f"{found} came where 7 were asked for")
    _require(set(rows["kind"].dropna()) <= {"a", "b", "c"}, "a category was made up")


def the_same_seed_gives_the_same_rows(case: Case) -> None:
    """In sampling, and in fitting without a budget (whose noise comes from no seed); another seed gives others."""
    rows = case.fitted.sample(20, seed=5)
    pd.testing.assert_frame_equal(case.fitted.sample(20, seed=5), rows, obj="rows of the same seed")
    _require(not case.fitted.sample(20, seed=6).equals(rows), "another seed gives the same rows")
    if case.is_always_private:
        return
    again = case.fitted.clone().fit(case.table).sample(20, seed=5)
    pd.testing.assert_frame_equal(again, rows, obj="rows of a second fit with the same seed")


def conditions_are_met(case: Case) -> None:
    """By every row, on any column; what cannot be is refused by name."""
    for wanted in case.conditions:
        rows = case.fitted.sample(15, conditions=wanted, seed=2)
        for name, value in wanted.items():
            met = rows[name].between(*value) if isinstance(value, tuple) else rows[name].isin(np.atleast_1d(value))
            _require(bool(len(rows)) and bool(met.all()), f"{(~met).sum()} rows do not meet {name}={value!r}")
    with _refusal(ConditionError, "kind"):
        case.fitted.sample(5, conditions={"kind": "no such kind"})
    with _refusal(ConditionError, "no such column"):
        case.fitted.sample(5, conditions={"no such column": 1})


def a_file_holds_the_model(case: Case) -> None:
    """What is loaded gives the same rows and has the same parameters and schema; the file has no pickle."""
    with tempfile.TemporaryDirectory() as folder:
        case.fitted.save(Path(folder) / "model")
        loaded = load_synthetic_model(Path(folder) / "model", allow_methods=[case.cls])
    _require(type(loaded) is case.cls, f"a {type(loaded).__name__} was loaded: a class needs a `method` of its own")
    rows = case.fitted.sample(20, seed=3)
    pd.testing.assert_frame_equal(loaded.sample(20, seed=3), rows, obj="rows of the loaded model")
    _require(loaded.schema_ == case.fitted.schema_, "the schema is another after loading")
    kept = loaded.get_params()
    for name, value in case.fitted.get_params().items():
        if name not in NOT_IN_FILES:
            _require(
                _as_list(kept[name]) == _as_list(value), f"'{name}' is {kept[name]!r} after loading, was {value!r}"
            )


def a_budget_is_kept_or_refused(case: Case) -> None:
    """Within epsilon, every release in the ledger, also in the file; or no differential privacy, and it says so."""
    more = dict(WITHIN_BUDGET)
    if case.cls.learns_sequences:
        key = ColumnSchema(KEY, Kind.IDENTIFIER, "int64", nullable=False)
        more |= {"sequence_length": N_VISITS, "schema": replace(SCHEMA, columns=(key, *SCHEMA.columns))}
    model = case.make(**more)
    if not case.cls.has_differential_privacy:
        with _refusal(ParameterError, "differential privacy"):
            model.fit(case.table)
        return
    spent = model.fit(case.table).privacy_spent_
    if spent is None:
        raise AssertionError("a fit within a budget says nothing of what it spent")
    _require(len(spent.ledger) > 0, "the ledger is empty")
    _require(0 < spent.epsilon <= EPSILON * (1 + 1e-6), f"epsilon = {spent.epsilon} was spent of {EPSILON}")
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        loaded = load_synthetic_model(Path(folder) / "model", allow_methods=[case.cls])
    kept = loaded.privacy_spent_
    _require(kept is not None and kept.to_dict() == spent.to_dict(), "the file has another ledger")
    _require(len(model.sample(5, seed=0)) >= 5, "a private model does not sample")


CHECKS: tuple[Callable[[Case], None], ...] = (
    constructor_keeps_its_arguments,
    parameters_are_set_and_cloned,
    values_out_of_range_are_refused,
    nothing_works_before_fit,
    bad_tables_are_refused,
    types_come_back,
    the_same_seed_gives_the_same_rows,
    conditions_are_met,
    a_file_holds_the_model,
    a_budget_is_kept_or_refused,
)


def values_out_of_range(one: Declared) -> list[Any]:
    """Values of another kind than a parameter's, and values just outside its bounds."""
    wrong: dict[Any, list[Any]] = {
        bool: ["yes", 2],
        int: ["many", 1.5, True],
        float: ["much", float("nan"), True],
        str: [3],
        tuple: [(), (0,), (1.5,), 7],
        Sequence: ["name", 7],
    }
    found = list(wrong.get(one.kind, []))
    bounds, step = one.parameter, 1 if one.kind is int else 1e-9
    if one.kind in (int, float):
        found += [] if bounds.at_least is None else [bounds.at_least - step]
        found += [] if bounds.at_most is None else [bounds.at_most + step]
        found += [bound for bound in (bounds.above, bounds.below) if bound is not None]
    if bounds.one_of:
        found.append("no such choice")
    return found if one.may_be_none or one.kind is None else [*found, None]


def _require(holds: bool, otherwise: str) -> None:
    """As `assert`, which optimised Python leaves out."""
    if not holds:
        raise AssertionError(otherwise)


@contextmanager
def _refusal(error: type[RaysynthError], *words: str) -> Iterator[None]:
    """What is done inside is refused by this error, in a message with these words."""
    try:
        yield
    except error as found:
        for word in words:
            _require(word in str(found), f"the error does not name '{word}': {found}")
    except Exception as other:
        raise AssertionError(f"expected a {error.__name__}; found {type(other).__name__}: {other}") from other
    else:
        raise AssertionError(f"expected a {error.__name__} naming {words}; nothing was raised")


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
