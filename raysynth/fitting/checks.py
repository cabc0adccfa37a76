"""Checks of what a synthesizer is given: errors that name the parameter, what was found and what is wanted."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from raysynth.dp.accounting.ledger import ROW, unit_in_words
from raysynth.dp.accounting.odometer import Odometer, charge_fit
from raysynth.errors import ModelFileError, ParameterError
from raysynth.files.storage import Folder, Place, Target, check_writable, folder_at, is_uri, place
from raysynth.fitting.method import EncoderForm

if TYPE_CHECKING:
    from ray.train import RunConfig

    from raysynth.dp.accounting.scope import PrivacyScope
    from raysynth.fitting.method import Method
    from raysynth.sampling.chunks import SamplingModel
    from raysynth.schema.table import TableSchema

WEAK_EPSILON = 10.0


def check_rows_of_part(model: Any, batch_size: int, why: str) -> None:
    """Raise `ParameterError` where a part of a batch that goes through a network at once may be a single row.

    Args:
        model: its `accumulation` and the workers of its `scaling_config` divide the batch.
        batch_size: rows of a step, over all workers together.
        why: the layer or loss that compares rows with each other.
    """
    workers = 1
    if model.scaling_config is not None:
        from raysynth.training.distributed import worker_range

        workers = worker_range(model.scaling_config)[1]
    parts = model.accumulation * workers
    if batch_size < 2 * parts:
        over = f" over {workers} workers" if workers > 1 else ""
        within = f" with accumulation={model.accumulation}" if model.accumulation > 1 else ""
        raise ParameterError(
            f"batch_size {batch_size}{over}{within} gives {why} less than the two rows that it needs; choose "
            f"batch_size={2 * parts} or more"
        )


def is_private(model: Method) -> bool:
    """Whether a fit keeps within a privacy budget."""
    return model.differential_privacy or model.epsilon is not None


def check_privacy_unit(model: Method) -> None:
    """Raise `ParameterError` where a privacy unit is wrong, or the method has none."""
    if model.privacy_unit is None:
        if model.max_rows_per_unit != 1:
            raise ParameterError("max_rows_per_unit belongs to a privacy_unit: name the column of persons, too")
        return
    if not model.has_privacy_unit:
        raise ParameterError(
            f"privacy_unit is not in this version of {type(model).__name__}, whose guarantee is by row; take another "
            "method, or give it a table with one row for each person"
        )
    if model.max_rows_per_unit is None and model.keep_shards:
        raise ParameterError(
            "max_rows_per_unit=None chooses how many rows of each person count, and another fit may choose otherwise: "
            "with keep_shards give it a number"
        )


def warn_of_budget(model: Method, scope: PrivacyScope | None) -> None:
    """Warn of a budget that protects hardly anybody, by what the user says alone: before any row is read."""
    if scope is None:
        return
    if scope.budget.epsilon > WEAK_EPSILON:
        warnings.warn(
            f"epsilon = {scope.budget.epsilon:g} is above {WEAK_EPSILON:g}: the guarantee then hardly bounds what an "
            "attacker learns of one person; 1 is strict",
            stacklevel=5,
        )
    if model.about_rows is not None and (told := scope.budget.warning(model.about_rows)) is not None:
        warnings.warn(told, stacklevel=5)


def begin_spending(model: Method, scope: PrivacyScope | None) -> None:
    """What comes before a fit opens its rows: warns of a weak budget, and reserves it in the table's odometer."""
    warn_of_budget(model, scope)
    charge_odometer(model, scope)


def charge_odometer(model: Method, scope: PrivacyScope | None) -> None:
    """Reserve in a table's odometer what a fit may spend, or list that it guarantees nothing; before it draws.

    A fit that is resumed goes on within the charge of the run's folder.

    Raises:
        ParameterError: the odometer's limit would be exceeded, or it counts for another unit. StorageError.
    """
    if model.odometer is None:
        return
    folder = run_folder(model.run_config) if model._resume is None else model._resume
    charge_fit(
        model.odometer,
        f"a fit of {type(model).__name__}",
        None if scope is None else scope.budget,
        unit_of(model),
        is_seeded=scope is not None and not scope.noise.guarantee,
        run=str(folder) if folder is not None and model.can_resume else "",
        resumed=model._resume is not None,
    )


def unlisted(model: Any) -> Any:
    """An unfitted model whose fits are not counted one by one: many of one attack, which is listed as a whole."""
    return model.set_params(odometer=None) if getattr(model, "odometer", None) is not None else model


def unit_of(model: Method) -> str:
    """What one unit of a fit's guarantee is, in words."""
    if model.learns_sequences:
        key, length = getattr(model, "sequence_key", None), getattr(model, "sequence_length", 0)
        return "sequence of the array" if key is None else unit_in_words(key, length)
    return ROW if model.privacy_unit is None else unit_in_words(model.privacy_unit, model.max_rows_per_unit)


def draws_units(model: Method) -> bool:
    """Whether training draws units of several rows (by one row of each), where others draw rows."""
    return model.privacy_unit is not None and model.can_resume and model.max_rows_per_unit != 1


def check_compile_step(model: Any) -> None:
    """Raise `ParameterError` unless `compile_step` is True or False, and True without a budget only."""
    if not isinstance(model.compile_step, bool):
        raise ParameterError(f"compile_step must be True or False; found {model.compile_step!r}")
    if model.compile_step and is_private(model):
        raise ParameterError(
            "compile_step=True does not go with a privacy budget: rows are clipped one by one from records of the "
            "layers' calls, and a compiled function makes none; leave out compile_step"
        )


def resumed_folder(model: Method, resume: Target | None) -> Place | None:
    """The run that a fit resumes from; raises `ParameterError` where the model cannot."""
    if resume is None:
        return None
    if not model.can_resume:
        raise ParameterError(f"{type(model).__name__} keeps no checkpoints to resume from; leave out resume")
    if model.seed is None and not is_private(model):  # under a budget batches come from no seed
        raise ParameterError("resume needs the seed of the run that was lost, since its batches depend on it")
    return place(resume, "resume")


def said_of_table(model: Method) -> dict[str, Any]:
    """What the user says of the table, by which it is told from others; nothing of its rows."""
    odometer = None if model.odometer is None else str(Odometer(model.odometer).folder)
    said = {"about_rows": model.about_rows, "odometer": odometer}
    return {name: value for name, value in said.items() if value is not None}


def kept_by(model: Method) -> tuple[Folder, Mapping[str, Any], Mapping[str, Any]] | None:
    """Where a model keeps encoded rows, the form of its encoder, and what is said of its table; None: it keeps none."""
    folder = shards_folder(model)
    return None if folder is None else (folder, EncoderForm.of(model).described, said_of_table(model))


def shards_folder(model: Method) -> Folder | None:
    """Where a fit keeps its shards; None: nowhere. Raises `ParameterError` where there are none."""
    if model.keep_shards is False or model.keep_shards is None:
        return None
    if not model.can_resume:
        raise ParameterError(f"{type(model).__name__} learns without encoded shards; leave out keep_shards")
    if model.keep_shards is not True:
        return folder_at(model.keep_shards, "keep_shards")
    if model.run_config is None or model.run_config.storage_path is None:
        raise ParameterError(
            "keep_shards=True puts shards into STORAGE_PATH/shards: give run_config=RunConfig(storage_path=...), or "
            "keep_shards='/shared/shards'"
        )
    return folder_at(model.run_config.storage_path, "storage_path") / "shards"


def run_folder(run_config: RunConfig | None) -> Place | None:
    """STORAGE_PATH/NAME of a run, of this machine, shared or in an object store; None where the user named no storage.

    Raises:
        ParameterError: nothing here opens the storage path. StorageError: the store cannot be reached.
    """
    if run_config is None or run_config.storage_path is None:
        return None
    given, path = getattr(run_config, "storage_filesystem", None), os.fspath(run_config.storage_path)
    here = given is None or given.type_name == "local"
    where = place(path, "storage_path") if here else Place(given, path.rstrip("/"), path)
    return where / (run_config.name or "raysynth")


def check_storage(model: Method) -> None:
    """Raise before any work what `run_folder` and `shards_folder` raise, and `StorageError` where a bucket is missing
    or refuses to be written to."""
    for folder, first in ((run_folder(model.run_config), "checkpoint.pt"), (shards_folder(model), "manifest.json")):
        if isinstance(folder, Place) and is_uri(folder.name):
            check_writable(folder / first)


def listed(columns: Any) -> Any:
    """A list of names, whatever sequence they came in, numbers as text; a text stays one, to be refused by name."""
    return columns if columns is None or isinstance(columns, str) else [str(c) for c in columns]


def try_out(model: SamplingModel, modelled: TableSchema) -> None:
    """Make a few rows all the way to a DataFrame, without rejection, so that a file's parts are known to fit together.

    Args:
        model: what the file gives.
        modelled: the schema after the constraints' change of columns, as the file has it.

    Raises:
        ModelFileError: schema, encoder and network do not belong together; other errors as they come.
    """
    from raysynth.sampling.chunks import assemble
    from raysynth.sampling.frame import to_frame

    rules, encoder = model.rules, model.encoder
    seen = model.schema.as_modelled()
    expected = seen if rules is None else rules.forward_schema(seen)
    if [(c.name, c.dtype) for c in expected.columns] != [(c.name, c.dtype) for c in modelled.columns]:
        raise ModelFileError("the schema and the modelled schema in the file have other columns; refit the model")
    rng = np.random.default_rng(0)
    block = model.generator.generate(4, rng)
    if block.codes_NC.shape != (4, len(encoder.columns)):
        raise ModelFileError("the model and the encoder in the file have other columns; refit the model")
    if (block.codes_NC >= np.array(encoder.cardinalities)).any():
        raise ModelFileError("the model in the file makes codes that its encoder does not know; refit the model")
    rows = encoder.decode(block, rng)
    rows = rows if rules is None else rules.inverse(rows, rng)
    to_frame(assemble(rows, model.schema, model.regenerators, model.key, 0), model.schema)
