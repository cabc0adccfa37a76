"""What the commands of the command line do: texts of options to values, and the work between them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from raysynth.errors import ParameterError
from raysynth.files.storage import Target, atomic_path, check_writable, is_uri, local_path, place, write_atomically
from raysynth.methods.registry import AUTO, choose
from raysynth.running.stages import LONG_SECONDS, Stage, stage_table

if TYPE_CHECKING:
    import pandas as pd
    from ray.train import RunConfig

    from raysynth.evaluation import EvaluationResults
    from raysynth.methods.base import Synthesizer

FILE_ENDINGS = (".csv", ".parquet")


@dataclass(frozen=True)
class Outcome:
    """What a command gives: a JSON-able record for machines, and the same for people."""

    record: dict[str, Any]
    text: str

    def with_file(self, path: Path | str, name: str = "report") -> Outcome:
        """The same with a file that was written, called `name`."""
        said = f"{name.replace('_', ' ').capitalize()}: {path}"
        return Outcome({**self.record, name: str(path)}, f"{self.text}\n{said}")

    def with_stages(self, stages: Sequence[Stage]) -> Outcome:
        """The same with the job's stages: always for machines, after a long job for people too."""
        if not stages:
            return self
        is_long = sum(s.seconds for s in stages) >= LONG_SECONDS
        text = f"{self.text}\n{stage_table(stages)}" if is_long else self.text
        return Outcome({**self.record, "stages": [s.record() for s in stages]}, text)


def new_model(
    method: str,
    *,
    schema: Path | None = None,
    workers: int | None = None,
    gpu: bool = False,
    storage: Path | None = None,
    settings: list[str] | None = None,
    seed: int | None = None,
    **options: Any,
) -> Synthesizer:
    """The unfitted synthesizer that the options of `fit` describe; raises `ParameterError`, `SchemaError`.

    Args:
        method: a name, or 'auto'.
        schema: file of one.
        workers: processes of Ray; None: this one.
        gpu: whether each has a GPU.
        storage: folder of checkpoints; None: none are kept.
        settings: `NAME=VALUE` of further parameters.
        seed: of the fit.
        **options: parameters that have an option of their own; None: not given.
    """
    from raysynth.api import new_synthesizer

    parameters: dict[str, Any] = {"seed": seed, **read_settings(settings or [])}
    parameters.update({name: value for name, value in options.items() if value is not None})
    if schema is not None:
        from raysynth.schema.table import TableSchema

        parameters["schema"] = TableSchema.load(schema)
    if workers is not None or gpu:
        from ray.train import ScalingConfig

        parameters["scaling_config"] = ScalingConfig(num_workers=workers or 1, use_gpu=gpu)
    if method == AUTO:
        choice = choose({**parameters, "run_config": storage})
        method = choice.method
        print(choice)
    if storage is not None:
        parameters["run_config"] = run_config(storage, method, seed=seed, is_private=options.get("epsilon") is not None)
    return new_synthesizer(method, **parameters)


def read_as(data: str, csv: list[str] | None) -> Any:
    """The path, or with what `--csv` says of its form; raises `ParameterError` for a setting at fault."""
    if not csv:
        return data
    from raysynth.data.sources.csv_file import csv_file

    return csv_file(data, csv)


def run_config(storage: Path, method: str, *, seed: int | None, is_private: bool) -> RunConfig:
    """Where a fit keeps its checkpoints: the folder itself, so that the same command resumes from it.

    Raises:
        ParameterError: the method keeps no checkpoints, or could not resume from them without a seed.
    """
    from raysynth.methods.registry import synthesizer_class

    if not synthesizer_class(method).can_resume:
        raise ParameterError(f"'{method}' learns in a few passes and keeps no checkpoints; leave out --storage")
    if seed is None and not is_private:
        raise ParameterError("--storage needs --seed, since only a fit of the same seed can resume from a checkpoint")
    from ray.train import CheckpointConfig, RunConfig

    folder, name = os.path.split(str(storage) if is_uri(storage) else str(local_path(storage, "--storage")))
    return RunConfig(name=name, storage_path=folder, checkpoint_config=CheckpointConfig(num_to_keep=2))


def read_settings(settings: list[str]) -> dict[str, Any]:
    """`['max_parents=2', 'dims=[64, 64]']` as a dict; values are JSON where they can be, else text."""
    result: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not (equals and name.isidentifier()):
            raise ParameterError(f"--set {setting}: write it as NAME=VALUE, for example --set max_parents=2")
        try:
            result[name] = json.loads(text)
        except ValueError:
            result[name] = text
    return result


def check_output(target: Target, *inputs: object, starts: bytes | None = None) -> None:
    """As `check_writable`, before any work; a file that is there and will be replaced is named now (standard error)."""
    check_writable(target, *inputs, starts=starts)
    where = place(target)
    if where.is_local and where.exists():
        typer.echo(f"'{target}' is there: it is replaced when this command ends well (Ctrl-C keeps it)", err=True)


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write a DataFrame as CSV or Parquet, whole or not at all; raises `StorageError`."""
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".parquet":
            sparse = {c: t.subtype for c, t in frame.dtypes.items() if str(t).startswith("Sparse")}
            frame.astype(sparse).set_axis(list(map(str, frame.columns)), axis=1).to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, index=False)


def write_evaluation(results: EvaluationResults, path: Path, profile: str = "analyst") -> None:
    """The report of a profile as HTML, or all figures as JSON where the name ends so; raises `StorageError`."""
    if path.suffix.lower() == ".json" and profile == "analyst":
        write_atomically(path, results.to_json().encode(), private=True)
    else:
        results.generate_report(path, profile=profile)


@dataclass(frozen=True)
class Reports:
    """The reports of an evaluation: files, and what their header says.

    Args:
        out: for the data's holder; None: none is written.
        shareable: the same of releasable figures alone.
        source: name of the real table.
        profile: whom `out` is for: one of `raysynth.evaluation.profiles.PROFILES`.
    """

    out: Path | None = None
    shareable: Path | None = None
    source: str = ""
    profile: str = "analyst"


def evaluate_tables(
    real: Any, synthetic: Any, reports: Reports, *, model: Synthesizer | None = None, seed: int | None, **options: Any
) -> Outcome:
    """Compare two tables, write the reports, and give the figures.

    Args:
        real, synthetic: tables.
        reports: what is written.
        model: the one that made the synthetic table, where it is known: the report then shows how, and its ledger.
        seed: of what is drawn.
        **options: of `evaluate_synthetic_data`.
    """
    from raysynth.evaluation import evaluate_synthetic_data
    from raysynth.version import command_line

    results = evaluate_synthetic_data(
        real,
        synthetic,
        schema=None if model is None else model.schema_,
        model_info=model,
        seed=seed or 0,
        **options,
    )
    out, shareable = reports.out, reports.shareable
    results = replace(results, source=reports.source or results.source, command=command_line())
    outcome = Outcome({"command": "evaluate", **results.to_dict()}, results.summary())
    if out is not None:
        write_evaluation(results, out, reports.profile)
        outcome = outcome.with_file(out)
    if shareable is not None:
        results.generate_report(shareable, shareable=True)
        outcome = outcome.with_file(shareable, "shareable_report")
    return outcome
