"""A private fit that is interrupted: it goes on within its budget, and no step of any run is missing in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import tiny

from raysynth import ConditionalTabularGAN, TabularGAN, TabularVAE
from raysynth.api import new_synthesizer
from raysynth.dp.gradients.release import GradientRelease
from raysynth.errors import ParameterError
from raysynth.fitting.private_run import RECORD
from raysynth.methods.base import Synthesizer

EPOCHS, PER_EPOCH = 4, 3  # 3,000 rows in batches of 1,000: the noise of the number of rows (20) makes none more


def rows(n: int = 3000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.choice(list("xyz"), n), "b": rng.normal(size=n)})


def vae(folder: Path, name: str = "run", **parameters: Any) -> TabularVAE:
    small = {"latent_dim": 2, "encoder_layers": (8,), "decoder_layers": (8,), "prior_components": 2}
    given = {"epsilon": 2.0, "delta": 1e-4, "epochs": EPOCHS, "batch_size": 1000, "verbose": False, **parameters}
    run_config = SimpleNamespace(storage_path=str(folder), name=name)
    return TabularVAE(run_config=run_config, **small, **given)  # type: ignore[arg-type]


class Steps:
    """Counts released gradients over all runs of a test; interrupts after so many."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made, self.stop_at = 0, -1
        inner = GradientRelease.noised_mean

        def counted(release: GradientRelease) -> Any:
            if self.made == self.stop_at:
                self.stop_at = -1
                raise KeyboardInterrupt
            self.made += 1
            return inner(release)

        monkeypatch.setattr(GradientRelease, "noised_mean", counted)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def charged_steps(model: Synthesizer) -> int:
    assert model.privacy_spent_ is not None
    (event,) = [e for e in model.privacy_spent_.ledger if e.released.startswith("gradients")]
    return event.steps


def interrupted(steps: Steps, folder: Path, after: float) -> KeyboardInterrupt:
    """A fit stopped so many epochs in."""
    steps.stop_at = int(after * PER_EPOCH)
    with pytest.raises(KeyboardInterrupt) as stopped:
        vae(folder).fit(rows())
    return stopped.value


def test_a_fit_interrupted_in_its_second_epoch_goes_on_within_the_same_ledger(
    steps: Steps, tmp_path: Path, recomputed: Callable[[Any], tuple[float, float]]
) -> None:
    notes = " ".join(interrupted(steps, tmp_path, 1.5).__notes__)
    assert "epoch 1 of 4 is kept in" in notes and "fit(data, resume=...)" in notes and "a fit anew spends" in notes
    assert "has spent already: epsilon = " in notes
    before = _record(tmp_path)["privacy"]
    made = steps.made
    resumed = vae(tmp_path).fit(rows(), resume=tmp_path / "run")
    spent = resumed.privacy_spent_
    assert spent is not None and spent.to_dict() == before, "no event is new: all steps were charged before the first"
    assert made < steps.made <= charged_steps(resumed), "steps of both runs, the repeated ones too"
    assert len(resumed.history_) == EPOCHS
    found, error = recomputed(resumed)
    assert found <= spent.epsilon * 1.01 + error and spent.epsilon <= 2.0
    assert len(resumed.sample(20, seed=0)) == 20


def test_one_interrupted_before_its_first_checkpoint_begins_again_with_what_is_left(
    steps: Steps, tmp_path: Path
) -> None:
    interrupted(steps, tmp_path, 0.5)
    resumed = vae(tmp_path).fit(rows(), resume=tmp_path / "run")
    assert steps.made <= charged_steps(resumed)
    assert not resumed.history_[-1].get("reconstruction"), "the last epoch had no step left"


def test_a_finished_fit_gone_on_from_makes_no_step_and_spends_nothing(steps: Steps, tmp_path: Path) -> None:
    first = vae(tmp_path, seed=1).fit(rows())
    made = steps.made
    again = vae(tmp_path, seed=1).fit(rows(), resume=tmp_path / "run")
    assert first.privacy_spent_ is not None and again.privacy_spent_ is not None
    assert steps.made == made and again.privacy_spent_.to_dict() == first.privacy_spent_.to_dict()
    pd.testing.assert_frame_equal(again.sample(50, seed=2), first.sample(50, seed=2))


def test_a_fit_anew_in_the_same_folder_is_refused_before_it_spends(steps: Steps, tmp_path: Path) -> None:
    interrupted(steps, tmp_path, 1.5)
    with pytest.raises(ParameterError, match=r"has spent epsilon = .*resume=.*new spending.*another run name"):
        vae(tmp_path).fit(rows())
    assert len(vae(tmp_path, "other").fit(rows()).history_) == EPOCHS


def test_other_parameters_are_refused_and_the_spending_named(steps: Steps, tmp_path: Path) -> None:
    interrupted(steps, tmp_path, 1.5)
    for change in ({"epsilon": 3.0}, {"epochs": 5}, {"batch_size": 50}, {"clip_norm": 2.0}):
        with pytest.raises(ParameterError, match=rf"has spent epsilon = .*{next(iter(change))}="):
            vae(tmp_path, **change).fit(rows(), resume=tmp_path / "run")


def test_other_columns_a_missing_journal_and_a_folder_without_a_record_are_refused(
    steps: Steps, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match="holds no fit under a privacy budget"):
        vae(tmp_path).fit(rows(), resume=tmp_path / "run")
    interrupted(steps, tmp_path, 1.5)
    with pytest.raises(ParameterError, match="had other columns"):
        vae(tmp_path).fit(rows().rename(columns={"a": "c"}), resume=tmp_path / "run")
    for journal in (tmp_path / "run").glob("started-steps-*.json"):
        journal.unlink()
    with pytest.raises(ParameterError, match="nobody knows how many are left"):
        vae(tmp_path).fit(rows(), resume=tmp_path / "run")


def test_a_conditional_gan_goes_on_with_the_network_that_it_released(steps: Steps, tmp_path: Path) -> None:
    def gan() -> ConditionalTabularGAN:
        config = SimpleNamespace(storage_path=str(tmp_path), name="gan")
        small = {"generator_dim": (8,), "discriminator_dim": (8,), "batch_size": 1000, "epochs": 3}
        given = {"conditional_columns": ["a", "c"], "epsilon": 2.0, "delta": 1e-4, "verbose": False}
        return ConditionalTabularGAN(run_config=config, **given, **small)  # type: ignore[arg-type]

    steps.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        gan().fit(rows().assign(c=rows()["a"]))
    resumed = gan().fit(rows().assign(c=rows()["a"]), resume=tmp_path / "gan")
    assert steps.made <= charged_steps(resumed)
    events = [e.released for e in resumed.privacy_spent_.ledger]  # type: ignore[union-attr]
    assert events.count("table of a column with its parents") == 1
    made = resumed.sample(200, conditions={"a": "x"}, seed=0)
    assert set(made["a"]) == {"x"}


def test_a_gan_goes_on_too(steps: Steps, tmp_path: Path) -> None:
    def gan() -> TabularGAN:
        config = SimpleNamespace(storage_path=str(tmp_path), name="gan")
        small = {"generator_dim": (8,), "discriminator_dim": (8,), "pac": 1, "batch_size": 1000, "epochs": 3}
        return TabularGAN(epsilon=2.0, delta=1e-4, run_config=config, verbose=False, **small)  # type: ignore[arg-type]

    steps.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        gan().fit(rows())
    resumed = gan().fit(rows(), resume=tmp_path / "gan")
    assert steps.made <= charged_steps(resumed) and len(resumed.sample(10, seed=0)) == 10


def _record(folder: Path) -> dict[str, Any]:
    from raysynth.files.model_file import read_model

    return read_model(folder / "run" / RECORD).meta


OF_SEQUENCES: dict[str, dict[str, Any]] = tiny(("timegan", "autoregressive_sequences"))


def sequences(method: str, folder: Path, **parameters: Any) -> Synthesizer:
    of_table = {"sequence_key": "who", "sequence_length": 3, "static_columns": ["town"]}
    given = {"epsilon": 2.0, "delta": 1e-4, "epochs": EPOCHS, "batch_size": 100, "checkpoint_every": 1}
    run_config = SimpleNamespace(storage_path=str(folder), name="run")
    own = {**OF_SEQUENCES[method], **of_table, **given, **parameters}
    return new_synthesizer(method, run_config=run_config, verbose=False, **own)


def visits(n: int = 300) -> pd.DataFrame:
    """One to four rows of each person, of which three count, a column of the person, a number and a category."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(n), rng.integers(1, 5, n))
    town = np.where(who % 3 == 0, "east", "west")
    return pd.DataFrame(
        {"who": who, "town": town, "a": rng.choice(list("xyz"), len(who)), "b": rng.normal(size=len(who))}
    )


@pytest.mark.parametrize("method", OF_SEQUENCES)
def test_a_fit_of_sequences_goes_on_with_all_that_it_released(
    method: str, steps: Steps, tmp_path: Path, recomputed: Callable[[Any], tuple[float, float]]
) -> None:
    steps.stop_at = 5  # of about three an epoch
    with pytest.raises(KeyboardInterrupt):
        sequences(method, tmp_path).fit(visits())
    before, made = _record(tmp_path), steps.made
    with pytest.raises(ParameterError, match=r"has spent epsilon = .*resume="):
        sequences(method, tmp_path).fit(visits())
    with pytest.raises(ParameterError, match=r"with epsilon=2\.0; found 3\.0"):
        sequences(method, tmp_path, epsilon=3.0).fit(visits(), resume=tmp_path / "run")
    with pytest.raises(ParameterError, match="had other columns"):
        sequences(method, tmp_path).fit(visits().assign(c="x"), resume=tmp_path / "run")
    assert steps.made == made
    resumed = sequences(method, tmp_path).fit(visits(), resume=tmp_path / "run")
    spent = resumed.privacy_spent_
    assert spent is not None and spent.to_dict() == before["privacy"], "no event is new"
    assert made < steps.made <= charged_steps(resumed) and len(resumed.history_) == EPOCHS
    assert resumed.n_rows_ == before["n_rows"], "their number is the one that was released"
    found, error = recomputed(resumed)
    assert found <= spent.epsilon * 1.01 + error and spent.epsilon <= 2.0
    assert resumed.sample(20, seed=0)["who"].nunique() == 20
