"""raysynth: synthetic tables from private ones, on one laptop or on a Ray cluster.

Every public name is loaded on first use, so `import raysynth` takes milliseconds and brings neither torch, Ray nor
scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from raysynth.version import __version__ as __version__

if TYPE_CHECKING:
    from raysynth.api import generate_synthetic_data as generate_synthetic_data
    from raysynth.api import infer_schema as infer_schema
    from raysynth.data.database import split_database as split_database
    from raysynth.data.key_inference import infer_relations as infer_relations
    from raysynth.data.sources.csv_file import CsvFile as CsvFile
    from raysynth.data.sources.databases import open_database as open_database
    from raysynth.data.sources.databases import write_database as write_database
    from raysynth.data.sources.files import ParquetFiles as ParquetFiles
    from raysynth.dp.accounting.odometer import Odometer as Odometer
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
    from raysynth.fitting.released_intervals import released_intervals as released_intervals
    from raysynth.methods.autoregressive.synthesizer import AutoregressiveSynthesizer as AutoregressiveSynthesizer
    from raysynth.methods.autoregressive_sequences.synthesizer import AutoregressiveSequences as AutoregressiveSequences
    from raysynth.methods.bayesian_network.synthesizer import BayesianNetworkSynthesizer as BayesianNetworkSynthesizer
    from raysynth.methods.conformance import check_synthesizer as check_synthesizer
    from raysynth.methods.copula.synthesizer import GaussianCopula as GaussianCopula
    from raysynth.methods.gan.conditional_gan import ConditionalTabularGAN as ConditionalTabularGAN
    from raysynth.methods.gan.synthesizer import CTGAN as CTGAN
    from raysynth.methods.gan.synthesizer import TabularGAN as TabularGAN
    from raysynth.methods.registry import load_synthetic_model as load_synthetic_model
    from raysynth.methods.timegan.synthesizer import TimeSeriesGAN as TimeSeriesGAN
    from raysynth.methods.tree_sequences.synthesizer import TreeSequences as TreeSequences
    from raysynth.methods.trees.synthesizer import SequentialTrees as SequentialTrees
    from raysynth.methods.vae.synthesizer import DPTabularVAE as DPTabularVAE
    from raysynth.methods.vae.synthesizer import TabularVAE as TabularVAE
    from raysynth.related.synthesizer import RelationalSynthesizer as RelationalSynthesizer
    from raysynth.schema import ColumnSchema as ColumnSchema
    from raysynth.schema import Kind as Kind
    from raysynth.schema import TableSchema as TableSchema
    from raysynth.schema.relations import CrossTableRule as CrossTableRule
    from raysynth.schema.relations import DatabaseSchema as DatabaseSchema
    from raysynth.schema.relations import Relation as Relation
    from raysynth.schema.relations import TableKeys as TableKeys


_HOME = {
    "check_synthesizer": "raysynth.methods.conformance",
    "generate_synthetic_data": "raysynth.api",
    "infer_schema": "raysynth.api",
    "load_synthetic_model": "raysynth.methods.registry",
    "released_intervals": "raysynth.fitting.released_intervals",
    "AutoregressiveSequences": "raysynth.methods.autoregressive_sequences.synthesizer",
    "AutoregressiveSynthesizer": "raysynth.methods.autoregressive.synthesizer",
    "BayesianNetworkSynthesizer": "raysynth.methods.bayesian_network.synthesizer",
    "ConditionalTabularGAN": "raysynth.methods.gan.conditional_gan",
    "CTGAN": "raysynth.methods.gan.synthesizer",
    "DPTabularVAE": "raysynth.methods.vae.synthesizer",
    "GaussianCopula": "raysynth.methods.copula.synthesizer",
    "RelationalSynthesizer": "raysynth.related.synthesizer",
    "SequentialTrees": "raysynth.methods.trees.synthesizer",
    "TabularGAN": "raysynth.methods.gan.synthesizer",
    "TimeSeriesGAN": "raysynth.methods.timegan.synthesizer",
    "TabularVAE": "raysynth.methods.vae.synthesizer",
    "TreeSequences": "raysynth.methods.tree_sequences.synthesizer",
    "Odometer": "raysynth.dp.accounting.odometer",
    "ColumnSchema": "raysynth.schema",
    "Kind": "raysynth.schema",
    "TableSchema": "raysynth.schema",
    "CrossTableRule": "raysynth.schema.relations",
    "DatabaseSchema": "raysynth.schema.relations",
    "Relation": "raysynth.schema.relations",
    "TableKeys": "raysynth.schema.relations",
    "infer_relations": "raysynth.data.key_inference",
    "open_database": "raysynth.data.sources.databases",
    "split_database": "raysynth.data.database",
    "write_database": "raysynth.data.sources.databases",
    "CsvFile": "raysynth.data.sources.csv_file",
    "ParquetFiles": "raysynth.data.sources.files",
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
