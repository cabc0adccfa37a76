"""The network as a value: likelihood, state on disk, and the form pgmpy holds it in."""

from __future__ import annotations

import numpy as np
import pytest

from raysynth.errors import ModelFileError
from raysynth.methods.bayesian_network.network import Network, safe_names, to_pgmpy

NAMES = ("asia", "tub", "smoke", "lung", "bronc", "either", "xray", "dysp")


def test_log_prob_is_the_joint(random_network, joint):
    network = random_network(5, 1)
    p = joint(network)
    grid = np.indices(network.cardinalities).reshape(5, -1).T
    possible = p.reshape(-1) > 0
    np.testing.assert_allclose(network.log_prob(grid)[possible], np.log(p.reshape(-1)[possible]), atol=1e-9)


def test_an_impossible_row_has_a_floor():
    network = Network((2,), ((),), (np.array([[1.0, 0.0]]),), 99.0)
    np.testing.assert_allclose(network.log_prob(np.array([[0], [1]])), [0.0, np.log(0.005)])


def test_state_goes_round(asia):
    meta, arrays = asia.to_state()
    again = Network.from_state(meta, arrays)
    assert again.parents == asia.parents and again.cardinalities == asia.cardinalities
    for a, b in zip(again.tables, asia.tables, strict=True):
        np.testing.assert_array_equal(a, b, err_msg="rows of a loaded model are those of the fitted one")


def test_rounded_tables_of_earlier_files_are_read(asia):
    meta, arrays = asia.to_state()
    again = Network.from_state(meta, {name: a.astype(np.float32) for name, a in arrays.items()})
    for a, b in zip(again.tables, asia.tables, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
        np.testing.assert_allclose(a.sum(axis=1), 1.0, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "damage",
    [
        lambda meta, arrays: meta.pop("parents"),
        lambda meta, arrays: meta.update(parents=[[99], *meta["parents"][1:]]),
        lambda meta, arrays: meta.update(parents=[[1], *meta["parents"][1:]]),
        lambda meta, arrays: arrays.update({"table.0": np.array([[2.0, -1.0]])}),
        lambda meta, arrays: arrays.update({"table.0": np.array([[np.nan, 1.0]])}),
        lambda meta, arrays: arrays.pop("table.3"),
        lambda meta, arrays: meta.update(cardinalities=["x"] * 8),
    ],
)
def test_a_damaged_state_is_refused(asia, damage):
    meta, arrays = asia.to_state()
    damage(meta, arrays)
    with pytest.raises(ModelFileError):
        Network.from_state(meta, arrays)


def test_a_cyclic_state_is_refused():
    table = np.full((2, 2), 0.5)
    meta = {"cardinalities": [2, 2], "parents": [[1], [0]], "n_rows": 1}
    with pytest.raises(ModelFileError, match="cycl"):
        Network.from_state(meta, {"table.0": table, "table.1": table})


def test_pgmpy_answers_queries_and_writes_bif(asia, joint, tmp_path):
    from pgmpy.inference import VariableElimination
    from pgmpy.readwrite import BIFReader

    states = [["yes", "no, or {unknown}"]] * 8
    model = to_pgmpy(asia, NAMES, states)
    assert model.check_model()
    answer = VariableElimination(model).query(["lung"], evidence={"dysp": "yes"}, show_progress=False)
    p = joint(asia)[..., 0].sum(axis=(0, 1, 2, 4, 5, 6))
    np.testing.assert_allclose(answer.values, p / p.sum(), atol=1e-9)
    model.save(str(tmp_path / "asia.bif"))
    again = BIFReader(str(tmp_path / "asia.bif")).get_model()
    assert set(again.edges()) == set(model.edges())
    np.testing.assert_allclose(again.get_cpds("dysp").values.sum(), 4)


def test_safe_names_are_distinct_and_hold_no_reserved_characters():
    assert safe_names(["a,b", "a;b", " a_b ", ""]) == ["a_b", "a_b_2", "a_b_3", "_"]
