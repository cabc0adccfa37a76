"""Kept shards under a budget: a second fit pays for the releases that made them, encodes nothing, and stays within."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raysynth import AutoregressiveSynthesizer, TabularGAN, TabularVAE, load_synthetic_model
from raysynth.data.table import as_table
from raysynth.dp import PrivacyBudget, PrivacyScope
from raysynth.dp.accounting.accountant import total_epsilon
from raysynth.dp.accounting.ledger import Event, Ledger, unit_in_words
from raysynth.encoding.table_encoder import TableEncoder, build_encoder
from raysynth.errors import ParameterError
from raysynth.files.model_file import read_model
from raysynth.fitting.opening import open_table
from raysynth.methods.base import Synthesizer
from raysynth.running.stages import collect_stages
from raysynth.statistics import noised
from raysynth.training.kept_releases import FITS, RELEASES, KeptReleases, ReleaseKey, looked_up
from raysynth.training.kept_shards import ShardKey
from raysynth.tuning import sweep

EPSILON, DELTA = 2.0, 1e-4
SMALL: dict[str, Any] = {"latent_dim": 2, "encoder_layers": (8,), "decoder_layers": (8,), "prior_components": 2}


def rows(n: int = 3000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.choice(list("xyz"), n), "b": rng.normal(size=n)})


def vae(keep: Any, **parameters: Any) -> TabularVAE:
    given = {"epsilon": EPSILON, "delta": DELTA, "epochs": 2, "batch_size": 1000, "verbose": False, **parameters}
    return TabularVAE(**SMALL, keep_shards=keep, **given)


class Work:
    """Rows that were encoded, and how often statistics were released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.encoded, self.released = 0, 0
        encode, release = TableEncoder.encode, noised.release_statistics

        def encoded(encoder: TableEncoder, batch: pa.RecordBatch) -> Any:
            self.encoded += batch.num_rows
            return encode(encoder, batch)

        def released(*args: Any, **kwargs: Any) -> Any:
            self.released += 1
            return release(*args, **kwargs)

        monkeypatch.setattr(TableEncoder, "encode", encoded)
        monkeypatch.setattr(noised, "release_statistics", released)

    @property
    def done(self) -> tuple[int, int]:
        return self.encoded, self.released


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    yield Work(monkeypatch)


def events(model: Synthesizer) -> tuple[Event, ...]:
    assert model.privacy_spent_ is not None
    return model.privacy_spent_.ledger.events


def epsilon(model: Synthesizer) -> float:
    assert model.privacy_spent_ is not None
    return model.privacy_spent_.epsilon


def statistics_of(model: Synthesizer) -> tuple[Event, ...]:
    return tuple(e for e in events(model) if e.sampling_rate == 1)


def homes(folder: Path) -> list[Path]:
    return sorted(p.parent for p in folder.glob(f"*/{RELEASES}"))


def test_a_second_fit_replays_the_releases_encodes_nothing_and_costs_what_its_own_would(
    work: Work, tmp_path: Path, recomputed: Callable[[Any], tuple[float, float]]
) -> None:
    with collect_stages() as stages:
        first = vae(tmp_path).fit(rows())
    assert [s.bytes for s in stages if s.name == "shards"] == [None], "their size would tell how many rows there are"
    assert work.done == (3000, 1)
    second = vae(tmp_path).fit(rows())
    assert work.done == (3000, 1), "nothing is encoded and nothing released again"
    assert statistics_of(second) == statistics_of(first) and len(statistics_of(first)) >= 3
    assert events(second) == events(first)  # the same noise for the same training: the same is left for it
    for model in (first, second):
        found, error = recomputed(model)
        assert found <= epsilon(model) * 1.01 + error and EPSILON * 0.98 < epsilon(model) <= EPSILON
    own = vae(False).fit(rows())
    assert epsilon(second) == pytest.approx(epsilon(own), rel=0.01)
    assert len(homes(tmp_path)) == 1 and len(second.sample(20, seed=0)) == 20


def test_training_is_calibrated_for_what_is_left(tmp_path: Path) -> None:
    first = vae(tmp_path).fit(rows())
    richer, poorer = vae(tmp_path, epsilon=8.0).fit(rows()), vae(tmp_path, epsilon=1.0).fit(rows())
    sigmas = []
    for model, budget in ((poorer, 1.0), (first, EPSILON), (richer, 8.0)):
        assert statistics_of(model) == statistics_of(first)
        assert epsilon(model) <= budget and epsilon(model) == pytest.approx(budget, rel=0.02)
        sigmas.append(next(e.noise_multiplier for e in events(model) if e.sampling_rate < 1))
    assert sigmas[0] > sigmas[1] > sigmas[2]


def test_the_second_ledger_states_what_both_models_cost_together(work: Work, tmp_path: Path) -> None:
    first = vae(tmp_path).fit(rows())
    second = vae(tmp_path, epsilon=4.0).fit(rows())
    assert first.privacy_spent_ is not None and second.privacy_spent_ is not None
    assert first.privacy_spent_.joint is None and "kept rows" not in str(first.privacy_spent_)
    joint = second.privacy_spent_.joint
    assert joint is not None
    together = (*statistics_of(first), *(e for m in (first, second) for e in events(m) if e.sampling_rate < 1))
    assert joint.epsilon == pytest.approx(total_epsilon(together, DELTA), rel=1e-6)
    assert max(epsilon(first), epsilon(second)) < joint.epsilon < epsilon(first) + epsilon(second)
    assert f"same kept rows: epsilon = {joint.epsilon:.4g}" in str(second.privacy_spent_)
    second.save(tmp_path / "model")
    loaded = load_synthetic_model(tmp_path / "model").privacy_spent_
    assert loaded is not None and loaded.to_dict() == second.privacy_spent_.to_dict()
    assert loaded.joint is None, "a file does not say that another fit's table was the same"


def test_too_small_a_rest_is_an_error_before_any_work(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae(tmp_path, statistics_share=0.5).fit(rows())
    before = work.done
    monkeypatch.setattr("raysynth.methods.shared.neural.train_here", None)
    with pytest.raises(ParameterError, match=r"cost epsilon = .* already, and the budget is epsilon = 0.5"):
        vae(tmp_path, epsilon=0.5).fit(rows())
    with pytest.raises(ParameterError, match=r"cost epsilon = inf at delta = 1e-12"):
        vae(tmp_path, delta=1e-12).fit(rows())
    taken = total_epsilon(Ledger.from_dict(_kept(homes(tmp_path)[0])), DELTA)
    with pytest.raises(ParameterError, match="too small to train: .* of it is taken already"):
        vae(tmp_path, epsilon=taken + 0.01, epochs=200_000).fit(rows())  # which no noise makes cheap enough
    assert work.done == before
    assert len(list((homes(tmp_path)[0] / FITS).iterdir())) == 1, "a fit that was refused has learned nothing"


def _kept(home: Path) -> dict[str, Any]:
    ledger: dict[str, Any] = read_model(home / RELEASES).meta["ledger"]
    return ledger


@pytest.mark.parametrize(
    "change",
    [
        {"continuous_columns": ["a"]},
        {"categorical_columns": ["b"]},
    ],
    ids=["the types", "the kinds"],
)
def test_another_schema_makes_its_own_releases(work: Work, tmp_path: Path, change: dict[str, Any]) -> None:
    vae(tmp_path).fit(rows())
    second = vae(tmp_path, **change).fit(rows())
    assert work.done == (6000, 2)
    assert second.privacy_spent_ is not None and second.privacy_spent_.joint is None
    assert len(homes(tmp_path)) == 2


@pytest.mark.parametrize(
    "data", [rows().assign(b=rows()["b"].where(rows().index != 300, 0.0)), rows(2999)], ids=["a value", "a row"]
)
def test_no_ledger_tells_whether_another_fit_s_table_was_the_same(
    work: Work, tmp_path: Path, data: pd.DataFrame
) -> None:
    """A neighbour's fit takes the same releases and pays the same; its own rows are encoded, and learned."""
    first = vae(tmp_path).fit(rows())
    second = vae(tmp_path).fit(data)
    assert work.done == (3000 + len(data), 1), "its rows are encoded, and nothing is released again"
    assert events(second) == events(first) and len(homes(tmp_path)) == 1
    again = vae(tmp_path).fit(data)
    assert work.done == (3000 + len(data), 1) and events(again) == events(first)


def test_the_keys_hold_unit_cap_and_encoder(tmp_path: Path) -> None:
    """Rows of one unit's cap are not those of another's, and what was paid for by row is not paid for by person."""
    opened = open_table(vae(False), rows(), PrivacyScope(PrivacyBudget(EPSILON, DELTA)))
    schema = opened.modelled_schema

    def shard_key(unit: str, n_bins: int) -> str:
        encoder = build_encoder(schema, opened.statistics.columns, numeric="bins", n_bins=n_bins)
        key = ReleaseKey.of("data", schema, unit, {"numeric": "bins"})
        scope = PrivacyScope(PrivacyBudget(EPSILON, DELTA), unit=unit, n_rows=3000)
        return ShardKey.under_budget(KeptReleases.new(tmp_path, key, encoder, scope)).digest

    units = ["row", *(unit_in_words(column, k) for column in ("a", "b") for k in (1, 2))]
    assert len({ReleaseKey.of("data", schema, unit, {}) for unit in units}) == len(units)
    assert len({shard_key(unit, n_bins) for unit in units for n_bins in (4, 20)}) == 2 * len(units)
    owners = [None, *(as_table(pd.DataFrame({"who": np.arange(3000) // k})) for k in (1, 2))]
    found = [looked_up(tmp_path, {}, opened.table, schema, "person", own).key for own in owners]
    assert len(set(found)) == 3, "the same rows of other persons are another table"


def test_another_form_of_encoder_makes_its_own_and_another_method_of_the_same_form_does_not(
    work: Work, tmp_path: Path
) -> None:
    first = vae(tmp_path).fit(rows())
    small = {"generator_dim": (8,), "discriminator_dim": (8,), "epochs": 1, "batch_size": 1000}
    gan = TabularGAN(**small, epsilon=EPSILON, delta=DELTA, verbose=False, keep_shards=tmp_path).fit(rows())  # type: ignore[arg-type]
    assert work.done == (3000, 1) and statistics_of(gan) == statistics_of(first)
    bins = AutoregressiveSynthesizer(epsilon=EPSILON, delta=DELTA, epochs=1, verbose=False, keep_shards=tmp_path)
    bins.fit(rows())
    assert work.released == 2 and len(homes(tmp_path)) == 2


def test_folders_and_messages_tell_nothing_of_the_rows(
    work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Names are random; damaged rows are encoded again with the same releases, and no fit is forgotten."""
    vae(tmp_path).fit(rows())
    (home,) = homes(tmp_path)
    key = json.loads((home / "key.json").read_text())
    (home / "shard-000000.values.npy").unlink()
    with caplog.at_level(logging.WARNING, "raysynth"):
        again = vae(tmp_path).fit(rows())
    assert work.done == (6000, 1) and homes(tmp_path) == [home]
    assert again.privacy_spent_ is not None and again.privacy_spent_.joint is not None
    assert len(list((home / FITS).iterdir())) == 2
    assert "encoded again" in caplog.text
    assert not any(value[:16] in caplog.text + home.name for value in key.values() if len(str(value)) == 64)


def test_damaged_releases_are_not_used(work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    vae(tmp_path).fit(rows())
    (home,) = homes(tmp_path)
    (home / RELEASES).write_bytes(b"no zip")
    with caplog.at_level(logging.WARNING, "raysynth"):
        vae(tmp_path).fit(rows())
    assert work.done == (6000, 2) and "are not used" in caplog.text


def test_a_fit_that_goes_on_takes_its_own_kept_rows(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(name: str) -> TabularVAE:
        return vae(tmp_path / "kept", run_config=SimpleNamespace(storage_path=str(tmp_path), name=name))

    vae(tmp_path / "kept").fit(rows())

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("raysynth.methods.shared.neural.train_here", interrupted)
        named("run").fit(rows())
    resumed = named("run").fit(rows(), resume=tmp_path / "run")
    assert work.done == (3000, 1) and epsilon(resumed) <= EPSILON
    assert len(list((homes(tmp_path / "kept")[0] / FITS).iterdir())) == 2, "one that goes on is the same fit"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("raysynth.methods.shared.neural._encoded", interrupted)
        vae(tmp_path / "new", run_config=SimpleNamespace(storage_path=str(tmp_path), name="lost")).fit(rows())
    lost = vae(tmp_path / "new", run_config=SimpleNamespace(storage_path=str(tmp_path), name="lost"))
    lost.fit(rows(), resume=tmp_path / "lost")
    assert homes(tmp_path / "new") == [], "its releases are not told from its training, so they are not kept"


def test_a_folder_is_refused_to_a_table_of_which_something_else_is_said(work: Work, tmp_path: Path) -> None:
    """By public words alone: neither fit's rows play a part, and what is left unsaid differs from nothing."""
    vae(tmp_path / "kept", about_rows=3000, odometer=tmp_path / "one").fit(rows())
    for said, name in (({"about_rows": 90_000}, "about_rows=3000"), ({"odometer": tmp_path / "other"}, "odometer=")):
        with pytest.raises(ParameterError, match=f"(?s){name}.*a folder is for one table"):
            vae(tmp_path / "kept", **said).fit(rows())
    vae(tmp_path / "kept").fit(rows())
    assert work.released == 1


def test_a_table_without_a_row_is_no_error(tmp_path: Path) -> None:
    """No error under a budget depends on a row."""
    model = vae(tmp_path, categorical_columns=["a"], continuous_columns=["b"])
    nothing = rows().iloc[:0]
    assert epsilon(model.fit(nothing)) <= EPSILON
    assert epsilon(vae(tmp_path, categorical_columns=["a"], continuous_columns=["b"]).fit(nothing)) <= EPSILON


def test_a_private_selection_refuses_it(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="takes no keep_shards"):
        sweep(rows(), ["tvae"], [1.0], out=tmp_path / "out", selection="private", parameters={"keep_shards": tmp_path})
