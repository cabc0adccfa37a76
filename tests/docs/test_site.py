"""The documentation: it builds without a warning or the network, names everything public, and its snippets run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest
import yaml

import raysynth
from raysynth import ColumnSchema, DatabaseSchema, TableSchema, constraints, infer_schema
from raysynth.cli.attack import CAMPAIGN_KEYS

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
SNIPPET = re.compile(r"(<!-- not run: [^>]*-->\n)?```python\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def snippets(page: Path) -> list[str]:
    """The Python blocks of a page that are run, in order."""
    return [code for left_out, code in SNIPPET.findall(page.read_text(encoding="utf-8")) if not left_out]


WITH_CODE = [p for p in PAGES if snippets(p)]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda p: str(p.relative_to(ROOT / "docs")))
def test_the_snippets_of_a_page_run_in_order_in_an_empty_folder(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__page__"}
    for code in snippets(page):
        exec(compile(code, page.name, "exec"), names)


def test_links_lead_to_pages_that_are_there() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_public_name_has_a_place_in_the_reference() -> None:
    pages = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs" / "reference").glob("*.md"))
    whole = ("campaigns", "constraints", "errors", "evaluation", "privacy")  # documented as modules
    errors = [n for n in raysynth.__all__ if n.endswith("Error")]
    missing = [n for n in raysynth.__all__ if n not in (*whole, *errors, "schema") and f"raysynth.{n}" not in pages]
    assert missing == [] and all(f"raysynth.{name}" in pages for name in whole)


def test_the_examples_of_files_are_read_and_fit_their_json_schemas() -> None:
    page = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    table, database = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL))
    (campaign,) = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    for content, name in ((table, "table-schema"), (database, "relations"), (campaign, "campaign")):
        jsonschema.validate(content, schema_of(name))
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**content, "colour": "red"}, schema_of(name))
    assert len(TableSchema.from_dict({"$schema": "table-schema.json", **table}).columns) == 5
    assert len(DatabaseSchema.from_dict(database).relations) == 2
    assert set(campaign) <= set(CAMPAIGN_KEYS) <= set(schema_of("campaign")["properties"])


def test_the_json_schema_of_tables_knows_every_entry_of_columns_and_rules() -> None:
    schema = schema_of("table-schema")["properties"]
    assert set(schema["columns"]["items"]["properties"]) == {f.name for f in fields(ColumnSchema)}
    rules = {r["properties"]["kind"]["const"]: set(r["properties"]) for r in schema["constraints"]["items"]["oneOf"]}
    known = [getattr(constraints, n) for n in constraints.__all__ if isinstance(getattr(constraints, n), type)]
    own = [c for c in known if issubclass(c, constraints.Constraint) and c is not constraints.Constraint]
    assert rules == {c.kind: {"kind", *(f.name for f in fields(c) if f.init)} for c in own}
    frame = pd.DataFrame({"a": range(30), "b": ["x", "y", "z"] * 10, "c": pd.Timestamp("2024-01-01")})
    jsonschema.validate(infer_schema(frame).to_dict(), schema_of("table-schema"))


def schema_of(name: str) -> Any:
    return json.loads((ROOT / "docs" / "_static" / f"{name}.json").read_text(encoding="utf-8"))


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stderr[-3000:]
    start = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "quick start" in start
    reference = (tmp_path / "site" / "reference" / "api.html").read_text(encoding="utf-8")
    assert "rare_threshold" in reference and "generate_synthetic_data" in reference
