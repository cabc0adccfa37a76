"""A fitted database model and its file: parts come back, settings reach the models of rows, roots as asked for."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outcome import value_of
from unit.related.shop import KEYS, RELATIONS, shop

from raysynth import RelationalSynthesizer, load_synthetic_model
from raysynth.errors import ModelFileError, ParameterError
from raysynth.files.model_file import ModelContent
from raysynth.related.state import from_content, to_content
from raysynth.related.synthesizer import LEARNED_ROWS
from raysynth.schema.relations import CrossTableRule, DatabaseSchema, Relation

RULES = (CrossTableRule.parse("orders.day >= customers.joined"),)
SCHEMA = DatabaseSchema(KEYS, tuple(map(Relation.parse, RELATIONS)), RULES)


@pytest.fixture(scope="module")
def model() -> RelationalSynthesizer:
    given: dict[str, Any] = {"parameters": {"n_trees": 1, "leaf_rows": 7}, "seed": 2**62 - 2, "verbose": False}
    return value_of(lambda: RelationalSynthesizer(relations=SCHEMA, **given).fit(shop(80)))


def test_every_part_of_a_model_comes_back(model: RelationalSynthesizer) -> None:
    ours = model.database_
    theirs = value_of(lambda: from_content(to_content(ours, {"seed": 1})))
    assert (theirs.schema, theirs.key, theirs.nested, list(theirs.tables)) == (
        *(ours.schema, ours.key, ours.nested),
        list(ours.tables),
    )
    assert theirs.references["products"][0].equals(ours.references["products"][0])
    assert theirs.references["products"][1] == ours.references["products"][1]
    for name, table in ours.tables.items():
        again = theirs.tables[name]
        for field in fields(table):
            one, other = getattr(table, field.name), getattr(again, field.name)
            if field.name == "keys":
                assert {c: k.to_dict() for c, k in one.items()} == {c: k.to_dict() for c, k in other.items()}
            elif field.name == "model":
                assert (one is None) == (other is None)
                assert one is None or (one.given == other.given and one.synthesizer.seed == other.synthesizer.seed)
            else:
                assert one == other, f"{field.name} of {name}"
    assert theirs.declared == ours.declared and theirs.roots == ours.roots
    assert theirs.privacy_spent is None


def test_a_file_names_no_private_argument(model: RelationalSynthesizer, tmp_path: Path) -> None:
    left_out = {"relations", "schemas", "parameters", "odometer"}
    content = value_of(model._content)
    assert set(content.meta["parameters"]) == set(model.get_params()) - left_out
    assert content.meta["method"] == "relational" and content.meta["parameters"]["seed"] == 2**62 - 2
    model.save(tmp_path / "m")
    loaded = value_of(lambda: load_synthetic_model(tmp_path / "m"))
    assert loaded.parameters is None and loaded.seed == model.seed and loaded.stages_ == ()
    assert (
        loaded.versions_ is not None
        and "raysynth" in str(loaded.versions_)
        and loaded._content().digest() == content.digest()
    )


def test_files_whose_tables_do_not_fit_their_keys_are_refused(model: RelationalSynthesizer) -> None:
    content = to_content(model.database_, {})
    for change in ({"order": content.meta["order"][::-1]}, {"order": content.meta["order"][1:]}):
        with pytest.raises(ModelFileError, match="tables do not fit its relations"):
            from_content(ModelContent({**content.meta, **change}, content.arrays))
    tables = {n: dict(t) for n, t in content.meta["tables"].items()}
    summaries = next(t["summaries"] for t in tables.values() if t["summaries"] is not None)
    tables["customers"]["summaries"] = summaries
    with pytest.raises(ModelFileError, match="'customers' has no parent to summarise it"):
        from_content(ModelContent({**content.meta, "tables": tables}, content.arrays))


def test_settings_and_seeds_reach_the_models_of_rows(model: RelationalSynthesizer) -> None:
    for name, table in model.database_.tables.items():
        assert table.model is not None
        params = table.model.synthesizer.get_params()
        assert (params["n_trees"], params["leaf_rows"], params["max_rows"]) == (1, 7, LEARNED_ROWS)
        assert params["seed"] == (2**62 - 2 + model.database_.schema.names.index(name)) % 2**62
        assert params["rules"] == "none" and not params["verbose"]
    small = RelationalSynthesizer(relations=SCHEMA, parameters={"max_rows": 9}, seed=1)
    made = small._maker(SCHEMA, 1)("orders")
    assert made.get_params()["max_rows"] == 9 and made.method == "trees"
    mixed = RelationalSynthesizer(relations=SCHEMA, child_method="autoregressive", seed=1)._maker(SCHEMA, 1)
    assert [mixed(n).method for n in ("customers", "employees", "orders", "lines")] == [
        *("trees", "autoregressive" if SCHEMA.parents_of("employees") else "trees"),
        *("autoregressive", "autoregressive"),
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"parameters": {"seed": 3}}, "parameters names 'seed', which is no parameter of rows alone"),
        ({"parameters": {"speed": 3}}, "parameters names 'speed', which none of the methods of rows has"),
        ({"method": "copula"}, "method 'copula' cannot complete rows.*take 'trees' or 'autoregressive'"),
        ({"child_method": "tvae"}, "method 'tvae' cannot complete rows"),
        ({"parameters": {"rules": "always"}}, "rules"),
    ],
)
def test_arguments_that_no_method_of_rows_takes_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        RelationalSynthesizer(relations=SCHEMA, verbose=False, **given).fit(shop(30))


def test_roots_are_as_many_as_asked_for(model: RelationalSynthesizer) -> None:
    found = value_of(lambda: model._roots(0.5, {"customers": {"age": (30, 50)}}, {"employees": 7}))
    assert {n: (r.n, r.conditions) for n, r in found.items()} == {
        "customers": (40, {"age": (30, 50)}),
        "employees": (7, None),
    }
    assert (
        model._roots(1e-9, None, None)["customers"].n == 1
        and model._roots(1, None, {"customers": 0})["customers"].n == 0
    )
    assert model._roots(1.49 / 80, None, None)["customers"].n == 1
    for scale in (0, -1.0, float("inf"), float("nan"), True, "1"):
        with pytest.raises(ParameterError, match="scale must be a number above 0"):
            model._roots(scale, None, None)  # type: ignore[arg-type]
    for rows, conditions in (({"orders": 3}, None), (None, {"lines": {}}), ({"products": 1}, None)):
        with pytest.raises(ParameterError, match="is no root table; ask for rows of these: customers, employees"):
            model._roots(1.0, conditions, rows)
    with pytest.raises(ParameterError, match=r"rows\['customers'\]"):
        model._roots(1.0, None, {"customers": -1})


def test_given_parents_stay_and_others_are_made_in_scale(model: RelationalSynthesizer) -> None:
    customers = shop(80)["customers"].head(20)
    made = value_of(lambda: model.sample_children({"customers": customers}, seed=4, scale=0.5))
    assert made["customers"].equals(customers) and len(made["employees"]) == 30
    assert made["orders"].customer.isin(customers.id).all()
    steps = made["orders"].merge(customers, left_on="customer", right_on="id")
    assert (steps.day >= steps.joined).all()
    assert (np.diff(made["orders"].groupby("customer").size().to_numpy()).size) > 0
