"""What an evaluation found: figures, a summary in words, JSON, and the report."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raysynth.evaluation.similarity import Similarity
from raysynth.schema import Kind


@dataclass(frozen=True)
class EvaluationResults:
    """Figures of one evaluation; a part that was not asked for is None or empty.

    Args:
        kinds: kind of each column.
        similarity: columns, pairs and triples.
        model_info: how the synthetic table was made, as given by the caller (method, parameters, seeds, versions,
            ledger); shown, never judged.
        notes: what the reader must know about how the figures were made.
    """

    kinds: dict[str, Kind]
    similarity: Similarity | None = None
    model_info: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    _shown: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def summary(self) -> str:
        """The deciding figures as text, one a line."""
        lines = ["Evaluation of the synthetic table"]
        if self.similarity is not None:
            s = self.similarity
            lines += [
                f"  Quality               {_text(s.quality)}",
                f"    Column shapes       {_text(s.column_shapes)}  (mean over {len(s.columns)} columns)",
                f"    Column pair trends  {_text(s.column_pair_trends)}",
            ]
        return "\n".join([*lines, *(f"  Note: {n}" for n in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain JSON values; undefined figures are None."""
        from raysynth.evaluation.plain import results_to_dict

        return results_to_dict(self)

    def to_json(self, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    def generate_report(self, path: str | os.PathLike[str], shareable: bool = False) -> None:
        """Write one self-contained HTML file, readable offline.

        Args:
            path: where to; the folder is made where it is missing.
            shareable: leave out every figure that was computed from real rows without noise.
        """
        from raysynth.evaluation.report import write_report

        write_report(self, path, shareable=shareable)

    def _repr_html_(self) -> str:
        from raysynth.evaluation.report import render_card

        return render_card(self)


def _text(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.4f}"
