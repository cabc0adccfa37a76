"""The odometer: nothing that was reserved is lost, no limit is passed, whatever processes do and however they end."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from outcome import value_of

from raysynth import BayesianNetworkSynthesizer, GaussianCopula, Odometer, infer_schema, load_synthetic_model
from raysynth.dp import PrivacyBudget
from raysynth.dp.accounting.odometer import CHARGES, LIMIT, Charge, charge_fit, record_use
from raysynth.errors import ParameterError, StorageError
from raysynth.schema import ColumnSchema, Kind, TableSchema

PYTHON = sys.executable
ONE = """
import os, signal, sys
sys.path[:0] = {path!r}
from raysynth.dp.accounting import odometer as module
from raysynth.errors import ParameterError
write, die = os.write, {dies}
def torn(file, data):
    if die == "in writing" and data.startswith(b"{{"):
        write(file, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return write(file, data)
os.write = torn
odometer = module.Odometer({folder!r})
for i in range({n}):
    try:
        odometer.reserve(f"fit {{i}} of {name}", 0.1, 1e-7, unit="row")
        print("reserved", flush=True)
    except ParameterError:
        print("refused", flush=True)
    if die == "after" and i == {n} - 1:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def process(folder: Path, name: str, n: int, dies: str | None = None) -> subprocess.Popen[str]:
    code = ONE.format(path=sys.path, folder=str(folder), name=name, n=n, dies=repr(dies))
    return subprocess.Popen([PYTHON, "-c", code], stdout=subprocess.PIPE, text=True)


def told(*running: subprocess.Popen[str]) -> list[str]:
    return [line for p in running for line in p.communicate(timeout=120)[0].split()]


def test_fifty_reservations_by_two_processes_at_once_with_kills(tmp_path: Path) -> None:
    """Four processes, two at a time; two are killed after a reservation, one while it writes its first."""
    folder = tmp_path / "odometer"
    Odometer(folder).set_limit(4.55, 1e-3)
    said = told(process(folder, "a", 20, "after"), process(folder, "b", 10, "after"))
    torn = process(folder, "c", 1, "in writing")
    assert told(torn) == [] and torn.returncode == -signal.SIGKILL
    said += told(process(folder, "d", 12), process(folder, "e", 8))
    odometer = Odometer(folder)
    assert len(said) == 50 and said.count("reserved") == len(odometer.charges) == 45, "the limit takes 45 of them"
    assert odometer.total.epsilon == pytest.approx(4.5) and odometer.total.delta == pytest.approx(45e-7)
    assert len({c.what for c in odometer.charges}) == 45, "none is written over another"
    with pytest.raises(ParameterError, match=r"limit of its odometer is epsilon = 4\.55"):
        odometer.reserve("one more", 0.1, 1e-7, unit="row")
    odometer.reserve("a smaller one", 0.05, 1e-7, unit="row")


def test_the_folder_is_its_owners_alone_and_a_damaged_file_stops_everything(tmp_path: Path) -> None:
    folder = tmp_path / "odometer"
    odometer = Odometer(folder)
    odometer.reserve("a fit", 1.0, 1e-6, unit="row")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}
    content = (folder / CHARGES).read_text(encoding="utf-8")
    for damaged in ("{}\n", "no JSON\n", json.dumps({**json.loads(content), "epsilon": -1.0}) + "\n"):
        (folder / CHARGES).write_text(damaged + content, encoding="utf-8")
        with pytest.raises(StorageError, match="damaged"):
            odometer.reserve("another", 1.0, 1e-6, unit="row")
    with pytest.raises(ParameterError, match="URI"):
        Odometer("s3://bucket/odometer")


def test_a_limit_is_fixed_before_the_first_charge_and_once(tmp_path: Path) -> None:
    odometer = Odometer(tmp_path / "limited")
    odometer.set_limit(2.0, 1e-5)
    odometer.set_limit(2.0, 1e-5)
    with pytest.raises(ParameterError, match="has a limit already: epsilon = 2"):
        odometer.set_limit(3.0, 1e-5)
    with pytest.raises(ParameterError, match="delta = 2e-05"):
        odometer.reserve("a fit", 1.0, 2e-5, unit="row")
    assert odometer.charges == ()
    other = Odometer(tmp_path / "counting")
    other.reserve("a fit", 1.0, 1e-6, unit="row")
    with pytest.raises(ParameterError, match="before the first charge"):
        other.set_limit(2.0, 1e-5)
    with pytest.raises(ParameterError, match="different units do not add up"):
        other.reserve("a fit", 1.0, 1e-6, unit="value of 'person' with all its rows (at most 3 of which count)")


def test_what_nothing_guarantees_is_listed_and_the_total_says_so(tmp_path: Path) -> None:
    odometer = Odometer(tmp_path / "odometer")
    odometer.reserve("a fit", 1.0, 1e-6, unit="row")
    assert odometer.total.guarantee and "not covered" not in odometer.describe()
    record_use(odometer.folder, "an exact evaluation")
    record_use(None, "nothing to tell")
    total = value_of(lambda: odometer.total)
    assert not total.guarantee and total.epsilon == 1.0
    assert "an exact evaluation (no guarantee" in odometer.describe()
    assert "not covered by it: an exact evaluation" in odometer.describe()


def test_a_folder_is_an_odometer_by_its_limit_or_by_a_charge(tmp_path: Path) -> None:
    limited, charged = Odometer(tmp_path / "limited"), Odometer(tmp_path / "charged")
    assert not value_of(lambda: Odometer.exists(tmp_path))
    limited.set_limit(1.0, 1e-6)
    charged.reserve("a fit", 1.0, 1e-6, unit="row")
    assert value_of(lambda: Odometer.exists(limited.folder) and Odometer.exists(charged.folder))


def test_a_resumed_run_goes_on_within_its_charge_and_a_fit_anew_pays_again(tmp_path: Path) -> None:
    odometer = Odometer(tmp_path / "odometer")
    for resumed in (False, True, False, True):
        odometer.reserve("a fit", 1.0, 1e-6, unit="row", run="/runs/x", resumed=resumed)
    assert len(odometer.charges) == 2
    odometer.reserve("a fit", 1.0, 1e-6, unit="row", run="/runs/unknown", resumed=True)
    assert len(odometer.charges) == 3, "what was never reserved is charged now"


SCHEMA = TableSchema(
    (
        ColumnSchema("sort", Kind.CATEGORICAL, "string", categories=("x", "y")),
        ColumnSchema("size", Kind.CONTINUOUS, "int64", bounds=(0, 9), decimals=0),
    )
)


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"sort": rng.choice(["x", "y"], 300), "size": rng.integers(0, 10, 300)})


def test_fits_reserve_before_they_draw_and_the_file_holds_nothing_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "odometer"
    odometer = Odometer(folder)
    odometer.set_limit(1.6, 1e-4)
    given = {"schema": SCHEMA, "delta": 1e-5, "verbose": False, "odometer": folder}
    model = GaussianCopula(epsilon=1.0, **given).fit(table())
    model.save(tmp_path / "model")
    assert "odometer" not in json.dumps(model._content().meta) and model.privacy_spent_ is not None
    assert load_synthetic_model(tmp_path / "model").odometer is None
    with pytest.raises(ParameterError, match="limit of its odometer"):
        BayesianNetworkSynthesizer(epsilon=1.0, **given).fit(table())
    with pytest.raises(Exception, match="no column"):
        GaussianCopula(epsilon=0.5, **{**given, "schema": TableSchema(())}).fit(table()[[]])
    assert odometer.total.epsilon == 1.5, "a fit that fails stays charged"
    GaussianCopula(verbose=False, odometer=folder).fit(table())
    assert [c.guarantee for c in odometer.charges] == [True, True, False]
    assert "without a privacy budget" in odometer.charges[-1].what
    infer_schema(table(), epsilon=0.05, odometer=folder)
    assert odometer.charges[-1].what == "a schema" and odometer.total.epsilon == pytest.approx(1.55)
    assert os.fspath(folder) not in (tmp_path / "model").read_bytes().decode("latin-1")


def test_a_charge_without_figures_reserves_nothing() -> None:
    charge = Charge("a look", "row")
    assert (charge.epsilon, charge.delta, charge.guarantee, charge.run) == (0.0, 0.0, True, "")


@pytest.mark.parametrize(
    ("epsilon", "delta", "fits"),
    [(0.5, 5e-6, True), (0.5 + 1e-6, 5e-6, False), (0.5, 5e-6 + 1e-10, False), (0.1, 1e-6, True), (0.6, 1e-9, False)],
)
def test_a_limit_is_reached_and_not_passed_by_either_figure(
    epsilon: float, delta: float, fits: bool, tmp_path: Path
) -> None:
    odometer = Odometer(tmp_path / "o")
    odometer.set_limit(1.0, 1e-5)
    odometer.reserve("first", 0.5, 5e-6, unit="row")
    before = odometer.charges
    if fits:
        assert value_of(lambda: odometer.reserve("second", epsilon, delta, unit="row")) == odometer.charges[-1]
    else:
        with pytest.raises(ParameterError, match="with second all releases from the table would cost"):
            odometer.reserve("second", epsilon, delta, unit="row")
    assert odometer.charges == (*before, *([Charge("second", "row", epsilon, delta)] if fits else []))


def test_all_charges_are_described_with_their_total_and_the_limit(tmp_path: Path) -> None:
    odometer = Odometer(tmp_path / "o")
    assert odometer.describe().endswith("by basic composition; limit: none was set")
    assert odometer.to_dict()["limit"] is None and odometer.charges == ()
    odometer.set_limit(2.0, 1e-3)
    odometer.reserve("a fit", 0.5, 1e-6, unit="patient", run="runs/x")
    odometer.reserve("a sweep", 0.25, 2e-6, unit="patient")
    odometer.record_without_guarantee("an audit")
    first, second, third, last = value_of(odometer.describe).split("\n")
    assert first == "  1  a fit (epsilon 0.5, delta 1e-06; per patient)"
    assert second == "  2  a sweep (epsilon 0.25, delta 2e-06; per patient)"
    assert third == "  3  an audit (no guarantee; per row)"
    assert last.endswith("by basic composition; limit: epsilon = 2, delta = 0.001")
    told = odometer.to_dict()
    assert [c["run"] for c in told["charges"]] == ["runs/x", "", ""] and told["composition"] == "basic"
    assert (told["total"]["epsilon"], told["total"]["delta"]) == (0.75, pytest.approx(3e-6))
    assert told["limit"] == {"epsilon": 2.0, "delta": 1e-3}


@pytest.mark.parametrize(
    ("budget", "is_seeded", "charge"),
    [
        (PrivacyBudget(0.5, 1e-6), False, Charge("a fit", "patient", 0.5, 1e-6, run="r")),
        (PrivacyBudget(0.5, 1e-6), True, Charge("a fit, seeded", "row", guarantee=False)),
        (None, False, Charge("a fit without a privacy budget", "row", guarantee=False)),
        (None, True, Charge("a fit without a privacy budget", "row", guarantee=False)),
    ],
)
def test_a_fit_is_charged_by_what_it_guarantees(
    budget: PrivacyBudget | None, is_seeded: bool, charge: Charge, tmp_path: Path
) -> None:
    charge_fit(tmp_path / "o", "a fit", budget, "patient", is_seeded=is_seeded, run="r")
    assert Odometer(tmp_path / "o").charges == (charge,)
    charge_fit(None, "a fit", budget, "patient")
    charge_fit(tmp_path / "o", "a fit", budget, "patient", is_seeded=is_seeded, run="r", resumed=True)
    assert len(Odometer(tmp_path / "o").charges) == (1 if charge.guarantee else 2)


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": "1"},
        {"epsilon": float("inf")},
        {"delta": float("nan")},
        {"delta": -1e-9},
        {"more": 1},
        {"unit": ...},
    ],
)
def test_a_charge_with_other_fields_or_figures_is_damage(change: dict[str, Any], tmp_path: Path) -> None:
    odometer = Odometer(tmp_path / "o")
    odometer.reserve("a fit", 0.5, 1e-6, unit="row")
    content = json.loads((tmp_path / "o" / CHARGES).read_text()) | change
    lines = json.dumps({k: v for k, v in content.items() if v is not ...}) + "\n"
    (tmp_path / "o" / CHARGES).write_text(lines)
    with pytest.raises(StorageError, match="is damaged"):
        _ = odometer.charges


def test_a_line_without_its_end_was_never_reserved_and_gives_way(tmp_path: Path) -> None:
    odometer = Odometer(tmp_path / "o")
    odometer.reserve("first", 0.5, 1e-6, unit="row")
    whole = (tmp_path / "o" / CHARGES).read_text()
    for torn in (whole + whole[:20], whole[:20]):
        (tmp_path / "o" / CHARGES).write_text(torn)
        kept = torn.count("\n")
        assert len(odometer.charges) == kept
        odometer.reserve("next", 0.25, 1e-6, unit="row")
        assert [c.what for c in value_of(lambda: odometer.charges)] == ["first"] * kept + ["next"]


def test_a_limit_that_cannot_be_read_stops_everything(tmp_path: Path) -> None:
    odometer = Odometer(tmp_path / "o")
    odometer.set_limit(1.0, 1e-6)
    for content in ("", "{}", '{"epsilon": 1, "more": 2}'):
        (tmp_path / "o" / LIMIT).write_text(content)
        with pytest.raises(StorageError, match="cannot be read"):
            odometer.reserve("a fit", 0.5, 1e-6, unit="row")
