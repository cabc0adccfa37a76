"""How a neural method spends what is left of a budget, and a private fit that can be resumed.

A fit under a budget that starts anew draws new noise and spends a budget of its own. One that goes on must take the
earlier one's releases as they are: the same encoder, the same noised number of rows, the same charged plan of DP-SGD.
So these, and the ledger, are written to the run's folder before the first step, and the steps that were begun are
counted in a journal beside them (`training/private_batches.py`). Steps repeated after an interruption come out of the
charged ones: the training ends earlier, and the ledger covers every step that any of the runs has made.

With a privacy unit the rows of each are drawn anew when a fit goes on. No step sees more of them than before, and none
of the draws depends on others' data, so the ledger still holds (`statistics/units.py`, 'Several draws').

All in the record has gone through the door with noise, and is releasable; checkpoints beside it hold losses, which are
private.

One plan of DP-SGD is charged before the first step. What is drawn in each step are units: rows, or with a privacy unit
of several rows one row of each unit that is drawn. Defaults under a budget, where the user left them open: batches of a
25th of the (noised) number of units, from 256 to 4,096, since the noise of a step does not grow with its batch;
gradients clipped to an L2 norm of 1. Rows are never held back, and neither training's end nor its best weights are
chosen by a loss.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from raysynth.dp.accounting.ledger import subsampled_gaussian
from raysynth.dp.accounting.privacy_spent import PrivacySpent
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.accounting.second_opinion import checked_by
from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.dp.mechanisms.noise import InsecureSeededNoise
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
        f"'{folder}' holds a fit that has spent {spent.total}; fit(data, resume='{folder}') resumes it within "
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


class UnderBudget(Protocol):
    """Prepared rows or sequences that may be under a budget, and the record of a fit that is kept."""

    @property
    def privacy(self) -> PrivacyScope | None:
        """What pays; None without a budget."""

    @property
    def private_run(self) -> PrivateRun | None:
        """None where nothing is kept."""


def private_batch_size(n_units: int) -> int:
    """Expected rows of a batch by the noised number of units; a multiple of 8."""
    return int(np.clip(n_units // 25 // 8 * 8, 256, 4096))


def charged_plan(
    prepared: UnderBudget,
    released: str,
    *,
    batch_size: int,
    epochs: int,
    clip_norm: float,
    releases: Releases | None = None,
) -> DpSgdPlan:
    """A plan of DP-SGD that spends all that is left, already in the ledger; a fit that goes on has its earlier one.

    Args:
        prepared: under a budget, after its statistics.
        released: what is released, for the ledger.
        batch_size: expected rows of a batch; all units in each step where there are fewer.
        epochs: passes over the units.
        clip_norm: of each row's gradient.
        releases: what else the fit has released for training, which one that goes on must take as it is.

    Raises:
        ParameterError: the budget is too small; says how small and what would do.
    """
    scope, run = prepared.privacy, prepared.private_run
    if scope is None:
        raise ValueError("a plan is charged under a privacy budget only")
    if run is not None and run.plan is not None:
        return run.plan
    plan = spending_plan(scope, released, batch_size=batch_size, epochs=epochs, clip_norm=clip_norm)
    return plan if run is None else run.charged(plan, releases)


def spending_plan(scope: PrivacyScope, released: str, *, batch_size: int, epochs: int, clip_norm: float) -> DpSgdPlan:
    """A plan of DP-SGD that spends all that a scope has left, already in its ledger; arguments of `charged_plan`."""
    q = min(1.0, batch_size / scope.n_units)
    steps = epochs * max(1, round(1 / q))
    sigma = scope.noise_multiplier_for(q, steps)
    planned = subsampled_gaussian(released, sigma, sampling_rate=q, steps=steps, sensitivity=clip_norm)
    checked = checked_by(planned, scope.budget.delta) if scope.asks_twice else ""
    scope.charge(replace(planned, checked=checked))
    return DpSgdPlan(
        clip=clip_norm,
        noise_multiplier=sigma,
        sampling_rate=q,
        expected_batch=q * scope.n_units,
        steps=steps,
        secure_mode=scope.secure_mode,
        insecure_seed=scope.noise.seed if isinstance(scope.noise, InsecureSeededNoise) else None,
    )


def releasable_history(history: list[dict[str, float]], privacy_spent: Any) -> list[Mapping[str, float]]:
    """What a model file may hold of `history_`: under a budget nothing, since losses are exact."""
    return [] if privacy_spent is not None else list(history)
