"""The accountant of the tests, for whoever recomputes what a model says that it has spent."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def accountant() -> ModuleType:
    path = Path(__file__).parent / "dp" / "independent_accountant.py"
    spec = importlib.util.spec_from_file_location("independent_accountant", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def recomputed(accountant: ModuleType) -> Callable[[Any], tuple[float, float]]:
    """Epsilon of a fitted model from its ledger as JSON, and the accountant's error."""

    def of(model: Any) -> tuple[float, float]:
        assert model.privacy_spent_ is not None
        found: tuple[float, float] = accountant.recomputed_epsilon(
            json.loads(json.dumps(model.privacy_spent_.to_dict()))
        )
        return found

    return of
