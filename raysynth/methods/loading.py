"""From a model file back to a fitted synthesizer."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from raysynth.errors import InputError, ModelFileError
from raysynth.files.model_file import read_model

if TYPE_CHECKING:
    from raysynth.dp.accounting.privacy_spent import PrivacySpent
    from raysynth.files.model_file import ModelContent
    from raysynth.methods.base import Synthesizer

M = TypeVar("M", bound="Synthesizer")
_WHAT_A_DAMAGED_FILE_RAISES = (
    *(KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, ArithmeticError, MemoryError),
    *(AssertionError, StopIteration),
)


def load_synthetic_model(
    path: str | os.PathLike[str], *, allow_methods: Sequence[str | type[Synthesizer]] = ()
) -> Synthesizer:
    """Load the fitted synthesizer that `save` wrote (for several tables a `RelationalSynthesizer`).

    Args:
        path: of the file, whatever its ending.
        allow_methods: methods of other packages, by name or class, that the file may use; without this, loading a file
            imports nothing but raysynth's own methods.

    Raises:
        ModelFileError: the file is missing, damaged, hostile, of another format version or of an unknown method.
    """
    content = read_model(path)
    try:
        return model_from_content(content, allow_methods)
    except InputError as error:
        raise ModelFileError(f"model file '{os.fspath(path)}' cannot be used: {error}") from error
    except _WHAT_A_DAMAGED_FILE_RAISES as error:
        raise ModelFileError(
            f"model file '{os.fspath(path)}' is incomplete or inconsistent ({type(error).__name__}: {error}); "
            "use another copy or refit"
        ) from error


def model_from_content(content: ModelContent, allow_methods: Sequence[str | type[Synthesizer]] = ()) -> Synthesizer:
    """The fitted synthesizer of a model file's content, or of a part of it that is the content of one.

    Raises `ModelFileError` for an unknown method, else what damaged content raises.
    """
    from raysynth.methods.registry import DATABASES, class_for_file

    method = content.meta["method"]
    if method in DATABASES:
        module, _, name = DATABASES[method].partition(":")
        of_tables: Any = getattr(importlib.import_module(module), name)
        model: Synthesizer = of_tables._from_content(content)
        return model
    return class_for_file(method, allow_methods)._from_content(content)


def with_ledger(model: M, spent: PrivacySpent | None) -> M:
    """A fitted model whose ledger is that of a whole which its fit is a part of; the model itself is changed."""
    model._state = replace(model._require_fitted(), privacy_spent=spent)
    return model
