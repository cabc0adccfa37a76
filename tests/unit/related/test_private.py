"""Several tables within a budget: one ledger, caps, keys, what is refused; and no row shows but through noise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from outcome import value_of
from unit.related.measures import pointing_nowhere

from raysynth import Odometer, RelationalSynthesizer, load_synthetic_model
from raysynth.cli.database import made_up_shop
from raysynth.dp.accounting.accountant import total_epsilon
from raysynth.dp.accounting.calibration import PrivacyBudget, gaussian_delta, gaussian_noise_multiplier
from raysynth.dp.accounting.ledger import Mechanism
from raysynth.dp.accounting.scope import ROW_COUNT_SHARE
from raysynth.dp.mechanisms.noise import InsecureSeededNoise
from raysynth.errors import InputError, ParameterError
from raysynth.related.private import epsilon_of
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.relations import CrossTableRule, DatabaseSchema, Relation, TableKeys
from raysynth.schema.table import TableSchema

CAPS = {"orders": 4, "lines": 3}
KEYS = ("orders.customer_id -> customers.id", "lines.order_id -> orders.id", "lines.product_id -> products.id")
SCHEMA = DatabaseSchema(
    (
        TableKeys("customers", ("id",)),
        TableKeys("orders", ("id",)),
        TableKeys("lines"),
        TableKeys("products", ("id",), reference=True),
    ),
    tuple(map(Relation.parse, KEYS)),
)


def microseconds(day: str) -> float:
    return float(pd.Timestamp(day).timestamp() * 1e6)


YEARS = (microseconds("2019-01-01"), microseconds("2028-01-01"))
SCHEMAS = {
    "customers": TableSchema(
        (
            ColumnSchema("age", Kind.CONTINUOUS, "int64", bounds=(18, 90), decimals=0),
            ColumnSchema("member", Kind.BOOLEAN, "bool"),
            ColumnSchema("region", Kind.CATEGORICAL, "string", categories=("north", "south", "east", "west")),
            ColumnSchema("since", Kind.DATETIME, "timestamp[us]", bounds=YEARS),
        )
    ),
    "orders": TableSchema(
        (
            ColumnSchema("day", Kind.DATETIME, "timestamp[us]", bounds=YEARS),
            ColumnSchema("channel", Kind.CATEGORICAL, "string", categories=("app", "shop", "web")),
        )
    ),
    "lines": TableSchema((ColumnSchema("quantity", Kind.CONTINUOUS, "int64", bounds=(1, 15), decimals=0),)),
}


def synthesizer(**changes: Any) -> RelationalSynthesizer:
    settings: dict[str, Any] = {"relations": SCHEMA, "schemas": SCHEMAS, "epsilon": 8.0, "root": "customers"}
    return RelationalSynthesizer(**{**settings, "caps": CAPS, "seed": 0, "verbose": False, **changes})


@pytest.fixture(scope="module")
def real() -> dict[str, pd.DataFrame]:
    return made_up_shop(0, 1500)


@pytest.fixture(scope="module")
def model(real: dict[str, pd.DataFrame]) -> RelationalSynthesizer:
    fitted = synthesizer()
    fitted._noise = InsecureSeededNoise(0)  # so that what the tests below see is not left to chance
    return value_of(lambda: fitted.fit(real))


@pytest.fixture(scope="module")
def made(model: RelationalSynthesizer) -> dict[str, pd.DataFrame]:
    return value_of(lambda: model.sample(seed=1))


def test_keys_point_to_rows_and_no_parent_has_more_children_than_its_cap(
    real: dict[str, pd.DataFrame], made: dict[str, pd.DataFrame]
) -> None:
    for relation in SCHEMA.relations:
        assert pointing_nowhere(made, relation) == 0
    for table, key in (("orders", "customer_id"), ("lines", "order_id")):
        assert made[table].groupby(key).size().max() == CAPS[table]
    assert not made["customers"].id.duplicated().any()
    assert made["products"].equals(real["products"])
    assert {n: list(t) for n, t in made.items()} == {n: list(t) for n, t in real.items()}


@pytest.mark.statistical
def test_what_depends_across_tables_is_learned(real: dict[str, pd.DataFrame], made: dict[str, pd.DataFrame]) -> None:
    """Members have more orders, and of more lines; noise and seeds are fixed, so nothing is left to chance."""
    for tables in (real, made):
        orders = tables["orders"].merge(tables["customers"], left_on="customer_id", right_on="id", suffixes=("", "_"))
        lines = tables["lines"].merge(orders, left_on="order_id", right_on="id")
        each = orders.groupby("member").size() / tables["customers"].groupby("member").size()
        assert each[True] > 1.5 * each[False]
        lines_each = lines.groupby("member").size() / orders.groupby("member").size()
        assert lines_each[True] > 1.15 * lines_each[False]
    assert abs(len(made["customers"]) - len(real["customers"])) < 60
    assert 18 <= made["customers"].age.min() <= made["customers"].age.max() <= 90


def test_a_file_keeps_rows_and_ledger_and_given_customers_get_orders(
    real: dict[str, pd.DataFrame], model: RelationalSynthesizer, made: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    model.save(tmp_path / "model.raysynth")
    loaded = load_synthetic_model(tmp_path / "model.raysynth")
    assert all(loaded.sample(seed=1)[n].equals(made[n]) for n in made)
    assert loaded.privacy_spent_.to_dict() == model.privacy_spent_.to_dict()
    given = real["customers"].head(50)
    children = model.sample_children({"customers": given}, seed=2)
    assert children["customers"].id.tolist() == given.id.tolist()
    assert children["orders"].customer_id.isin(given.id).all()


def test_one_ledger_whose_epsilon_follows_from_its_own_events(model: RelationalSynthesizer) -> None:
    """Recomputed by hand: the rho of all Gaussians and choices is that of one Gaussian, beside three numbers of rows.

    Choices of epsilon e have at most rho = e^2 / 8; the accountant charges discrete noise some 2 % more.
    """
    spent = model.privacy_spent_
    assert spent is not None and not spent.guarantee  # the noise is a test's
    assert {e.unit for e in spent.ledger} == {"row of 'customers' with all that descends from it"}
    last = [i for i, e in enumerate(spent.ledger) if e.released.startswith("table of a column")]
    events = list(spent.ledger)
    tables = [
        events[start:stop] for start, stop in zip([0, *(i + 1 for i in last)], [i + 1 for i in last], strict=False)
    ]
    for own, rows in zip(tables, (1, 4, 12), strict=True):  # one root row, its orders, their lines
        assert len(own) >= 4
        for (
            event
        ) in own:  # so many times as much as one row; of the levels of a histogram one row changes one cell each
            levels = (event.sensitivity / rows) ** 2
            assert levels >= 1 - 1e-9 and levels == pytest.approx(round(levels))
    gaussians = sum(e.steps / (2 * e.noise_multiplier**2) for e in spent.ledger if e.noise_multiplier)
    choices = sum(e.steps * e.epsilon**2 / 8 for e in spent.ledger if e.mechanism is Mechanism.EXPONENTIAL)
    numbers = [e.epsilon for e in spent.ledger if e.mechanism is Mechanism.LAPLACE]
    assert len(numbers) == 3 and numbers[-1] == pytest.approx(ROW_COUNT_SHARE * 8.0)
    sigma, low, high = 1 / math.sqrt(2 * (gaussians + choices)), 0.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_delta(middle, sigma) > spent.delta else (low, middle)
    assert spent.epsilon <= 8.0
    assert spent.epsilon == pytest.approx(total_epsilon(tuple(spent.ledger), spent.delta))
    assert high + sum(numbers) == pytest.approx(spent.epsilon, rel=0.04)


def test_each_table_is_learned_with_the_columns_above_it_the_nearest_first(model: RelationalSynthesizer) -> None:
    """Numbers of children and rows of references are values 0 .. n - 1, and nothing drawn depends on a number."""
    assert model.database_ is not None
    tables = model.database_.tables
    above = ["age", "member", "region", "since", "number of orders by customer_id"]
    own = ["day", "channel", "number of lines by order_id"]
    given = {"customers": [], "orders": [f"customers: {c}" for c in above]}
    given["lines"] = [f"orders: {c}" for c in own] + given["orders"]
    drawn = {"customers": above, "orders": own, "lines": ["quantity", "row of products by product_id"]}
    for name, rounds in (("customers", 5), ("orders", 3), ("lines", 2)):
        learned = tables[name].model.synthesizer  # type: ignore[union-attr]
        assert list(tables[name].context) == given[name]
        assert list(learned.schema_.names) == [*given[name], *drawn[name]]
        assert learned.private_rounds == rounds, "one for each column that is drawn"
        counts = [c for c in drawn[name] if c.startswith("number")]
        assert learned.forbidden_edges == ([(n, c) for n in counts for c in drawn[name] if c != n] or None)
        assert tables[name].n_rows == learned.n_rows_ > 0 and tables[name].n_alone == 0
    lines = tables["lines"].model.synthesizer.schema_  # type: ignore[union-attr]
    assert [lines[n].categories for n in ("orders: number of lines by order_id", "row of products by product_id")] == [
        tuple(range(CAPS["lines"] + 1)),
        tuple(range(len(model.database_.references["products"][0]))),
    ]
    assert lines["customers: number of orders by customer_id"].categories == tuple(range(CAPS["orders"] + 1))
    assert lines["customers: age"].bounds == (18, 90) and lines["customers: age"].decimals == 0
    assert lines["orders: channel"].categories == ("app", "shop", "web")


@pytest.mark.parametrize("share", [1e-3, 0.25, 0.5, 1.0])
def test_a_share_of_the_rho_has_the_epsilon_of_a_release_with_so_much_more_noise(share: float) -> None:
    budget = PrivacyBudget(2.0, 1e-6)
    sigma = gaussian_noise_multiplier(2.0, 1e-6) / math.sqrt(share)
    found = value_of(lambda: epsilon_of(budget, share))
    assert gaussian_delta(found, sigma) == pytest.approx(1e-6, rel=1e-4) and 0 < found <= 2.0


@pytest.fixture
def without_counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every noised figure is a constant, whatever was counted: what still differs does not go through noise."""
    from raysynth.dp.accounting import scope
    from raysynth.methods.bayesian_network import noised as rounds
    from raysynth.statistics import noised as statistics

    def constant(exact: np.ndarray, *_: Any, **__: Any) -> np.ndarray:
        return np.full(np.shape(exact), 25.0)

    monkeypatch.setattr(statistics, "noised_counts", constant)
    monkeypatch.setattr(rounds, "noised_counts", constant)
    monkeypatch.setattr(rounds, "chosen", lambda *_, **__: 0)
    monkeypatch.setattr(scope, "noised_count", lambda *_, **__: 100)
    yield


def test_neighbours_give_the_same_bytes_where_noise_hides_every_count(
    real: dict[str, pd.DataFrame], without_counts: None
) -> None:
    """Also where the missing root had what no table should have: and nothing is said of it."""
    few = {n: t.head(40) for n, t in real.items() if n != "products"} | {"products": real["products"]}
    odd = {
        "customers": pd.DataFrame(
            {"id": [7777, 3], "age": [900, 30], "region": ["nowhere", None], "member": [True] * 2}
        ),
        "orders": pd.DataFrame(
            {"id": [10_001, 9, 9, 8], "customer_id": [7777, 7777, 7777, 99_999], "channel": ["fax", "app", "app", None]}
        ),
        "lines": pd.DataFrame({"order_id": [10_001] * 30 + [None], "product_id": [600] * 31, "quantity": [1000] * 31}),
    }
    more = {n: pd.concat([t, odd[n]], ignore_index=True) if n in odd else t for n, t in few.items()}
    files = []
    for tables in (few, more):
        fitted = synthesizer(parameters={"private_rounds": 2})
        fitted._noise = InsecureSeededNoise(0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            files.append(fitted.fit(tables)._content().digest())
    assert files[0] == files[1]


def _with(**changes: Any) -> DatabaseSchema:
    return replace(SCHEMA, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"root": None}, "root="),
        ({"caps": {"orders": 4}}, "caps says nothing of 'lines'"),
        ({"caps": {**CAPS, "products": 3}}, "'products', which has no parent"),
        ({"caps": {**CAPS, "lines": 0}}, "caps\\['lines'\\] must be a whole number"),
        ({"root": "orders"}, "'customers' does not descend from 'orders'"),
        ({"root": "sellers"}, "no table 'sellers'"),
        ({"relations": None}, "declared, since inference reads rows"),
        ({"method": "trees"}, "method 'trees' has no privacy budget over several tables"),
        ({"method": "autoregressive"}, "method 'autoregressive' has no privacy budget"),
        ({"epsilon": None}, "root belongs to differential privacy"),
        ({"relations": _with(rules=(CrossTableRule.parse("orders.day >= customers.since"),))}, "from single rows"),
        ({"relations": _with(tables=(*SCHEMA.tables[:3], TableKeys("products", ("id",))))}, "'products' does not desc"),
        ({"relations": _with(relations=(*SCHEMA.relations, Relation.parse("customers.age -> customers.id, nullable")))},
         "self-references"),
    ],
)  # fmt: skip
def test_what_no_budget_covers_is_refused_by_name(
    changes: dict[str, Any], said: str, real: dict[str, pd.DataFrame]
) -> None:
    with pytest.raises(InputError, match=said):
        synthesizer(**changes).fit(real)


def test_a_network_draws_given_columns_only_where_none_depends_on_a_drawn_one(model: RelationalSynthesizer) -> None:
    grouped = model.database_.tables["lines"].model.synthesizer._generator()  # type: ignore[union-attr]
    generator = grouped.generator  # bins of numbers are joined
    child, parents = next((c, p) for c, p in enumerate(generator.network.parents) if p)
    with pytest.raises(InputError, match="is given and depends on"):
        generator.generate_given(np.zeros((2, len(generator.names)), np.uint16), [child], np.random.default_rng(0))
    assert parents


def test_fits_are_counted_by_an_odometer_and_no_file_names_it(real: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    folder, few = tmp_path / "odometer", {"customers": real["customers"].head(60)}
    Odometer(folder).set_limit(10.0, 1e-3)
    alone = {"relations": DatabaseSchema((TableKeys("customers", ("id",)),)), "caps": {}, "odometer": folder}
    alone["schemas"] = {"customers": SCHEMAS["customers"]}
    fitted = value_of(lambda: synthesizer(**alone).fit(few))
    with pytest.raises(ParameterError, match="nothing was released"):
        synthesizer(**alone).fit(few)
    (charge,) = Odometer(folder).charges
    assert (charge.epsilon, charge.unit) == (8.0, "row of 'customers' with all that descends from it")
    assert "odometer" not in fitted._content().meta["parameters"]
    synthesizer(**alone | {"epsilon": None, "root": None, "caps": None}).fit(few)
    assert not Odometer(folder).charges[-1].guarantee and not Odometer(folder).total.guarantee
