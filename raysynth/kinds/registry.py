"""Which kinds of column exist: the one table, and who recognises what."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from importlib import import_module
from typing import cast

from raysynth.errors import SchemaError
from raysynth.kinds.description import Description, Family
from raysynth.kinds.evidence import Clue, Evidence, Found, PublicField, Shown


class Kind(StrEnum):
    """What a column holds, which decides how it is modelled and how it is regenerated: `kinds/NAME` describes it."""

    CATEGORICAL = "categorical"
    BOOLEAN = "boolean"
    CONTINUOUS = "continuous"
    DATETIME = "datetime"
    TIMEDELTA = "timedelta"
    IDENTIFIER = "identifier"  # unique key: regenerated in its pattern, never copied
    PERSONAL = "personal"  # name, e-mail, telephone ...: regenerated with Faker, never copied
    CONSTANT = "constant"

    @property
    def about(self) -> Description:
        """What the kind says of itself."""
        return _description(self.value)

    @property
    def is_numeric(self) -> bool:
        """True for kinds that are modelled as numbers (datetimes as integers of their unit)."""
        return self.about.family in (Family.NUMBER, Family.TIME)

    @property
    def is_number(self) -> bool:
        """True for numbers that are no times."""
        return self.about.family is Family.NUMBER

    @property
    def is_discrete(self) -> bool:
        """True for kinds that are modelled as categories."""
        return self.about.family is Family.CLASS

    @property
    def is_listed(self) -> bool:
        """True for categories whose values are a list of their own, and not given by their type."""
        return self.is_discrete and self.about.held is None

    @property
    def is_modelled(self) -> bool:
        """False for kinds that are regenerated without a model of their values."""
        return self.is_numeric or self.is_discrete

    @property
    def is_made(self) -> bool:
        """True for kinds whose values are made anew."""
        return self.about.family is Family.MADE

    @property
    def is_key(self) -> bool:
        """True for made values in a pattern; under a privacy budget no row lacks one."""
        return "pattern" in self.about.takes

    @property
    def is_dated(self) -> bool:
        """True for times that text may hold, by a `date_format`."""
        return "date_format" in self.about.takes

    @property
    def is_constant(self) -> bool:
        """True where there is one value."""
        return self.about.family is Family.CONSTANT


@cache
def _description(name: str) -> Description:
    return cast(Description, import_module(f"raysynth.kinds.{name}").KIND)


def kind_held(held: str) -> Kind | None:
    """The kind of everything that holds such values (`arrow_text.held`); None where that does not say it."""
    return next((kind for kind in Kind if kind.about.held == held), None)


def told(evidence: Evidence) -> tuple[Kind, Found]:
    """The kind of a column by its statistics: the first by rank that recognises it.

    Raises:
        SchemaError: none does.
    """
    if (found := _first([(k, clue) for k in Kind for clue in k.about.clues], evidence)) is not None:
        return found
    raise SchemaError(f"column '{evidence.seen.name}' ({evidence.seen.type}) is of no known kind; declare its kind")


def told_publicly(field: PublicField) -> tuple[Kind, Found]:
    """The kind of an undeclared column under a privacy budget, from what is public of it; 'dtype' is among its fields.

    Raises:
        SchemaError: it has no type.
    """
    if (found := _first([(k, clue) for k in Kind for clue in k.about.public_clues], field)) is not None:
        return found
    raise SchemaError(f"column '{field.name}' has no type; declare it in the schema, or drop it")


def _first(clues: list[tuple[Kind, Clue[Shown]]], shown: Shown) -> tuple[Kind, Found] | None:
    for kind, clue in sorted(clues, key=lambda entry: entry[1].rank):
        if (found := clue.test(shown)) is not None:
            return kind, found
    return None
