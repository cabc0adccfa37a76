"""raysynth: synthetic tables from private ones, on one laptop or on a Ray cluster.

Every public name is loaded on first use, so `import raysynth` takes milliseconds and brings neither torch, Ray nor
scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysynth.api import generate_synthetic_data as generate_synthetic_data
    from raysynth.api import infer_schema as infer_schema
    from raysynth.errors import ClusterError as ClusterError
    from raysynth.errors import ConditionError as ConditionError
    from raysynth.errors import ConstraintError as ConstraintError
    from raysynth.errors import DataError as DataError
    from raysynth.errors import InputError as InputError
    from raysynth.errors import ModelFileError as ModelFileError
    from raysynth.errors import NotFittedError as NotFittedError
    from raysynth.errors import ParameterError as ParameterError
    from raysynth.errors import RaysynthError as RaysynthError
    from raysynth.errors import SchemaError as SchemaError
    from raysynth.errors import StorageError as StorageError
    from raysynth.errors import TrainingError as TrainingError
    from raysynth.schema import ColumnSchema as ColumnSchema
    from raysynth.schema import Kind as Kind
    from raysynth.schema import TableSchema as TableSchema
    from raysynth.synthesizers.autoregressive import AutoregressiveSynthesizer as AutoregressiveSynthesizer
    from raysynth.synthesizers.autoregressive_sequences import AutoregressiveSequences as AutoregressiveSequences
    from raysynth.synthesizers.bayesian_network import BayesianNetworkSynthesizer as BayesianNetworkSynthesizer
    from raysynth.synthesizers.conditional_gan import ConditionalTabularGAN as ConditionalTabularGAN
    from raysynth.synthesizers.conformance import check_synthesizer as check_synthesizer
    from raysynth.synthesizers.copula import GaussianCopula as GaussianCopula
    from raysynth.synthesizers.ctgan import CTGAN as CTGAN
    from raysynth.synthesizers.loading import load_synthetic_model as load_synthetic_model
    from raysynth.synthesizers.tabular_gan import TabularGAN as TabularGAN
    from raysynth.synthesizers.tabular_vae import DPTabularVAE as DPTabularVAE
    from raysynth.synthesizers.tabular_vae import TabularVAE as TabularVAE
    from raysynth.synthesizers.time_series_gan import TimeSeriesGAN as TimeSeriesGAN

__version__ = "0.1.0"

_HOME = {
    "check_synthesizer": "raysynth.synthesizers.conformance",
    "generate_synthetic_data": "raysynth.api",
    "infer_schema": "raysynth.api",
    "load_synthetic_model": "raysynth.synthesizers.loading",
    "AutoregressiveSequences": "raysynth.synthesizers.autoregressive_sequences",
    "AutoregressiveSynthesizer": "raysynth.synthesizers.autoregressive",
    "BayesianNetworkSynthesizer": "raysynth.synthesizers.bayesian_network",
    "ConditionalTabularGAN": "raysynth.synthesizers.conditional_gan",
    "CTGAN": "raysynth.synthesizers.ctgan",
    "DPTabularVAE": "raysynth.synthesizers.tabular_vae",
    "GaussianCopula": "raysynth.synthesizers.copula",
    "TabularGAN": "raysynth.synthesizers.tabular_gan",
    "TimeSeriesGAN": "raysynth.synthesizers.time_series_gan",
    "TabularVAE": "raysynth.synthesizers.tabular_vae",
    "ColumnSchema": "raysynth.schema",
    "Kind": "raysynth.schema",
    "TableSchema": "raysynth.schema",
    "ClusterError": "raysynth.errors",
    "ConditionError": "raysynth.errors",
    "ConstraintError": "raysynth.errors",
    "DataError": "raysynth.errors",
    "InputError": "raysynth.errors",
    "ModelFileError": "raysynth.errors",
    "NotFittedError": "raysynth.errors",
    "ParameterError": "raysynth.errors",
    "RaysynthError": "raysynth.errors",
    "SchemaError": "raysynth.errors",
    "StorageError": "raysynth.errors",
    "TrainingError": "raysynth.errors",
}
_SUBMODULES = ("campaigns", "constraints", "errors", "evaluation", "privacy", "schema")

__all__ = ["__version__", *_HOME, *_SUBMODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"raysynth.{name}")
    else:
        raise AttributeError(f"raysynth {__version__} has no '{name}'; it has: {', '.join(sorted(__all__))}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
