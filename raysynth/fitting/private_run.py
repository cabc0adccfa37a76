"""A private fit that can be resumed: what it has released and charged, kept beside its checkpoints.

A fit under a budget that starts anew draws new noise and spends a budget of its own. One that goes on must take the
earlier one's releases as they are: the same encoder, the same noised number of rows, the same charged plan of DP-SGD.
So these, and the ledger, are written to the run's folder before the first step, and the steps that were begun are
counted in a journal beside them (`training/private_batches.py`). Steps repeated after an interruption come out of the
charged ones: the training ends earlier, and the ledger covers every step that any of the runs has made.

With a privacy unit the rows of each are drawn anew when a fit goes on. No step sees more of them than before, and none
of the draws depends on others' data, so the ledger still holds (`statistics/units.py`, 'Several draws').

All in the record has gone through the door with noise, and is releasable; checkpoints beside it hold losses, which are
private.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from raysynth.dp.accounting.privacy_spent import PrivacySpent
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ModelFileError, ParameterError
from raysynth.files.model_file import ModelContent, read_model, under, write_model
from raysynth.files.storage import Place
from raysynth.fitting.checks import run_folder
from raysynth.training.checkpoints import find_checkpoint, names_file

if TYPE_CHECKING:
    from raysynth.fitting.method import Method, OpenedTable
    from raysynth.schema.table import TableSchema

Releases: TypeAlias = tuple[dict[str, Any], dict[str, np.ndarray]]  # JSON values and arrays

RECORD = "private-run.raysynth"
RELEASED = "releases."
FREE = frozenset({"verbose", "checkpoint_every"})  # parameters that may change when a fit goes on


@dataclass(frozen=True)
class PrivateRun:
    """The record of one private fit.

    Args:
        folder: of the run.
        scope: budget, ledger, noised number of rows.
        seed: of initial weights.
        parameters: of the synthesizer.
        schemas: 'schema' and 'modelled_schema' as JSON values.
        encoder: built from what was released.
        plan: of DP-SGD, once it is charged.
        releases: of the method besides.
    """

    folder: Place
    scope: PrivacyScope
    seed: int
    parameters: dict[str, Any]
    schemas: dict[str, Any]
    encoder: TableEncoder
    plan: DpSgdPlan | None = None
    releases: Releases | None = None

    @property
    def schema(self) -> TableSchema:
        """As it was opened."""
        from raysynth.schema.table import TableSchema

        return TableSchema.from_dict(self.schemas["schema"])

    def check_schema(self, opened: OpenedTable) -> None:
        """Raise `ParameterError` where a table's public schema is not the one that was released."""
        if self.schemas != as_json(_schemas(opened)):
            raise ParameterError(
                f"resume: the fit in '{self.folder}' had other columns; give it the same table and schema"
            )

    def charged(self, plan: DpSgdPlan, releases: Releases | None = None) -> DpSgdPlan:
        """Keep a plan that the ledger has just been charged with; gives it with its journal."""
        own, own_arrays = releases or ({}, {})
        plan = replace(plan, journal=self.folder / _journal(plan))
        meta, arrays = self.encoder.to_state()
        content = {
            "parameters": self.parameters,
            **self.schemas,
            "encoder": meta,
            "seed": self.seed,
            "n_rows": self.scope.n_rows,
            "n_units": self.scope.n_units,
            "rows_per_unit": self.scope.rows_per_unit,
            "privacy": PrivacySpent.of(self.scope.ledger, self.scope.budget).to_dict(),
            "plan": asdict(replace(plan, journal=None)),
            "releases": own,
        }
        arrays = {**arrays, **{f"{RELEASED}{k}": v for k, v in own_arrays.items()}}
        write_model(self.folder / RECORD, ModelContent(content, arrays))
        return plan


def started_run(
    model: Method, scope: PrivacyScope, opened: OpenedTable, encoder: TableEncoder, seed: int
) -> PrivateRun | None:
    """The record of a fit that begins; None where the user named no storage."""
    folder = run_folder(model.run_config)
    if folder is None:
        return None
    return PrivateRun(folder, scope, seed, _parameters(model), _schemas(opened), encoder)


def resumed_run(model: Method, folder: Place, scope: PrivacyScope) -> PrivateRun:
    """The record of the fit that this one resumes; its scope has the earlier ledger, and nothing new to spend.

    Raises:
        ParameterError: there is none, or it belongs to other parameters. StorageError, ModelFileError: it is damaged.
    """
    folder = folder.parent if names_file(folder) else folder
    path = folder / RECORD
    if not path.exists():
        raise ParameterError(
            f"resume: '{folder}' holds no fit under a privacy budget ({RECORD} is missing); what such a fit has "
            "released cannot be drawn again within the same budget"
        )
    content = read_model(path)
    try:
        spent = PrivacySpent.from_dict(content.meta["privacy"])
        _check_same(model, content.meta["parameters"], spent, folder)
        plan = DpSgdPlan(**content.meta["plan"])
        if not (folder / _journal(plan)).exists() and find_checkpoint(folder) is not None:
            raise ParameterError(
                f"resume: '{folder / _journal(plan)}' is missing, and without this count of the steps begun nobody "
                "knows how many are left of those that were charged; fit anew, which is new spending"
            )
        earlier = PrivacyScope(
            spent.budget,
            preprocessing_share=scope.preprocessing_share,
            unit=scope.unit,
            rows_per_unit=int(content.meta.get("rows_per_unit", scope.rows_per_unit)),
            ledger=spent.ledger,
            noise=scope.noise,
            n_rows=int(content.meta["n_rows"]),
            n_units=int(content.meta["n_units"]),
        )
        return PrivateRun(
            folder,
            earlier,
            int(content.meta["seed"]),
            content.meta["parameters"],
            {name: content.meta[name] for name in ("schema", "modelled_schema")},
            _encoder(content),
            replace(plan, journal=folder / _journal(plan)),
            (content.meta["releases"], under(RELEASED, content.arrays)),
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, (ParameterError, ModelFileError)):
            raise
        raise ModelFileError(f"'{path}' is incomplete ({error}); fit anew, which is new spending") from error


def check_unused(folder: Place | None) -> None:
    """Refuse to start a private fit in the folder of another one, before anything is released.

    Raises:
        ParameterError: says what the earlier fit has spent, and how to go on.
    """
    if folder is None or not (folder / RECORD).exists():
        return
    spent = PrivacySpent.from_dict(read_model(folder / RECORD).meta["privacy"])
    raise ParameterError(
        f"'{folder}' holds a fit that has spent {spent.total}; fit(data, resume='{folder}') goes on from it within "
        "that budget. A fit anew is new spending, and what both cost together is the sum: give it another run name"
    )


def _check_same(model: Method, earlier: dict[str, Any], spent: PrivacySpent, folder: Place) -> None:
    own = _parameters(model)
    if different := sorted(k for k in own.keys() | earlier.keys() if own.get(k) != earlier.get(k) and k not in FREE):
        name = different[0]
        raise ParameterError(
            f"resume: the fit in '{folder}' has spent {spent.total} with {name}={earlier.get(name)!r}; found "
            f"{own.get(name)!r}. Go on with the same parameters; other ones are a fit anew, and new spending"
        )


def _parameters(model: Method) -> dict[str, Any]:
    return {"class": type(model).__name__, **as_json(model._saved_parameters())}


def _schemas(opened: OpenedTable) -> dict[str, Any]:
    return {"schema": opened.schema.to_dict(), "modelled_schema": opened.modelled_schema.to_dict()}


def _encoder(content: ModelContent) -> TableEncoder:
    from raysynth.schema.table import TableSchema

    schema = TableSchema.from_dict(content.meta["modelled_schema"])
    return TableEncoder.from_state(schema, content.meta["encoder"], content.arrays)


def as_json(values: dict[str, Any]) -> dict[str, Any]:
    """The same as a file of JSON gives it back."""
    result: dict[str, Any] = json.loads(json.dumps(values, default=lambda v: v.item()))
    return result


def _journal(plan: DpSgdPlan) -> str:
    return f"started-steps-{plan.fit_id}.json"
