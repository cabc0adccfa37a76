"""Errors that a user can cause, each named for the user's problem; every message says what to do."""

from __future__ import annotations

from collections.abc import Iterable


class RaysynthError(Exception):
    """Base of every error that raysynth raises on purpose."""


class InputError(RaysynthError, ValueError):
    """Something that the user passed is at fault (the command line exits with 2)."""


class DataError(InputError):
    """The table itself cannot be used: names the column, what was found and the cure."""


class SchemaError(InputError):
    """The declared schema is invalid or does not fit the table; names the column."""


class ConstraintError(InputError):
    """A constraint is ill-formed, broken by the real table, or cannot be met by sampling."""


class ConditionError(InputError):
    """A sampling condition is outside the domain, or impossible under the model."""


class ParameterError(InputError):
    """A hyper-parameter or argument is outside its range; says which values are valid."""


class NotFittedError(InputError):
    """The synthesizer was asked for something that needs `fit` first."""


class ModelFileError(InputError):
    """A model file is missing, corrupt, hostile, or of an unknown format version."""


class StorageError(RaysynthError):
    """Writing or reading storage failed (disk full, no permission, unreachable URI)."""


class ClusterError(RaysynthError):
    """The Ray cluster is unreachable or lost more workers than the run allows."""


class TrainingError(RaysynthError):
    """Training could not go on, for example because the loss is no longer finite."""


def first_line(error: BaseException) -> str:
    """Of its message; the name of its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def listed(words: Iterable[str], most: int = 8) -> str:
    """Words with commas between them, up to `most`, and how many more there are."""
    known = list(words)
    return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")
