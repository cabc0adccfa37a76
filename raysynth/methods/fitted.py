"""A fit as a value: everything of a model but its parameters, made once by `fit` or from a file, and never changed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from raysynth.dp.accounting.privacy_spent import PrivacySpent
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.files.model_file import ModelContent
from raysynth.fitting.gaps import GapGroup, Groups
from raysynth.fitting.prepared import constraint_set
from raysynth.schema.table import TableSchema

if TYPE_CHECKING:
    from raysynth.running.stages import Stage
    from raysynth.schema.constraints.rules import ConstraintSet

S = TypeVar("S")
Tempered = tuple[S, S] | None  # a sampler as it was learned, and as the parameters of now ask


@dataclass(frozen=True)
class Fitted:
    """What a fit made; a synthesizer shows each field, and each of `learned`, as an attribute that ends in '_'.

    Args:
        schema: of the rows that are made.
        modelled_schema: of the columns that the encoder sees, which constraints may have changed.
        encoder: codes and back.
        rules: the constraints that rows keep; None where there are none.
        n_rows: learned from; released with noise under a budget.
        identifier_key: what the permutation of made keys follows from.
        learned: what the method learned, a frozen dataclass of its own; None while it has not begun.
        privacy_spent: the ledger of all releases; None without a budget.
        stages: of the fit, with their seconds; none after loading.
        versions: of the software that wrote the file; None for a fit of this process.
        gaps: columns whose missing cells belong together (see `fitting/gaps.py`).
    """

    schema: TableSchema
    modelled_schema: TableSchema
    encoder: TableEncoder
    rules: ConstraintSet | None
    n_rows: int
    identifier_key: int
    learned: Any = None
    privacy_spent: PrivacySpent | None = None
    stages: tuple[Stage, ...] = ()
    versions: dict[str, str] | None = None
    gaps: Groups = ()

    def with_learned(self, learned: Any, encoder: TableEncoder | None = None) -> Fitted:
        """The same with what the method learned, and the encoder that it took in place of the given one."""
        return replace(self, learned=learned, encoder=self.encoder if encoder is None else encoder)

    def ended(self, stages: tuple[Stage, ...]) -> Fitted:
        """The same at the end of a fit; exact losses of a private one are labelled."""
        learned = self.learned
        if self.privacy_spent is not None and hasattr(learned, "history"):
            learned = replace(learned, history=PrivateHistory(learned.history))
        return replace(self, learned=learned, stages=stages)

    def attribute(self, name: str) -> Any:
        """The field of that name, its own or of what was learned; raises `AttributeError` where there is none."""
        for part in (self, self.learned):
            if part is not None and any(f.name == name for f in fields(part)):
                return getattr(part, name)
        raise AttributeError(name)

    def to_content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays of all that is not the method's own."""
        encoder, arrays = self.encoder.to_state()
        return {
            "schema": self.schema.to_dict(),
            "modelled_schema": self.modelled_schema.to_dict(),
            "encoder": encoder,
            "n_rows": self.n_rows,
            "identifier_key": self.identifier_key,
            "privacy": None if self.privacy_spent is None else self.privacy_spent.to_dict(),
            **({"gaps": [group.to_json() for group in self.gaps]} if self.gaps else {}),
            **({"thinning": self.rules.thinning.to_dict()} if self.rules and self.rules.thinning else {}),
        }, arrays

    @classmethod
    def from_content(cls, content: ModelContent) -> Fitted:
        """The inverse, without what the method learned; raises what damaged content raises."""
        meta, spent = content.meta, content.meta.get("privacy")
        schema, modelled = (TableSchema.from_dict(meta[name]) for name in ("schema", "modelled_schema"))
        return cls(
            schema=schema,
            modelled_schema=modelled,
            encoder=TableEncoder.from_state(modelled, meta["encoder"], content.arrays),
            rules=constraint_set(schema, meta.get("thinning")),
            n_rows=int(meta["n_rows"]),
            identifier_key=int(meta["identifier_key"]),
            privacy_spent=None if spent is None else PrivacySpent.from_dict(spent).check_claim(),
            versions=written_by(content),
            gaps=tuple(map(GapGroup.from_json, meta.get("gaps", []))),
        )


def written_by(content: ModelContent) -> dict[str, str]:
    """The versions of the software that wrote a file; none for a part of one."""
    return {str(k): str(v) for k, v in dict(content.meta.get("written_by", {})).items()}


class PrivateHistory(list[dict[str, float]]):
    """The losses of a fit under a budget: exact figures of the rows, for the data's holder in this process alone.

    They go into no model file (`releasable_history`), and a copy that is sent to another process is empty.
    """

    releasable = False

    def __repr__(self) -> str:
        return f"<private: exact losses of {len(self)} epochs, which no epsilon covers: {list(self)!r}>"

    def __reduce__(self) -> tuple[type[PrivateHistory], tuple[()]]:
        return PrivateHistory, ()
