"""Which methods exist: from a method's name to its class, loaded on first use; other packages add theirs.

A package that brings a method names it in its `pyproject.toml`:

    [project.entry-points."raysynth.methods"]
    mine = "my_package.mine:Mine"

That list is read only where somebody names a method that raysynth does not have, and nothing of it is imported but the
method that was named. A model file names its method, too, but it is data that anyone may have written: it has nothing
imported but what the user allows by name (`load_synthetic_model(..., allow_methods=[...])`).

method='auto' is chosen by what is declared alone. No row is read and nothing is fitted on trial, so the choice and what
it says are the same for every table, under a privacy budget too. The rule rests on `tests/benchmarks/bench_trees.py`,
`bench_sequences.py` and the README's table of methods.

`load_synthetic_model` goes from a model file back to a fitted synthesizer.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from raysynth.errors import InputError, ModelFileError, ParameterError
from raysynth.files.model_file import read_model
from raysynth.files.storage import Target

if TYPE_CHECKING:
    from raysynth.dp.accounting.privacy_spent import PrivacySpent
    from raysynth.files.model_file import ModelContent
    from raysynth.methods.base import Synthesizer


METHODS: dict[str, str] = {
    "copula": "raysynth.methods.copula.synthesizer:GaussianCopula",
    "gan": "raysynth.methods.gan.synthesizer:TabularGAN",
    "ctgan": "raysynth.methods.gan.synthesizer:CTGAN",
    "conditional_gan": "raysynth.methods.gan.conditional_gan:ConditionalTabularGAN",
    "tvae": "raysynth.methods.vae.synthesizer:TabularVAE",
    "dp_tvae": "raysynth.methods.vae.synthesizer:DPTabularVAE",
    "bayesian_network": "raysynth.methods.bayesian_network.synthesizer:BayesianNetworkSynthesizer",
    "trees": "raysynth.methods.trees.synthesizer:SequentialTrees",
    "tree_sequences": "raysynth.methods.tree_sequences.synthesizer:TreeSequences",
    "timegan": "raysynth.methods.timegan.synthesizer:TimeSeriesGAN",
    "autoregressive": "raysynth.methods.autoregressive.synthesizer:AutoregressiveSynthesizer",
    "autoregressive_sequences": "raysynth.methods.autoregressive_sequences.synthesizer:AutoregressiveSequences",
}

# What model files of several tables name; these are no methods of one table, and nothing else looks for them here.
DATABASES: dict[str, str] = {"relational": "raysynth.related.synthesizer:RelationalSynthesizer"}

AUTO = DEFAULT_METHOD = "auto"  # chosen by what is declared; see README, 'Choosing a method'
GROUP = "raysynth.methods"  # of entry points


def synthesizer_class(method: str) -> type[Synthesizer]:
    """The class of a method, raysynth's own or one that an installed package brings.

    Args:
        method: a key of `METHODS`, or the name of an entry point in the group `raysynth.methods`.

    Raises:
        ParameterError: an unknown method (the message lists those that exist), one that two packages bring, or an
            entry point that is no synthesizer.
    """
    if method in METHODS:
        module, _, name = METHODS[method].partition(":")
        found: type[Synthesizer] = getattr(importlib.import_module(module), name)
        return found
    return _installed(method)


def class_for_file(method: str, allow_methods: Sequence[str | type[Synthesizer]] = ()) -> type[Synthesizer]:
    """The class of the method that a model file names; nothing is imported that is not raysynth's own or allowed.

    Args:
        method: as the file has it.
        allow_methods: names of methods that installed packages bring, or classes.

    Raises:
        ModelFileError: the method is neither raysynth's own nor allowed. ParameterError: as `synthesizer_class`.
    """
    if method in METHODS:
        return synthesizer_class(method)
    for allowed in allow_methods:
        if not isinstance(allowed, str) and allowed.method == method:
            return allowed
    if isinstance(method, str) and method in allow_methods:
        return _installed(method)
    raise ModelFileError(
        f"its method {method!r} is none of raysynth's own; if you trust the package that brings it, load the file with "
        f"allow_methods=[{method!r}]"
    )


def _installed(method: str) -> type[Synthesizer]:
    from raysynth.methods.base import Synthesizer

    entries = importlib.metadata.entry_points(group=GROUP)
    named = {(e.value, e.dist.name if e.dist else ""): e for e in entries if e.name == method}
    if not named:
        others = sorted({e.name for e in entries} - set(METHODS))
        installed = f"; installed packages bring: {', '.join(others)}" if others else ""
        raise ParameterError(f"unknown method {method!r}; this version has: {', '.join((*METHODS, AUTO))}{installed}")
    if len(named) > 1:
        packages = ", ".join(sorted(package for _, package in named))
        raise ParameterError(f"method {method!r} is brought by several packages ({packages}); uninstall all but one")
    (entry,) = named.values()
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise ParameterError(f"method {method!r} ({entry.value}) cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Synthesizer) and found.method == method):
        raise ParameterError(f"method {method!r} ({entry.value}) is no Synthesizer whose `method` is {method!r}")
    return found


OF_SEQUENCES = ("sequence_key", "time_column", "sequence_length", "static_columns", "features", "window_step")
OF_TRAINING = ("scaling_config", "run_config", "keep_shards", "epochs", "batch_size", "learning_rate")


@dataclass(frozen=True)
class Choice:
    """A method and the reason for it, as one line for the user."""

    method: str
    reason: str

    def __str__(self) -> str:
        return f"method 'auto' takes '{self.method}': {self.reason}"


def choose(parameters: Mapping[str, Any]) -> Choice:
    """The method for a table, from the parameters that the user gave.

    Args:
        parameters: constructor arguments by name; None and False count as left out.
    """
    given = {name for name, value in parameters.items() if value is not None and value is not False}
    is_private = bool({"epsilon", "differential_privacy"} & given)
    of_training = [name for name in OF_TRAINING if name in given]
    if of_sequences := [name for name in OF_SEQUENCES if name in given]:
        if is_private:
            return Choice("timegan", "the method of sequences that keeps a privacy budget")
        speak = f"{', '.join(of_sequences)} speak of sequences"
        if of_training:
            return Choice("autoregressive_sequences", f"{speak}, {', '.join(of_training)} of a network")
        return Choice("tree_sequences", f"{speak}, which it is closest on")
    if of_training:
        return Choice("autoregressive", f"{', '.join(of_training)} belong to a network, and of these it is the closest")
    if is_private:
        return Choice("bayesian_network", "the closest to the real table within a privacy budget")
    return Choice("trees", "the closest to the real table on most tables, and learned in seconds")


M = TypeVar("M", bound="Synthesizer")
_WHAT_A_DAMAGED_FILE_RAISES = (
    *(KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, ArithmeticError, MemoryError),
    *(AssertionError, StopIteration),
)


def load_synthetic_model(path: Target, *, allow_methods: Sequence[str | type[Synthesizer]] = ()) -> Synthesizer:
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
        raise ModelFileError(f"model file '{path}' cannot be used: {error}") from error
    except _WHAT_A_DAMAGED_FILE_RAISES as error:
        raise ModelFileError(
            f"model file '{path}' is incomplete or inconsistent ({type(error).__name__}: {error}); "
            "use another copy or refit"
        ) from error


def model_from_content(content: ModelContent, allow_methods: Sequence[str | type[Synthesizer]] = ()) -> Synthesizer:
    """The fitted synthesizer of a model file's content, or of a part of it that is the content of one.

    Raises `ModelFileError` for an unknown method, else what damaged content raises.
    """

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
