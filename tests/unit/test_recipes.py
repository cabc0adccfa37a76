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
OWN = re.compile("columnwise|nearest|randomised_response|orc_files|variety")
KINDS_SWITCHED = 46  # files that ask which kind a column has, at most (43 when this was written): it is to fall


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


def table_from_orc(filesystem, paths, source, *, private=False):
    """The rows of some files, one after the other."""
    tables = [orc.read_table(filesystem.open_input_file(path)) for path in paths]
    return table_from_arrow(pa.concat_tables(tables), f"'{source}'", private=private)
'''
METRIC = '''"""How many of the synthetic rows are all different."""

from dataclasses import dataclass

from raysynth.comparison.features import tree_features


@dataclass(frozen=True)
class Variety:
    """share: of different rows among the synthetic ones."""

    share: float


def variety(synthetic):
    """Of rows in memory."""
    rows = tree_features(synthetic)
    return Variety(len({row.tobytes() for row in rows}) / len(rows))
'''

FOLLOWED: dict[str, Recipe] = {
    "a method": Recipe(
        {
            "methods/columnwise/__init__.py": '"""Each column by itself."""\n',
            "methods/columnwise/synthesizer.py": own_method(),
        },
        (
            (
                "methods/registry.py",
                "METHODS: dict[str, str] = {\n",
                '    "columnwise": "raysynth.methods.columnwise.synthesizer:Columnwise",\n',
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
                "data/sources/files.py",
                "    names = [f.path for f in found.files]\n",
                '    if format_ == "orc":\n'
                "        from raysynth.data.sources.orc_files import table_from_orc\n\n"
                "        return table_from_orc(found.filesystem, names, source, private=private)\n",
            ),
            (
                "data/sources/files.py",
                '        head = stream.read(4096)\n    if head[:4] == b"PAR1":\n        return "parquet"\n',
                '    if head[:3] == b"ORC":\n        return "orc"\n',
            ),
            (
                "data/sources/files.py",
                "        magic = stream.read(6)\n",
                '    if magic[:3] == b"ORC":\n        return "orc"\n',
            ),
        ),
    ),
    "a metric": Recipe(
        {"evaluation/variety.py": METRIC},
        (
            ("evaluation/figures.py", "    manifold: Manifold | None = None\n", "    variety: Any = None\n"),
            ("evaluation/evaluate.py", "        manifold=manifold,\n", '        variety=variety(rows["synthetic"]),\n'),
            (
                "evaluation/evaluate.py",
                "from raysynth.evaluation.synthetic_alone import synthetic_columns\n",
                "from raysynth.evaluation.variety import variety\n",
            ),
            (
                "evaluation/plain.py",
                '        content["manifold"] = asdict(results.manifold)\n',
                '    if results.variety is not None:\n        content["variety"] = asdict(results.variety)\n',
            ),
            (
                "evaluation/results.py",
                '    lines += [_line(f"  failed: {d.name}", d.detail) for d in failed]\n',
                "    if results.variety is not None:\n"
                '        lines.append(_line("Variety", _text(results.variety.share)))\n',
            ),
        ),
    ),
}

USED = """
import json, sys
import numpy as np, pandas as pd, pyarrow as pa, pyarrow.orc as orc
import raysynth
from raysynth.dp import InsecureSeededNoise, total_epsilon
from raysynth.dp.mechanisms.randomised_response import respond, responded

folder = sys.argv[1]
rng = np.random.default_rng(0)
rows = pd.DataFrame({"a": rng.choice(["x", "y", "z"], 400), "b": rng.normal(size=400).round(1)})
made = raysynth.generate_synthetic_data(rows, method="columnwise", seed=0)
orc.write_table(pa.Table.from_pandas(rows, preserve_index=False), folder + "/rows.orc")
from_orc = raysynth.generate_synthetic_data(folder + "/rows.orc", method="columnwise", seed=0)
attacked = raysynth.privacy.run_privacy_attacks(rows[:200], made, ["nearest"], 1, rows[200:], n_targets=40, seed=0)
codes = respond(np.zeros(4000, int), 3, 1.0, InsecureSeededNoise(0))
judged = raysynth.evaluation.evaluate_synthetic_data(rows, made, metrics=["realism"], seed=0)
print(json.dumps({
    "a method": sorted(made["a"].unique()) == ["x", "y", "z"] and len(made) == 400,
    "a source": made.equals(from_orc),
    "an attack": list(attacked.details),
    "a mechanism": [float((codes == 0).mean()), total_epsilon([responded("codes", 1.0)], 1e-9)],
    "a metric": [judged.to_dict()["variety"]["share"], "Variety" in judged.summary()],
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
    """New files stand there with NAME in place of their own name; a folder as the files in it."""
    told = table()
    assert told.keys() == {*FOLLOWED, "a kind"}
    for what, recipe in FOLLOWED.items():
        names = {OWN.sub("NAME", path) for path in recipe.touched}
        assert told[what] == names - {"methods/NAME/__init__.py"}, what


def test_a_method_is_a_folder_and_a_line(used: dict[str, Any]) -> None:
    assert used["a method"] is True


def test_an_attack_is_a_file_and_a_line(used: dict[str, Any]) -> None:
    assert used["an attack"] == ["nearest"]


def test_a_mechanism_is_a_file(used: dict[str, Any]) -> None:
    """False alarm: the noise is seeded."""
    kept, epsilon = used["a mechanism"]
    assert abs(kept - 2.718 / (2.718 + 2)) < 0.03
    assert 0.99 < epsilon < 1.01


def test_a_source_is_a_file_and_three_lines_in_another(used: dict[str, Any]) -> None:
    assert used["a source"] is True


def test_a_metric_is_a_file_and_lines_in_four(used: dict[str, Any]) -> None:
    share, in_words = used["a metric"]
    assert 0 < share <= 1 and in_words


def test_a_kind_is_a_switch_in_no_more_files_than_it_was() -> None:
    asking = [p for p in PACKAGE.rglob("*.py") if re.search(r"\bKind\.[A-Z]", p.read_text(encoding="utf-8"))]
    assert len(asking) <= KINDS_SWITCHED, sorted(p.name for p in asking)
