"""What a budget over several tables protects, as it is declared: the root, the caps, and what is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from raysynth.dp.accounting.budget import PrivacyBudget
from raysynth.dp.mechanisms.noise import NoiseSource
from raysynth.errors import ParameterError, SchemaError
from raysynth.related.plan import TablePlan, plan_of
from raysynth.schema.relations import DatabaseSchema

MOST_CAP = 64  # children of one parent that are counted


@dataclass(frozen=True)
class Unit:
    """What is protected, and by how much; all of it public.

    Args:
        root: the table whose rows are the units.
        caps: most children of one parent that count, by the child's name.
        budget: of all tables together.
        public_types: the types that Parquet and Arrow files store are public.
        noise: None: of the operating system.
    """

    root: str
    caps: Mapping[str, int]
    budget: PrivacyBudget
    public_types: bool = False
    noise: NoiseSource | None = None

    @property
    def words(self) -> str:
        """For the ledger."""
        return f"row of '{self.root}' with all that descends from it"


def unit_of(
    epsilon: float | None,
    delta: float | None,
    root: str | None,
    caps: Mapping[str, int] | None,
    public_types: bool,
    noise: NoiseSource | None,
) -> Unit | None:
    """What the parameters of a synthesizer protect; None without epsilon.

    Raises:
        ParameterError: the root is not named, a budget is out of range, or belongs to no epsilon.
    """
    if epsilon is None:
        given = {"delta": delta, "root": root, "caps": caps, "public_types": public_types or None}
        if name := next((n for n, value in given.items() if value is not None), None):
            raise ParameterError(f"{name} belongs to differential privacy: give epsilon, too")
        return None
    if root is None:
        raise ParameterError(
            "under a budget name the table whose rows are protected, each with all that descends from it: root=..."
        )
    return Unit(root, dict(caps or {}), PrivacyBudget.fixed(epsilon, delta), bool(public_types), noise)


def private_plans(schema: DatabaseSchema, types: Mapping[str, pa.Schema], unit: Unit) -> tuple[TablePlan, ...]:
    """The plan of each table, parents first, from what is declared alone.

    Raises:
        ParameterError: root or caps are missing or name what is not there.
        SchemaError: names the table or relation that no budget covers, and why.
    """
    _ = schema[unit.root]
    plans = plan_of(schema, types, dict.fromkeys(schema.names, 0))
    for plan in plans:
        if plan.primary is None and plan.name != unit.root:
            raise SchemaError(
                f"table '{plan.name}' does not descend from '{unit.root}', whose rows the budget protects; declare the "
                "key that leads there, declare the table a public reference table (TableKeys(reference=True)), or "
                "leave it out"
            )
        if plan.matched:
            raise SchemaError(
                f"relation {plan.matched[0]}: rows of '{plan.name}' hang from '{unit.root}' by another key, and along "
                "this one persons would know each other; a budget does not cover self-references, cycles and further "
                "parents: leave the relation out, or declare the parent a public reference table"
            )
        keys = {r.parent_key for r in plan.brings}
        if len(keys) > 1 or any(len(k) != 1 or k[0] not in plan.made for k in keys):
            raise SchemaError(
                f"table '{plan.name}': under a budget its children name it by one column of whole numbers or text; "
                f"found {', '.join(str(r) for r in plan.brings)}"
            )
        if plan.compared or schema[plan.name].order is not None:
            what = f"rule '{next(iter(plan.compared.values()))}'" if plan.compared else "its order"
            raise SchemaError(f"table '{plan.name}': {what} is learned from single rows, which a budget rules out")
    _check_caps(plans, unit)
    return plans


def _check_caps(plans: tuple[TablePlan, ...], unit: Unit) -> None:
    below = [p.name for p in plans if p.primary is not None]
    if missing := [n for n in below if n not in unit.caps]:
        raise ParameterError(
            f"caps says nothing of '{missing[0]}': under a budget declare how many of its rows of one parent count, "
            f"for example caps={{'{missing[0]}': 10}}"
        )
    if unknown := [n for n in unit.caps if n not in below]:
        raise ParameterError(f"caps names '{unknown[0]}', which has no parent; these have: {', '.join(below)}")
    for name, cap in unit.caps.items():
        if isinstance(cap, bool) or not isinstance(cap, int) or not 1 <= cap <= MOST_CAP:
            raise ParameterError(f"caps['{name}'] must be a whole number from 1 to {MOST_CAP}; found {cap!r}")
