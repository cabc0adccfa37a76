"""Constraints from JSON: the table from a constraint's kind to its class, which `constraints/` fills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from raysynth.errors import ConstraintError

KINDS: dict[str, type[Any]] = {}


def constraint_from_dict(content: Any) -> Any:
    """The constraint of `content`, as `Constraint.to_dict` writes it: {"kind": "inequality", "low": "a", "high": "b"}.

    Raises:
        ConstraintError: unknown kind or attribute, or one that is missing; names it and what is valid.
    """
    if not isinstance(content, Mapping) or content.get("kind") not in KINDS:
        raise ConstraintError(f"a constraint is an object with 'kind', one of {', '.join(KINDS)}; found {content!r}")
    kind = KINDS[content["kind"]]
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items() if k != "kind"}
    known = {f.name: f for f in fields(kind)}
    if unknown := set(values) - set(known):
        raise ConstraintError(
            f"constraint '{content['kind']}': unknown entries {sorted(unknown)}; valid: {list(known)}"
        )
    needed = {n for n, f in known.items() if f.default is MISSING}
    if absent := needed - set(values):
        raise ConstraintError(f"constraint '{content['kind']}': missing entries {sorted(absent)}")
    for name, value in values.items():
        _check_entry(content["kind"], name, str(known[name].type), value)
    return kind(**values)


def _check_entry(kind: str, name: str, type_: str, value: Any) -> None:
    valid = {
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
        "float": isinstance(value, (int, float)) and not isinstance(value, bool),
        "tuple[str, ...]": isinstance(value, tuple) and all(isinstance(v, str) for v in value),
        "tuple[tuple[Any, ...], ...] | None": value is None
        or (isinstance(value, tuple) and all(isinstance(v, (list, tuple)) for v in value)),
    }
    if not valid.get(type_, True):
        raise ConstraintError(f"constraint '{kind}': entry '{name}' must be {type_}; found {value!r}")
