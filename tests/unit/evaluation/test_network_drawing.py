"""Tests of the drawing of a network: parents above children, no overlap, names escaped in the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from raysynth.evaluation import evaluate_synthetic_data
from raysynth.evaluation.network_drawing import draw_network

EDGES = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("a", "d"), ("e", "c")]


def test_every_child_stands_below_its_parents_and_no_two_columns_overlap() -> None:
    drawing = draw_network(EDGES)
    at = {n.name: n for n in drawing.nodes}
    assert set(at) == set("abcde") and len(drawing.paths) == len(EDGES)
    assert all(at[child].y > at[parent].y for parent, child in EDGES)
    for node in drawing.nodes:
        assert node.width / 2 <= node.x <= drawing.width - node.width / 2
        others = [o for o in drawing.nodes if o.y == node.y and o is not node]
        assert all(abs(o.x - node.x) >= (o.width + node.width) / 2 for o in others)


def test_the_order_of_a_layer_keeps_arrows_from_crossing() -> None:
    drawing = draw_network([("left", "l"), ("right", "r"), ("left", "m"), ("right", "n")])
    at = {n.name: n.x for n in drawing.nodes}
    assert (at["left"] < at["right"]) == (at["l"] < at["r"]) == (at["m"] < at["n"])


def test_the_report_draws_it_and_the_shareable_one_does_not(tmp_path: Path) -> None:
    rows = pd.DataFrame({"<i>x": np.arange(40) % 3, "y": np.arange(40) % 2}).astype(str)
    info = {"method": "bayesian_network", "network": [("<i>x", "y")]}
    results = evaluate_synthetic_data(rows, rows, metrics=["statistical_similarity"], model_info=info)
    results.generate_report(tmp_path / "full.html")
    results.generate_report(tmp_path / "shared.html", shareable=True)
    full, shared = ((tmp_path / f).read_text(encoding="utf-8") for f in ("full.html", "shared.html"))
    assert "Learned network" in full and ">&lt;i&gt;x</text>" in full
    assert "Learned network" not in shared


def test_an_edge_that_passes_a_layer_goes_round_it_on_its_own_side() -> None:
    """products -> lines stood behind 'customers', as if these two were joined."""
    drawing = draw_network([("customers", "orders"), ("orders", "lines"), ("products", "lines")])
    at = {n.name: n for n in drawing.nodes}
    side = 1 if at["products"].x > at["customers"].x else -1
    begin, turn = (float(xy.split(",")[0]) for xy in drawing.paths[2][1:].replace(" C", " ").split(" ")[:2])
    assert side * (begin - at["products"].x) > 0 and side * (turn - begin) > 0
