"""Figures of one column or of one pair of columns, for a notebook or a file (`results.plot`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysynth.errors import ParameterError
from raysynth.evaluation.charts import HEIGHT, WIDTH, column_chart
from raysynth.evaluation.joint import Joint
from raysynth.evaluation.section import section_body
from raysynth.evaluation.similarity import ColumnSimilarity, Similarity
from raysynth.files.notebook import Drawing

if TYPE_CHECKING:
    from raysynth.evaluation.figures import EvaluationFigures


def draw(results: EvaluationFigures, *columns: str) -> Drawing:
    """One column's distribution, or the joint shares of two.

    Raises:
        ParameterError: similarity was not measured; no such column; not one or two columns; a pair that was not kept
            (only those that differ most are).
    """
    similarity = results.similarity
    if similarity is None:
        raise ParameterError("nothing to plot: evaluate with the metric 'statistical_similarity'")
    if len(columns) not in (1, 2):
        raise ParameterError(f"plot takes one column or two; found {len(columns)}")
    known = {c.name: c for c in similarity.columns}
    if unknown := [c for c in columns if c not in known]:
        raise ParameterError(f"no column '{unknown[0]}'; there are: {', '.join(known)}")
    return _column(known[columns[0]]) if len(columns) == 1 else _pair(_kept(similarity, columns[0], columns[1]))


def _kept(similarity: Similarity, first: str, second: str) -> Joint:
    for joint in similarity.joints:
        if {joint.first, joint.second} == {first, second}:
            return joint
    shown = ", ".join(f"'{j.first}' and '{j.second}'" for j in similarity.joints[:3])
    raise ParameterError(
        f"the joint shares of '{first}' and '{second}' were not kept, only those of the {len(similarity.joints)} pairs "
        f"that differ most, such as {shown or 'none'}"
    )


def _column(column: ColumnSimilarity) -> Drawing:
    chart = column_chart(column.kind, column.real, column.synthetic)
    return Drawing(
        section_body("raysynth.evaluation", "drawing_column.html.j2", c=column, chart=chart, size=(WIDTH, HEIGHT))
    )


def _pair(joint: Joint) -> Drawing:
    most = max(float(joint.real.max()), float(joint.synthetic.max()), 1e-9)
    sides = [("Real", "122,134,156", joint.real), ("Synthetic", "29,95,209", joint.synthetic)]
    return Drawing(section_body("raysynth.evaluation", "drawing_pair.html.j2", joint=joint, sides=sides, most=most))
