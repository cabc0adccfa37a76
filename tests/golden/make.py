"""The golden files: small models of every method, and the rows that they give.

`PYTHONPATH=tests python -m golden.make` writes anew only what does not exist yet: a model file that stands here stands
for all files that users have, and is never made again. The tables are those that statsmodels brings with it.
`... --refit` fits every model again and names those whose weights are no longer the ones in the file, for whoever
moves code about (deterministic methods only, on one machine with the pinned torch).
"""

from __future__ import annotations

import io
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from statsmodels import datasets

import raysynth
from raysynth.api import new_synthesizer

FOLDER = Path(__file__).parent
ROWS, CONDITIONED, SEED = 80, 20, 11
BUDGET = {"epsilon": 3.0, "delta": 1e-5}

GAN = {"generator_dim": (8,), "discriminator_dim": (8,), "embedding_dim": 4, "batch_size": 100, "epochs": 2}
VAE = {"latent_dim": 2, "encoder_layers": (8,), "decoder_layers": (8,), "batch_size": 100, "epochs": 2}
FLAGSHIP = {"width": 8, "hidden": 4, "layers": 1, "batch_size": 100, "epochs": 2}
TREES = {"n_trees": 1, "leaf_rows": 40}
YEARS = {"year": (1940, 1950), "invest": (20.0, 200.0)}
FIRMS = {"sequence_key": "firm", "time_column": "year"}


@dataclass(frozen=True)
class Case:
    """One model.

    Args:
        method: of the registry.
        parameters: of its constructor, beside seed and verbose.
        sequences: fit on sequences instead of on a table.
        conditions: of the second sample; none for methods that take none.
        rows: of the first sample of a table.
        of_firms: fit on the firms' rows instead of the voters'; so are sequences.
    """

    method: str
    parameters: dict[str, Any] = field(default_factory=dict)
    sequences: bool = False
    conditions: dict[str, Any] | None = field(default_factory=lambda: {"vote": "Dole", "age": (30, 60)})
    rows: int = ROWS
    of_firms: bool = False

    @property
    def counting(self) -> bool:
        """Whether it is no neural network: its rows are equal for good."""
        return self.method in ("copula", "bayesian_network", "trees", "tree_sequences")

    def model(self) -> Any:
        return new_synthesizer(self.method, seed=3, verbose=False, **self.parameters)

    def data(self) -> pd.DataFrame:
        return firms() if self.sequences or self.of_firms else voters()


CASES: dict[str, Case] = {
    "copula": Case("copula"),
    "bayesian_network": Case("bayesian_network"),
    "trees": Case("trees", TREES, conditions=YEARS, of_firms=True),
    "unweighted_trees": Case("trees", {**TREES, "weighted": False}, conditions=YEARS, of_firms=True),
    "gan": Case("gan", GAN),
    "ctgan": Case("ctgan", GAN),
    "conditional_gan": Case("conditional_gan", {**GAN, "conditional_columns": ["vote"]}),
    "tvae": Case("tvae", {**VAE, "prior_components": 2}),
    "dp_tvae": Case("dp_tvae", {**VAE, **BUDGET}),
    "autoregressive": Case("autoregressive", FLAGSHIP),
    "autoregressive_orders": Case("autoregressive", FLAGSHIP, rows=600),  # one order for 256 rows
    "timegan": Case(
        "timegan", {"hidden_dim": 8, "noise_dim": 2, "epochs": 2, **FIRMS}, sequences=True, conditions=None
    ),
    "autoregressive_sequences": Case(
        "autoregressive_sequences", {**FLAGSHIP, **FIRMS}, sequences=True, conditions=None
    ),
    "tree_sequences": Case("tree_sequences", {"n_trees": 1, **FIRMS}, sequences=True, conditions=None),
    "private_copula": Case("copula", BUDGET),
    "private_bayesian_network": Case("bayesian_network", BUDGET),
    "private_ctgan": Case("ctgan", {**GAN, **BUDGET}),
    "private_autoregressive": Case("autoregressive", {**FLAGSHIP, **BUDGET}),
}


@cache
def voters() -> pd.DataFrame:
    """The 944 voters of the American National Election Study of 1996: words, whole and real numbers, days, gaps."""
    anes = datasets.anes96.load_pandas().data
    rng = np.random.default_rng(0)
    n = len(anes)
    log_population = anes["logpopul"].round(3).mask(rng.random(n) < 0.1)
    return pd.DataFrame(
        {
            "voter": [f"V-{i:04d}" for i in range(n)],
            "vote": np.where(anes["vote"] == 1, "Dole", "Clinton"),
            "age": anes["age"].astype(int),
            "education": anes["educ"].astype(int).map(lambda level: f"level {level}"),
            "log_population": log_population,
            "television": anes["TVnews"].astype(int),
            "asked": pd.Timestamp("1996-09-03") + pd.to_timedelta(rng.integers(0, 60, n), "D"),
            "decided": rng.random(n) < 0.7,
        }
    )


@cache
def firms() -> pd.DataFrame:
    """Grunfeld's eleven firms over twenty years, each three times over with other figures."""
    grunfeld = datasets.grunfeld.load_pandas().data
    copies = [
        grunfeld.assign(firm=grunfeld["firm"] + f" {k}", invest=(grunfeld["invest"] * (1 + k / 10)).round(2))
        for k in range(3)
    ]
    frame = pd.concat(copies, ignore_index=True)
    return frame.assign(year=frame["year"].astype(int))[["firm", "year", "invest", "capital"]]


def samples(name: str, model: Any) -> dict[str, pd.DataFrame]:
    """The rows that a model gives for the fixed seed, by the names of their files."""
    made = {name: model.sample(CASES[name].rows if not CASES[name].sequences else 4, seed=SEED)}
    if CASES[name].conditions:
        made[f"{name}_conditioned"] = model.sample(CONDITIONED, conditions=CASES[name].conditions, seed=SEED)
    return made


def as_text(frame: pd.DataFrame) -> str:
    """The rows as CSV, with all digits."""
    return frame.to_csv(index=False, lineterminator="\n")


def model_path(name: str) -> Path:
    return FOLDER / "models" / f"{name}.model"


def rows_path(name: str) -> Path:
    return FOLDER / "rows" / f"{name}.csv"


def entries(path: Path) -> dict[str, bytes]:
    """What a model file holds, by its entries' names, without what the clock has written."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as file:
        return {name: file.read(name) for name in file.namelist() if name.endswith(".safetensors")}


def write() -> None:
    """What does not exist yet."""
    for folder in ("models", "rows"):
        (FOLDER / folder).mkdir(exist_ok=True)
    for name, case in CASES.items():
        if not model_path(name).exists():
            case.model().fit(case.data()).save(model_path(name))
        if not rows_path(name).exists():
            for file, frame in samples(name, raysynth.load_synthetic_model(model_path(name))).items():
                rows_path(file).write_text(as_text(frame), encoding="utf-8")


def refit() -> list[str]:
    """The names of the cases whose weights come out otherwise; those with noise cannot be asked."""
    other = []
    with tempfile.TemporaryDirectory() as folder:
        for name, case in CASES.items():
            if "epsilon" not in case.parameters:
                again = Path(folder) / name
                case.model().fit(case.data()).save(again)
                if entries(again) != entries(model_path(name)):
                    other.append(name)
    return other


if __name__ == "__main__":
    if sys.argv[1:] == ["--refit"]:
        print("fitted otherwise:", ", ".join(refit()) or "none")
    else:
        write()
