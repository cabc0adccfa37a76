"""How long the parts of an evaluation are expected to take: what its progress says before it has seen any end.

Measured on one core on tables of 2,500 x 9 to 10,000 x 100 cells (`bench_keyboard.py`, `bench_wide.py`); what the first
parts take corrects the rest (`running/forecast.py`), so only their relation matters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from raysynth.attacks.run import Asked
from raysynth.comparison.pairing import Tables
from raysynth.evaluation.metrics.registry import metrics

_CELLS = 22_500.0  # rows x columns of the smallest table that was measured
_MEETINGS = 2_500.0 * _CELLS  # rows x rows x columns of it: distances
_PAIRS = 9 * _CELLS  # rows x columns x columns of it

# seconds there, and the power of the work that they grow with; by name of the step, an attack or a figure
_BY_PAIRS = {"similarity": (0.1, 0.57)}
_BY_CELLS = {
    "Models on real and synthetic rows": (1.9, 0.51),
    "attribute_model": (1.7, 0.46),
    "distance": (0.8, 0.24),
    "density_ratio": (0.16, 0.63),
    "attribute_nearest": (0.06, 0.63),
    "realism": (0.6, 0.49),
    "embedding": (0.05, 0.5),
    "inversion_table": (0.08, 0.83),
    "tracing": (0.02, 0.75),
}
_BY_MEETINGS = {"distances and disclosure": (0.25, 0.74), "manifold": (0.09, 0.7)}
_OTHER = (0.1, 0.75)  # of an attack that is not named: by cells


def expected_seconds(
    tables: Tables,
    most_rows: Mapping[str, int],
    wanted: Collection[str],
    targets: Sequence[str] | str | None,
    asked: Asked | None,
) -> dict[str, float]:
    """Seconds of each step, in order, by the label that its progress has.

    Args:
        tables: that are compared.
        most_rows: of each that are held in memory.
        wanted: what is asked for, as `evaluate_synthetic_data` names it.
        targets: columns that models predict; None: one is chosen.
        asked: attacks that will be run; None: none.
    """
    real = min(tables.real_statistics.n_rows, most_rows["real"])
    synthetic = min(tables.synthetic_statistics.n_rows, most_rows["synthetic"])
    n_columns = len(tables.compared)
    cells = (real + synthetic) / 2 * n_columns / _CELLS
    meetings, pairs = real * synthetic * n_columns / _MEETINGS, cells * n_columns / 9
    work = {name: (pairs, *law) for name, law in _BY_PAIRS.items()}
    work |= {name: (cells, *law) for name, law in _BY_CELLS.items()}
    work |= {name: (meetings, *law) for name, law in _BY_MEETINGS.items()}

    def seconds(name: str) -> float:
        amount, at_first, power = work.get(name, (cells, *_OTHER))
        return at_first * max(amount, 1e-3) ** power

    found = {"similarity": seconds("similarity")} if "statistical_similarity" in wanted else {}
    if "ml_efficacy" in wanted:
        models = "Models on real and synthetic rows"
        found[models] = seconds(models) * (len(targets) if isinstance(targets, list | tuple) else 1)
    attacks = [] if asked is None else [attack for kind in asked.wanted for attack in kind.attacks]
    found |= {attack.title: seconds(attack.name) for attack in attacks}
    if "privacy_metrics" in wanted:
        found["distances and disclosure"] = seconds("distances and disclosure")
    return found | {m.doing: seconds(name) for name, m in metrics().items() if m.asked_by in wanted}
