"""Samples written over Ray: the same files, byte for byte, as those written in this process; Ray started once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysynth import BayesianNetworkSynthesizer, GaussianCopula, TableSchema
from raysynth.constraints import Expression, Inequality, Unique
from raysynth.data.table import as_table
from raysynth.errors import ConditionError, StorageError
from raysynth.methods.base import Synthesizer
from raysynth.sampling.writer import verify
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.table_statistics import collect

ROWS = 150_000  # three chunks of 65,536 rows, the last one cut


@pytest.fixture(scope="module", autouse=True)
def ray_session(two_cpus: Any) -> Any:
    return two_cpus


def people(n: int = 3000) -> pd.DataFrame:
    """Sampled with a fixed seed: key, mail, text, numbers, dates, missing values."""
    rng = np.random.default_rng(6)
    age = rng.integers(18, 80, n)
    born = pd.Timestamp("2020-01-01") - pd.to_timedelta(age * 365, unit="D")
    frame = pd.DataFrame(
        {
            "person_id": np.arange(n) + 1000,
            "email": [f"user{i}@site.org" for i in range(n)],
            "town": rng.choice(["Aachen", "Bonn", "Celle"], n, p=[0.6, 0.3, 0.1]),
            "age": age,
            "income": age * 500 + rng.normal(0, 3000, n),
            "born": born,
            "seen": born + pd.to_timedelta(rng.integers(1000, 6000, n), unit="D"),
        }
    )
    frame.loc[rng.random(n) < 0.2, ["town", "income"]] = None
    return frame


def with_rules() -> TableSchema:
    table = as_table(people())
    columns = infer_schema(table, collect(table)).columns
    return TableSchema(
        columns, (Inequality("born", "seen"), Expression("income > 0"), Unique(("town", "income", "born")))
    )


@pytest.fixture(scope="module")
def models() -> dict[str, Synthesizer]:
    return {
        "copula": GaussianCopula(seed=1, verbose=False).fit(people()),
        "copula with rules": GaussianCopula(seed=1, verbose=False, schema=with_rules()).fit(people()),
        "bayesian_network": BayesianNetworkSynthesizer(seed=1, verbose=False).fit(people()),
    }


def written(model: Synthesizer, folder: Path, where: str, **more: Any) -> list[str]:
    """SHA-256 of each file."""
    manifest = model.sample_to(
        folder, **{"n_samples": ROWS, "seed": 7, "rows_per_file": 65_536, "where": where, **more}
    )
    assert verify(folder) == manifest
    return [f.sha256 for f in manifest.files]


@pytest.mark.parametrize("name", ["copula", "copula with rules", "bayesian_network"])
def test_files_written_over_ray_are_those_written_here(
    models: dict[str, Synthesizer], tmp_path: Path, name: str
) -> None:
    over_ray = written(models[name], tmp_path / "ray", "ray")
    assert over_ray == written(models[name], tmp_path / "local", "local")
    assert len(set(over_ray)) == 3
    rows = pd.read_parquet(tmp_path / "ray")
    assert len(rows) == ROWS
    assert rows.person_id.is_unique
    if "rules" in name:
        assert (rows.born <= rows.seen).all()
        assert not rows.dropna(subset=["income"]).duplicated(["town", "income", "born"]).any()


def test_conditions_over_ray(models: dict[str, Synthesizer], tmp_path: Path) -> None:
    """Quotas whose borders lie inside chunks."""
    quotas = [({"town": "Celle"}, 70_000), ({"age": (30, 40), "town": ["Aachen", "Bonn"]}, 10_000)]
    more = {"conditions": quotas, "n_samples": None}
    over_ray = written(models["copula"], tmp_path / "ray", "ray", **more)
    assert over_ray == written(models["copula"], tmp_path / "local", "local", **more)
    rows = pd.read_parquet(tmp_path / "ray")
    assert (rows.town[:70_000] == "Celle").all()
    assert rows.age[70_000:].between(30, 40).all() and rows.town[70_000:].isin(["Aachen", "Bonn"]).all()


def test_a_run_begun_here_is_completed_over_ray(models: dict[str, Synthesizer], tmp_path: Path) -> None:
    first = written(models["copula"], tmp_path, "local")
    kept = (tmp_path / "part-00000.parquet").stat()
    (tmp_path / "part-00001.parquet").unlink()
    (tmp_path / "_raysynth" / "part-00002.json").unlink()
    assert written(models["copula"], tmp_path, "ray") == first
    assert (tmp_path / "part-00000.parquet").stat().st_mtime_ns == kept.st_mtime_ns


def test_an_error_in_a_worker_reaches_the_user_as_it_is(models: dict[str, Synthesizer], tmp_path: Path) -> None:
    written(models["copula"], tmp_path, "local")
    (tmp_path / "part-00001.parquet").unlink()
    (tmp_path / "part-00001.parquet").mkdir()  # a folder where a file has to go
    with pytest.raises(StorageError, match=r"cannot write .*part-00001.parquet"):
        written(models["copula"], tmp_path, "ray")
    (tmp_path / "part-00001.parquet").rmdir()
    written(models["copula"], tmp_path, "ray")


def test_a_dataset_gives_the_rows_of_sample_through_two_of_rays_writers(
    models: dict[str, Synthesizer], tmp_path: Path
) -> None:
    """Text as text in Parquet, the order kept; the user's context of Ray Data stays as it was."""
    from ray.data import DataContext

    before = repr(DataContext.get_current().execution_options)
    for name in ("copula with rules", "bayesian_network"):
        expected = models[name].sample(ROWS, seed=7)
        dataset = models[name].sample_dataset(ROWS, seed=7)
        dataset.write_parquet(str(tmp_path / name / "parquet"))
        dataset.write_csv(str(tmp_path / name / "csv"))
        files = sorted((tmp_path / name / "parquet").glob("*.parquet"))
        assert len(files) >= 3, "each task writes its own file"
        columns = pq.read_schema(files[0])
        assert columns.names == list(expected.columns) and columns.field("town").type == "string"
        found = pd.concat([pd.read_parquet(f) for f in files]).sort_values("person_id", ignore_index=True)
        pd.testing.assert_frame_equal(
            found, expected.sort_values("person_id", ignore_index=True), check_dtype=False, check_exact=True
        )
        text = pd.concat([pd.read_csv(f) for f in (tmp_path / name / "csv").glob("*.csv")])
        text = text.sort_values("person_id", ignore_index=True)
        assert (text.town.fillna("-") == found.town.fillna("-")).all()
        assert np.allclose(text.income, found.income, rtol=1e-12, equal_nan=True)
    assert repr(DataContext.get_current().execution_options) == before


def test_a_dataset_is_lazy_keeps_the_order_and_takes_conditions(models: dict[str, Synthesizer]) -> None:
    """Three rows of 10^8 are taken at once; quotas whose border lies inside a chunk come in their order."""
    endless = models["copula"].sample_dataset(10**8, seed=3)
    assert len(endless.take(3)) == 3
    quotas = [({"town": "Celle"}, 70_000), ({"age": (30, 40)}, 10_000)]
    blocks = (
        models["copula"].sample_dataset(conditions=quotas, seed=7).iter_batches(batch_format="pyarrow", batch_size=None)
    )
    found = pa.concat_tables(blocks)
    assert found.equals(models["copula"].sample_arrow(conditions=quotas, seed=7).cast(found.schema))
    with pytest.raises(ConditionError, match="town"):
        models["copula"].sample_dataset(10, {"town": "Rome"})
