"""Results as text, JSON and HTML: complete, escaped, and without real figures where they must not be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raysynth.errors import ParameterError, StorageError
from raysynth.evaluation import EvaluationResults, evaluate_synthetic_data
from raysynth.evaluation.charts import column_chart
from raysynth.evaluation.report import render_report
from raysynth.evaluation.section import Section
from raysynth.schema.columns import Kind
from raysynth.statistics.released import CategoryCounts

HOSTILE = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def results() -> EvaluationResults:
    rng = np.random.default_rng(0)
    tables = []
    for _ in range(3):
        x = rng.normal(size=300)
        frame = pd.DataFrame(
            {"x": x, HOSTILE: np.where(x + rng.normal(size=300) > 0, '"><img src=x onerror=alert(1)>', "b")}
        )
        tables.append(
            frame.assign(when=pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 900, 300), unit="h"))
        )
    info = {
        "method": "ctgan",
        "parameters": {"note": "</style>" + HOSTILE},
        "ledger": [{"event": "dp-sgd", "epsilon": 1.0}],
    }
    return evaluate_synthetic_data(tables[0], tables[1], holdout_data=tables[2], model_info=info)


@pytest.fixture(scope="module")
def page(results: EvaluationResults, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "new" / "report.html"
    results.generate_report(path)
    return path.read_text(encoding="utf-8")


def test_the_summary_has_the_deciding_figures(results: EvaluationResults) -> None:
    text = results.summary()
    assert repr(results) == text, "not 90,000 characters of arrays"
    for part in (
        "Diagnostics",
        "Quality",
        "Told from real",
        "ML efficacy",
        "Privacy risk",
        "Membership inference",
        "Attribute attack",
    ):
        assert part in text


def test_json_holds_every_part_and_no_nan(results: EvaluationResults) -> None:
    content = json.loads(results.to_json(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    parts = {"diagnostics", "statistical_similarity", "realism", "ml_efficacy", "privacy_metrics", "privacy_attacks"}
    assert parts | {"model_info", "manifold", "notes"} <= set(content)
    assert set(content["privacy_attacks"]["success"]) == {
        "membership_inference",
        "attribute_inference",
        "model_inversion",
    }
    assert content["statistical_similarity"]["quality"] == pytest.approx(results.similarity.quality)  # type: ignore[union-attr]


def test_every_section_is_there(page: str) -> None:
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections == [
        "overview",
        "diagnostics",
        "columns",
        "pairs",
        "realism",
        "efficacy",
        "privacy",
        "attacks",
        "making",
        "glossary",
    ]
    assert "Private." in page


def test_names_and_values_are_escaped(page: str) -> None:
    assert HOSTILE not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<script") == 2  # the data of the pairs, and the report's own
    assert page.count("</style>") == 1


def test_the_file_asks_for_nothing_outside(page: str) -> None:
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", page)
    assert "@import" not in page and "url(" not in page


def test_a_shareable_report_has_no_real_figures(results: EvaluationResults, tmp_path: Path) -> None:
    path = tmp_path / "shared.html"
    results.generate_report(path, shareable=True)
    page = path.read_text(encoding="utf-8")
    assert re.findall(r'<section id="(\w+)"', page) == ["overview", "columns", "making", "glossary"]
    assert "Shareable." in page and "dp-sgd" in page
    assert results.similarity is not None
    for column in results.similarity.columns:
        assert f"{column.score:.3f}<" not in page
    assert "real-area" not in page.split("</style>")[1] and 'class="r"' not in page
    assert f"{results.similarity.quality:.1%}" not in page


def test_a_shareable_report_does_not_change_with_the_real_rows(results: EvaluationResults, tmp_path: Path) -> None:
    """The same synthetic table beside other real rows gives the same file (the date apart)."""
    rng = np.random.default_rng(1)
    synthetic = pd.DataFrame({"x": rng.normal(size=200), "c": rng.choice(["a", "b"], 200)})
    pages = []
    for scale in (1.0, 7.0):
        real = pd.DataFrame({"x": scale * rng.normal(size=200), "c": rng.choice(["a", "b"], 200)})
        found = evaluate_synthetic_data(real, synthetic, metrics="statistical_similarity")
        found.generate_report(tmp_path / "page.html", shareable=True)
        pages.append(re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", (tmp_path / "page.html").read_text(encoding="utf-8")))
    assert pages[0] == pages[1]


def test_sections_of_others_have_their_place_and_only_releasable_ones_are_shared(
    results: EvaluationResults, tmp_path: Path
) -> None:
    told = Section("ledger", "Privacy <ledger>", "<p>epsilon 1</p>", releasable=True)
    figure = Section("attacks", "Attacks", "<p>an AUC</p>")
    pages = []
    for shareable in (False, True):
        results.generate_report(tmp_path / "page.html", shareable, sections=[told, figure])
        pages.append((tmp_path / "page.html").read_text(encoding="utf-8"))
    order = re.findall(r'<section id="(\w+)"', pages[0])
    assert order[-5:] == ["privacy", "attacks", "ledger", "making", "glossary"]
    assert all('href="#ledger">Privacy &lt;ledger&gt;' in page and "<p>epsilon 1</p>" in page for page in pages)
    assert "an AUC" in pages[0] and "attacks" not in pages[1].lower()
    with pytest.raises(ParameterError, match="anchor"):
        Section('"x', "Odd", "")


def test_exact_figures_among_the_provenance_stay_private(tmp_path: Path) -> None:
    few = pd.DataFrame({"x": np.arange(40.0), "c": ["a", "b"] * 20})
    info = {"method": "copula", "rows": 987_654, "network": [("x", "c")]}
    results = evaluate_synthetic_data(few, few, metrics="statistical_similarity", model_info=info)
    pages = [render_report(results, shareable=shareable) for shareable in (False, True)]
    assert "987654" in pages[0] and "Learned network" in pages[0]
    assert "987654" not in pages[1] and "Learned network" not in pages[1] and "copula" in pages[1]


def test_a_notebook_shows_the_cards(results: EvaluationResults) -> None:
    assert "Likeness" in results._repr_html_() and "<script" not in results._repr_html_()


def test_a_path_that_is_a_folder_is_a_storage_error(results: EvaluationResults, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        results.generate_report(tmp_path)


def test_a_committee_gets_verdicts_the_four_figures_and_the_worst_columns(
    results: EvaluationResults, tmp_path: Path
) -> None:
    results.generate_report(tmp_path / "decide.html", profile="committee")
    page = (tmp_path / "decide.html").read_text(encoding="utf-8")
    assert HOSTILE not in page and "<img src=x" not in page
    for part in (
        "To be decided",
        "Sharing outside",
        "Leakage",
        "Where it is worst",
        "Looking for leaks",
        "Nothing. The",
    ):
        assert part in page
    worst = min(results.similarity.columns, key=lambda c: c.score)
    assert f">{worst.score:.3f}<" in page
    assert 'href="#' not in page.split("<main", 1)[1]  # the cards lead to sections that these pages do not have


def test_an_auditor_gets_figures_ledger_and_the_total_composed_again(tmp_path: Path) -> None:
    """What the ledger's events cost is composed anew, and agrees with what the model states."""
    from raysynth import ColumnSchema, GaussianCopula, Kind, TableSchema

    rng = np.random.default_rng(0)
    data = pd.DataFrame({"x": rng.normal(size=400).round(2), "y": rng.choice(["a", "b"], 400)})
    columns = (
        ColumnSchema("x", Kind.CONTINUOUS, "double", nullable=False, bounds=(-4, 4), decimals=2),
        ColumnSchema("y", Kind.CATEGORICAL, "string", nullable=False, categories=("a", "b")),
    )
    schema = TableSchema(columns)
    model = GaussianCopula(epsilon=1.0, delta=1e-5, schema=schema, verbose=False).fit(data)
    results = evaluate_synthetic_data(
        data, model.sample(200, seed=0), model_info=model, metrics=["statistical_similarity"]
    )
    results.generate_report(tmp_path / "record.json", profile="auditor")
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    stated, again = record["guarantee"]["stated"], record["guarantee"]["recomputed"]
    assert again["events"] == len(stated["ledger"]["events"]) and again["consistent"]
    assert again["epsilon_at_least"] == pytest.approx(stated["epsilon"], rel=5e-3)
    assert record["figures"]["statistical_similarity"]["quality"] == pytest.approx(results.similarity.quality)
    assert [v["answer"] for v in record["verdicts"]][2] == "yes" and record["software"]["raysynth"]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("a.html", {"profile": "boss"}, "one of analyst, committee, auditor"),
        ("a.html", {"profile": "auditor"}, "name the file .json"),
        ("a.json", {"profile": "committee"}, "name the file .html"),
        ("a.html", {"profile": "committee", "shareable": True}, "are for profile='analyst'"),
    ],
)
def test_a_profile_at_fault_is_refused_before_anything_is_written(
    results: EvaluationResults, tmp_path: Path, name: str, options: dict[str, object], words: str
) -> None:
    with pytest.raises(ParameterError, match=words):
        results.generate_report(tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_no_chart_names_a_value_of_a_few_rows() -> None:
    def counts(**rows: int) -> CategoryCounts:
        return CategoryCounts(tuple(rows), np.array(list(rows.values())), 0.0, len(rows))

    bars = column_chart(Kind.CATEGORICAL, counts(a=60, b=36, HIV=1, note=3), counts(a=70, b=27, made=3)).bars
    assert [(b.label, b.real, b.synthetic) for b in bars] == [
        ("a", 0.6, 0.7),
        ("b", 0.36, 0.27),
        ("3 others", 0.04, 0.03),
    ]
    many = column_chart(Kind.CATEGORICAL, counts(**{f"v{i}": 5 for i in range(20)}), counts(v1=9)).bars
    assert [b.label for b in many][0] == "v1" and len(many) == 9 and many[-1].label == "12 others"
