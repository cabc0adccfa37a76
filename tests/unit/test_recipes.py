"""CONTRIBUTING's recipes, followed to the letter in a copy of the package: what is touched, and that it works.

`FOLLOWED` is what a newcomer writes; the table in CONTRIBUTING says which files that may be. A recipe that comes to
need another file fails here, and so does one that needs fewer than the table says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from import_graph import PACKAGE

ROOT = PACKAGE.parent
OWN = re.compile("columnwise|nearest|randomised_response|orc_files|variety|stars|plate")
KINDS_NAMED = 24  # files that make a column of a kind, at most (19 when this was written)


@dataclass(frozen=True)
class Recipe:
    """What somebody writes.

    Args:
        files: new ones, by path in the package.
        lines: in files that there are: (path, text that it goes after, what goes there).
    """

    files: dict[str, str]
    lines: tuple[tuple[str, str, str], ...] = field(default=())

    @property
    def touched(self) -> set[str]:
        return {*self.files, *(path for path, _, _ in self.lines)}

    def follow(self, package: Path) -> None:
        """Write it; each text must stand in its file once."""
        for name, text in self.files.items():
            assert not (package / name).exists()
            (package / name).parent.mkdir(exist_ok=True)
            (package / name).write_text(text, encoding="utf-8")
        for name, after, line in self.lines:
            text = (package / name).read_text(encoding="utf-8")
            assert text.count(after) == 1, f"{name}: the recipe looks for {after!r}"
            (package / name).write_text(text.replace(after, after + line), encoding="utf-8")


def own_method() -> str:
    """The method of `docs/howto/own_method.md`, without the import of what checks it."""
    page = (ROOT / "docs" / "howto" / "own_method.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    return '"""Each column by itself."""\n\n' + code.replace("from raysynth import check_synthesizer\n", "")


ATTACK = '''"""Membership by the nearest synthetic row."""

from raysynth.attacks.attack import MembershipAttack
from raysynth.comparison.neighbours import gower_metric, nearest


class Nearest(MembershipAttack):
    """The nearer, the likelier a member."""

    name, title = "nearest", "Nearest record"

    def score(self, targets, view, rng):
        """Minus the distance."""
        found = nearest(targets.rows, view.synthetic.rows, gower_metric(view.synthetic.rows))
        return -found.distances_QK[:, 0]
'''
MECHANISM = '''"""Randomised response (Warner 1965): a code is kept with a chance, else it is any of the others."""

import numpy as np

from raysynth.dp.accounting.ledger import Event, Mechanism


def respond(codes_N, n_codes, epsilon, noise):
    """Each code by itself, epsilon-differentially private; event: `responded`."""
    keep = np.exp(epsilon) / (np.exp(epsilon) + n_codes - 1)
    others = (codes_N + 1 + (noise.uniform(len(codes_N)) * (n_codes - 1)).astype(int)) % n_codes
    return np.where(noise.uniform(len(codes_N)) < keep, codes_N, others)


def responded(released, epsilon):
    """What it is charged as."""
    return Event(Mechanism.APPROXIMATE, released, epsilon=epsilon)
'''
SOURCE = '''"""ORC files: read whole."""

import pyarrow as pa
import pyarrow.orc as orc

from raysynth.data.sources.frame import table_from_arrow


def read_orc(found):
    """The rows of some files, one after the other."""
    tables = [orc.read_table(found.filesystem.open_input_file(path)) for path in found.paths]
    return table_from_arrow(pa.concat_tables(tables), f"'{found.source}'", private=found.private)
'''
METRIC = '''"""How many of the synthetic rows are all different."""

from dataclasses import dataclass

from raysynth.comparison.rows import tree_features
from raysynth.evaluation.metrics.metric import Line, Metric
from raysynth.evaluation.section import Section


@dataclass(frozen=True)
class Variety:
    """share: of different rows among the synthetic ones."""

    share: float


def variety(compared):
    """Of rows in memory."""
    rows = tree_features(compared.synthetic)
    return Variety(len({row.tobytes() for row in rows}) / len(rows))


METRIC = Metric(
    asked_by="variety",
    doing="counting different rows",
    compute=variety,
    lines=lambda found: [Line("Variety", f"{found.share:.3f}", "1: no row repeats")],
    sections=lambda found: [Section("variety", "Variety", f"<p>{found.share:.1%} of the rows are different.</p>")],
)
'''
STARS = '''"""Stars: a short scale of whole numbers, learned as the values of a list."""

from raysynth.kinds.description import Description, Family
from raysynth.kinds.evidence import Clue, Found, Rank


def _seen(evidence):
    is_scale = evidence.is_integer and evidence.seen.extremes == (1, 5)
    return Found("stars") if is_scale and evidence.seen.name.endswith("stars") else None


def _public(field):
    is_scale = field.held == "number" and field.name.endswith("stars")
    return Found("stars", {"dtype": "int64", "categories": (1, 2, 3, 4, 5)}) if is_scale else None


KIND = Description(
    Family.CLASS,
    clues=(Clue(Rank.FORMAT, _seen),),
    public_clues=(Clue(Rank.NAME, _public),),
    fits=lambda evidence: evidence.is_integer,
    cure="give whole numbers",
    words=("scale",),
    stored="int64",
)
'''
PLATE = '''"""Plates of cars: made anew, one for each row."""

import re

import pyarrow as pa

from raysynth.kinds.description import Description, Family
from raysynth.kinds.evidence import Clue, Found, Rank


def _seen(evidence):
    is_plate = evidence.is_text and all(re.fullmatch("[A-Z]{2} [0-9]{4}", v) for v in evidence.examples)
    return Found("plates") if is_plate else None


class Plates:
    """Numbered from ZZ 0000."""

    def values(self, row_start, n, key):
        """By row number alone."""
        return pa.array([f"ZZ {row:04d}" for row in range(row_start, row_start + n)])


KIND = Description(
    Family.MADE, clues=(Clue(Rank.FORMAT, _seen),), fits=lambda e: e.is_text, maker=lambda column: Plates()
)
'''

FOLLOWED: dict[str, Recipe] = {
    "a method": Recipe(
        {"methods/columnwise.py": own_method()},
        (
            (
                "methods/registry.py",
                "METHODS: dict[str, str] = {\n",
                '    "columnwise": "raysynth.methods.columnwise:Columnwise",\n',
            ),
        ),
    ),
    "an attack": Recipe(
        {"attacks/nearest.py": ATTACK},
        (
            (
                "attacks/registry.py",
                "ATTACKS: dict[str, str] = {\n",
                '    "nearest": "raysynth.attacks.nearest:Nearest",\n',
            ),
        ),
    ),
    "a mechanism": Recipe({"dp/mechanisms/randomised_response.py": MECHANISM}),
    "a source": Recipe(
        {"data/sources/orc_files.py": SOURCE},
        (
            (
                "data/sources/formats.py",
                "FORMATS: dict[str, Format] = {\n",
                '    "orc": Format("raysynth.data.sources.orc_files:read_orc", (".orc",), b"ORC"),\n',
            ),
        ),
    ),
    "a metric": Recipe(
        {"evaluation/metrics/variety.py": METRIC},
        (
            (
                "evaluation/metrics/registry.py",
                "METRICS: dict[str, str] = {\n",
                '    "variety": "raysynth.evaluation.metrics.variety",\n',
            ),
        ),
    ),
    "a kind": Recipe(
        {"kinds/stars.py": STARS, "kinds/plate.py": PLATE},
        (
            ("kinds/registry.py", '    CATEGORICAL = "categorical"\n', '    STARS = "stars"\n'),
            ("kinds/registry.py", '    BOOLEAN = "boolean"\n', '    PLATE = "plate"\n'),
        ),
    ),
}

USED = """
import json, sys
import numpy as np, pandas as pd, pyarrow as pa, pyarrow.orc as orc
import raysynth
from raysynth.data.table import as_table
from raysynth.statistics.public_schema import schema_of
from raysynth.dp import InsecureSeededNoise, total_epsilon
from raysynth.dp.mechanisms.randomised_response import respond, responded

def kinds(folder, rng):
    cars = pd.DataFrame({"stars": rng.choice(5, 400) + 1, "plate": [f"AB {i:04d}" for i in range(400)]})
    cars["price"] = rng.normal(size=400).round(2) + cars["stars"]
    model = raysynth.BayesianNetworkSynthesizer(seed=0).fit(cars)
    model.save(folder + "/model")
    loaded = raysynth.load_synthetic_model(folder + "/model")
    made, best = loaded.sample(50, seed=0), loaded.sample(20, {"stars": [4, 5]}, seed=0)
    judged = raysynth.evaluation.evaluate_synthetic_data(cars, made, metrics=["statistical_similarity"], seed=0)
    again = raysynth.TableSchema.from_dict(model.schema_.to_dict())
    noised = raysynth.BayesianNetworkSynthesizer(epsilon=2.0, seed=0).fit(cars[["stars", "price"]])
    codebook = schema_of(as_table(cars), "column,kind\\nstars,scale")
    return {
        "told": {c.name: [str(c.kind), c.reason] for c in again.columns},
        "stars": sorted({*made["stars"], *best["stars"]} - {1, 2, 3, 4, 5}) + [s for s in best["stars"] if s < 4],
        "plates": made["plate"].tolist()[:2],
        "compared": judged.to_dict()["columns"],
        "noised": [str(noised.schema_["stars"].kind), sorted({*noised.sample(50, seed=0)["stars"]} - {1, 2, 3, 4, 5})],
        "declared": str(codebook["stars"].kind),
    }


folder = sys.argv[1]
rng = np.random.default_rng(0)
rows = pd.DataFrame({"a": rng.choice(["x", "y", "z"], 400), "b": rng.normal(size=400).round(1)})
made = raysynth.generate_synthetic_data(rows, method="columnwise", seed=0)
orc.write_table(pa.Table.from_pandas(rows, preserve_index=False), folder + "/rows.orc")
from_orc = raysynth.generate_synthetic_data(folder + "/rows.orc", method="columnwise", seed=0)
attacked = raysynth.privacy.run_privacy_attacks(rows[:200], made, ["nearest"], 1, rows[200:], n_targets=40, seed=0)
codes = respond(np.zeros(4000, int), 3, 1.0, InsecureSeededNoise(0))
judged = raysynth.evaluation.evaluate_synthetic_data(rows, made, metrics=["variety"], seed=0)
judged.generate_report(folder + "/report.html")
page = open(folder + "/report.html").read()
print(json.dumps({
    "a method": sorted(made["a"].unique()) == ["x", "y", "z"] and len(made) == 400,
    "a source": made.equals(from_orc),
    "an attack": list(attacked.details),
    "a mechanism": [float((codes == 0).mean()), total_epsilon([responded("codes", 1.0)], 1e-9)],
    "a metric": [judged.to_dict()["variety"]["share"], "Variety" in judged.summary(), "rows are different" in page],
    "a kind": kinds(folder, rng),
}))
"""


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each new thing did in a copy in which all recipes were followed."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, folder / "raysynth", ignore=shutil.ignore_patterns("__pycache__"))
    for recipe in FOLLOWED.values():
        recipe.follow(folder / "raysynth")
    command = [sys.executable, "-c", USED, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(folder), "RAYSYNTH_QUIET": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table() -> dict[str, set[str]]:
    """The files of each recipe by CONTRIBUTING; new ones have capitals for a name of one's own."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (an? \w+) \|(.*)", text, re.MULTILINE)
    return {what: set(re.findall(r"`([\w/]+\.py)`", rest)) for what, rest in rows}


def test_a_recipe_touches_the_files_that_it_names() -> None:
    """New files stand there with NAME in place of their own name: one, and a line in one that there is."""
    told = table()
    assert told.keys() == FOLLOWED.keys()
    for what, recipe in FOLLOWED.items():
        names = {OWN.sub("NAME", path) for path in recipe.touched}
        assert told[what] == names, what
        assert len(recipe.lines) <= len(recipe.files), "a file each, and a line"


def test_a_method_is_a_file_and_a_line(used: dict[str, Any]) -> None:
    assert used["a method"] is True


def test_an_attack_is_a_file_and_a_line(used: dict[str, Any]) -> None:
    assert used["an attack"] == ["nearest"]


def test_a_mechanism_is_a_file(used: dict[str, Any]) -> None:
    """False alarm: the noise is seeded."""
    kept, epsilon = used["a mechanism"]
    assert abs(kept - 2.718 / (2.718 + 2)) < 0.03
    assert 0.99 < epsilon < 1.01


def test_a_source_is_a_file_and_a_line(used: dict[str, Any]) -> None:
    assert used["a source"] is True


def test_a_metric_is_a_file_and_a_line(used: dict[str, Any]) -> None:
    share, in_words, on_page = used["a metric"]
    assert 0 < share <= 1 and in_words and on_page


def test_a_kind_is_a_file_and_a_line(used: dict[str, Any]) -> None:
    """One of a list and one that is made anew: told, in a schema's JSON, made, asked for, compared, and with noise.

    False alarm: none, the values are those of declared lists.
    """
    found = used["a kind"]
    assert found["told"]["stars"] == ["stars", "stars"] and found["told"]["plate"] == ["plate", "plates"]
    assert found["stars"] == []
    assert found["plates"] == ["ZZ 0000", "ZZ 0001"]
    assert found["compared"] == {"stars": "stars", "plate": "plate", "price": "continuous"}
    assert found["noised"] == ["stars", []]
    assert found["declared"] == "stars"


def test_no_file_asks_which_kind_a_column_is() -> None:
    """Above `kinds/` its description is asked; a kind is named only where a column of it is made or listed."""
    files = {p: p.read_text(encoding="utf-8") for p in PACKAGE.rglob("*.py") if PACKAGE / "kinds" not in p.parents}
    asking = r"(?:\bis|\bis not|==|!=|\bin|\bnot in) \(?Kind\.[A-Z]|match \w+\.kind\b"
    found = [str(p) for p, text in files.items() if re.search(asking, text)]
    assert found == [], "ask its family or description instead: column.kind.is_number, .is_dated, ... .about"
    naming = [p for p, text in files.items() if re.search(r"\bKind\.[A-Z]", text)]
    assert len(naming) <= KINDS_NAMED, sorted(p.name for p in naming)
