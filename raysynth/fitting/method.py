"""The protocol that a method fulfils: what a fit asks of it, before, while and after it learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from raysynth.encoding.table_encoder import NumericForm

if TYPE_CHECKING:
    import os

    from ray.train import RunConfig, ScalingConfig

    from raysynth.dp.accounting.scope import PrivacyScope
    from raysynth.dp.mechanisms.noise import NoiseSource
    from raysynth.files.storage import Place
    from raysynth.fitting.opened import OpenedTable
    from raysynth.schema.columns import Kind
    from raysynth.schema.table import TableSchema


class Method(Protocol):
    """A synthesizer, as a fit sees it; `raysynth.methods.base.Synthesizer` says what each attribute means."""

    numeric_encoding: ClassVar[NumericForm]
    can_resume: ClassVar[bool]
    has_differential_privacy: ClassVar[bool]
    has_privacy_unit: ClassVar[bool]
    usual_statistics_share: ClassVar[float]
    learns_sequences: ClassVar[bool]

    seed: int | None
    verbose: bool | int
    scaling_config: ScalingConfig | None
    run_config: RunConfig | None
    keep_shards: bool | str | os.PathLike[str]
    differential_privacy: bool
    epsilon: float | None
    delta: float | None
    about_rows: float | None
    public_types: bool
    statistics_share: float | None
    privacy_unit: str | None
    max_rows_per_unit: int
    secure_mode: bool
    entity: str | None
    odometer: str | os.PathLike[str] | None
    rules: str | None
    _noise: NoiseSource | None
    _resume: Place | None

    def _declared_schema(self) -> TableSchema | None:
        """What the user declared of the columns."""
        ...

    def _listed_kinds(self) -> dict[Kind, Any]:
        """The columns that the user listed by kind."""
        ...

    def _encoder_options(self) -> dict[str, Any]:
        """Arguments for `build_encoder` beside the form of the numbers."""
        ...

    def _fit_seed(self) -> int:
        """Seed of the initial weights."""
        ...

    def _saved_parameters(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        ...

    def _fit_with(self, learn: Callable[[], Any], resume: str | os.PathLike[str] | None = None) -> Self:
        """Check the parameters, then `learn`."""
        ...

    def _learn(self, opened: OpenedTable, scope: PrivacyScope | None) -> Any:
        """The fitted value: the encoder, and what the method learns."""
        ...
