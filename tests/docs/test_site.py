"""The documentation: it builds without a warning or the network, names everything public, and its snippets run."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import pandas as pd
import pytest
import yaml
from object_store import object_store
from pages import DOCS, PAGES, TUTORIALS, blocks, run_page, starts_ray
from referencing import Registry, Resource

import raysynth
from raysynth import ColumnSchema, DatabaseSchema, RelationalSynthesizer, TableSchema, constraints, infer_schema
from raysynth.attacks.registry import ATTACKS
from raysynth.cli.attack import CAMPAIGN_KEYS
from raysynth.dp.accounting.ledger import Event, Mechanism
from raysynth.dp.accounting.privacy_spent import PrivacySpent
from raysynth.evaluation.metrics.registry import METRICS
from raysynth.evaluation.privacy import PARTS
from raysynth.evaluation.wording import GLOSSARY
from raysynth.files.model_file import read_model
from raysynth.methods.registry import METHODS
from raysynth.schema.table import KINDS as CONSTRAINT_KINDS

ROOT = DOCS.parent
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
WITH_CODE = [p for p in PAGES if any(b.is_run for b in blocks(p)) and not starts_ray(p)]


@pytest.fixture
def bucket() -> Iterator[None]:
    """A server on loopback that speaks S3, with a bucket 'bucket', for the pages that read and write one."""
    with object_store("127.0.0.1"):
        yield


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda p: str(p.relative_to(DOCS)))
def test_the_blocks_of_a_page_run_in_order_in_an_empty_folder(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Command lines of tutorials are typed by `tests/integration/test_three_ways.py`."""
    monkeypatch.chdir(tmp_path)
    if any(b.is_run and "s3://bucket" in b.code for b in blocks(page)):
        request.getfixturevalue("bucket")
    run_page(page, monkeypatch, shell=page.parent != TUTORIALS)


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


def test_the_index_of_errors_has_every_class_with_its_cure() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", page, re.DOTALL | re.MULTILINE))
    classes = {n for n in raysynth.__all__ if n.endswith("Error")} - {"RaysynthError", "InputError"}
    assert set(sections) == classes
    curable = classes - {"NotFittedError"}  # its first sentence is its cure
    assert [n for n in curable if "*Cure:*" not in sections[n]] == []


def test_the_examples_of_files_are_read_and_fit_their_json_schemas() -> None:
    page = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    table, rules, database, model, ledger = (
        json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    )
    (campaign,) = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    named = {"relations": database, "campaign": campaign, "ledger": ledger, "model": model}
    for name, content in [("table-schema", table), ("table-schema", rules), *named.items()]:
        assert faults(content, name) == []
        assert faults({**content, "colour": "red"}, name) != []
    assert len(TableSchema.from_dict({"$schema": "table-schema.json", **table}).columns) == 5
    assert len(DatabaseSchema.from_dict(database).relations) == 2
    assert {rule.kind for rule in TableSchema.from_dict(rules).constraints} == set(CONSTRAINT_KINDS)
    assert len(PrivacySpent.from_dict(ledger).ledger) == 2
    assert set(campaign) <= set(CAMPAIGN_KEYS) <= set(schema_of("campaign")["properties"])


def test_the_json_schema_of_tables_knows_every_entry_of_columns_and_rules() -> None:
    schema = schema_of("table-schema")["properties"]
    assert set(schema["columns"]["items"]["properties"]) == {f.name for f in fields(ColumnSchema)}
    rules = {r["properties"]["kind"]["const"]: set(r["properties"]) for r in schema["constraints"]["items"]["oneOf"]}
    known = [getattr(constraints, n) for n in constraints.__all__ if isinstance(getattr(constraints, n), type)]
    own = [c for c in known if issubclass(c, constraints.Constraint) and c is not constraints.Constraint]
    assert rules == {c.kind: {"kind", *(f.name for f in fields(c) if f.init)} for c in own}
    frame = pd.DataFrame({"a": range(30), "b": ["x", "y", "z"] * 10, "c": pd.Timestamp("2024-01-01")})
    assert faults(infer_schema(frame).to_dict(), "table-schema") == []


def test_the_json_schema_of_ledgers_knows_every_field_and_takes_every_golden_ledger() -> None:
    events = schema_of("ledger")["properties"]["ledger"]["properties"]["events"]["items"]["properties"]
    assert set(events) == {f.name for f in fields(Event)}
    assert set(events["mechanism"]["enum"]) == set(Mechanism)
    found = [read_model(path).meta["privacy"] for path in sorted((ROOT / "tests" / "golden" / "models").iterdir())]
    spent = [content for content in found if content]
    assert spent
    assert [faults(content, "ledger") for content in spent] == [[]] * len(spent)


def test_the_json_schema_of_model_files_takes_those_of_all_methods_and_of_several_tables(tmp_path: Path) -> None:
    written = sorted((ROOT / "tests" / "golden" / "models").iterdir())
    parents, children = pd.DataFrame({"id": range(60)}), pd.DataFrame({"of": [i % 60 for i in range(90)]})
    parents["size"], children["kind"] = [i % 7 for i in range(60)], ["a", "b", "c"] * 30
    tables = {"parents": parents, "children": children}
    several = RelationalSynthesizer(relations=["children.of -> parents.id"], seed=0, verbose=False).fit(tables)
    several.save(tmp_path / "database.raysynth")
    found = {str(path): dict(read_model(path).meta) for path in [*written, tmp_path / "database.raysynth"]}
    assert {content["method"] for content in found.values()} >= {*METHODS, "relational"} - {"trees"}
    assert {path: faults(content, "model") for path, content in found.items()} == dict.fromkeys(found, [])
    assert all(faults({**content, "colour": "red"}, "model") for content in found.values())


def faults(content: Any, name: str) -> list[str]:
    """What does not fit a JSON Schema of the documentation, which may refer to the others."""
    schemas = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (DOCS / "_static").glob("*.json")}
    known = Registry().with_resources((file, Resource.from_contents(schema)) for file, schema in schemas.items())
    validator = jsonschema.Draft202012Validator(schemas[f"{name}.json"], registry=known)
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(content)]


def schema_of(name: str) -> Any:
    return json.loads((ROOT / "docs" / "_static" / f"{name}.json").read_text(encoding="utf-8"))


def test_every_figure_attack_and_method_is_explained() -> None:
    figures, methods = (
        (DOCS / "explanation" / f"{name}.md").read_text(encoding="utf-8") for name in ("figures", "methods")
    )
    assert [name for name in ATTACKS if f"`{name}`" not in figures] == []
    assert [name for name in (*METHODS, "RelationalSynthesizer") if f"`{name}`" not in methods] == []
    said = figures.lower().replace("-", " ")
    terms = {part.strip() for term, _, _ in GLOSSARY for part in re.split(r"[,:]|\(.*\)", term) if part.strip()}
    measured = {"realism": "told from real", "manifold": "precision", "embedding": "rows in the plane"}
    assert set(measured) == set(METRICS)
    checks = {key for keys in PARTS.values() for key in keys if not key.startswith("attack_")}
    wanted = {*terms, *measured.values(), *(key.replace("_", " ") for key in checks - {"closer_to_training"})}
    assert [term for term in wanted if term.lower().replace("-", " ") not in said] == []
    limit = re.compile(
        r"does\s+not\*?\s+say|\*speaks\*|none can exclude|as above|proves|once in a thousand", re.IGNORECASE
    )
    silent = [part for part in figures.split("\n\n") if "\n: " in part and not limit.search(part)]
    assert silent == [], "a figure without its limits"


def test_every_table_of_benchmarks_has_commands_that_exist_and_commits() -> None:
    sections = re.split(r"^## ", (DOCS / "benchmarks.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for section in sections:
        name = section.splitlines()[0]
        assert re.search(r"\| [0-9a-f]{7}[; |]", section), f"'{name}' has no commit"
        commands = [c for c in re.findall(r"`([^`\n]+)`", section) if c.startswith("bench_")]
        assert commands, f"'{name}' has no command"
        for command in commands:
            file = ROOT / "tests" / "benchmarks" / command.split()[0]
            options = re.findall(r"--[a-z][a-z-]*", command)
            declared = file.read_text(encoding="utf-8")
            assert [o for o in options if o[2:] not in declared] == [], f"{command}: no such option"


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    quick = ["-D", "nb_execution_mode=off"]  # the cells of notebooks are run above
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", *quick, "docs", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stderr[-3000:]
    start = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "quick start" in start
    described = names_described(tmp_path / "site")
    assert sorted(public_names() - described) == []
    assert broken_links(tmp_path / "site") == []


class _Page(HTMLParser):
    """What a page links to, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if name in ("href", "src") and value:
                self.links.append(value)


def broken_links(site: Path) -> list[str]:
    """Links of built pages to files or anchors that are not there."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            to = urlsplit(link)
            target = (path.parent / unquote(to.path)).resolve() if to.path else path
            known = target.exists() and (target not in pages or unquote(to.fragment) in {"", *pages[target].anchors})
            if not (to.scheme or to.netloc or known):
                broken.append(f"{path.name}: {link}")
    return broken


def names_described(site: Path) -> set[str]:
    """All names that have a place of their own on the pages of the reference."""
    pages = "".join((site / "reference" / f"{page}.html").read_text(encoding="utf-8") for page in ("api", "errors"))
    return set(re.findall(r'id="(raysynth\.[\w.]+)"', pages))


def public_names() -> set[str]:
    """Names that users import, and the calls of the classes among them, by where the reference has them."""
    modules = {"raysynth": raysynth.__all__, "raysynth.constraints": constraints.__all__}
    for name in ("evaluation", "privacy", "campaigns", "tuning"):
        modules[f"raysynth.{name}"] = importlib.import_module(f"raysynth.{name}").__all__
    found = set()
    for module, names in modules.items():
        for name in names:
            value = getattr(importlib.import_module(module), name)
            if not (inspect.isclass(value) or inspect.isfunction(value)):
                continue  # submodules, the version, tables of attacks
            home = "raysynth.errors" if inspect.isclass(value) and issubclass(value, Exception) else module
            found.add(f"{home}.{name}")
            calls = vars(value) if inspect.isclass(value) and home != "raysynth.errors" else {}
            found |= {f"{home}.{name}.{n}" for n, v in calls.items() if inspect.isfunction(v) and n[0] != "_"}
    return found


@pytest.mark.slow
def test_the_notebooks_run_within_their_time(tmp_path: Path) -> None:
    """The whole site with its tutorials executed: five minutes, a minute for each notebook (on a quiet machine)."""
    command = [sys.executable, "-m", "sphinx", "-W", "--no-color", "-b", "html", "docs", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr[-3000:]
    executed = re.findall(r"(\w+)\.md: Executed notebook in ([\d.]+) seconds", built.stdout)
    assert {name for name, _ in executed} == {"errors", *(page.stem for page in TUTORIALS.glob("*.md"))}
    assert [(name, seconds) for name, seconds in executed if float(seconds) > 60] == []
    for page in TUTORIALS.glob("*.md"):
        shown = (tmp_path / "site" / "tutorials" / f"{page.stem}.html").read_text(encoding="utf-8")
        assert shown.count("cell_output") >= 2, f"{page.name} shows no output"
    errors = (tmp_path / "site" / "reference" / "errors.html").read_text(encoding="utf-8")
    assert "ConditionError: " in errors
