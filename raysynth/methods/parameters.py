"""A method's parameters, each declared once: an annotated attribute of its class is an argument of its constructor.

    class Mine(Synthesizer):
        '''What it learns.'''

        epochs: Annotated[int, Parameter("passes over the table", at_least=1)] = 300

From this one line follow the constructor (the standard library's dataclass makes it, keyword by keyword, so that
`inspect.signature` and `help` show every argument), the check of its value and the words of the error, the text of the
command line, what `settled` takes where the user left it open, and the values that a search tries.

Parameters that several methods share, neural ones among them, are declared below. What a fit learns is no parameter:
such attributes are set in methods, or declared with `field(init=False)`.
"""

from __future__ import annotations

import inspect
import math
import os
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from textwrap import fill
from typing import Annotated, Any, ClassVar, Self, dataclass_transform

import numpy as np

from raysynth.arguments import is_number, is_whole
from raysynth.errors import ParameterError


class Computed(str):
    """Words for a default that the fit computes, from the number of rows for example."""


@dataclass(frozen=True)
class Parameter:
    """What an argument means, and which values it may have.

    Args:
        meaning: with units, in a line or two.
        at_least, above, at_most, below: bounds of a number, or of each of several.
        one_of: the texts that may be given.
        otherwise: what holds where None is given: a value, or `Computed`.
        under_budget: the same under a privacy budget; None: no other.
        tried: values that a search over this parameter tries where the user names none, the default left out or not.
    """

    meaning: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    one_of: tuple[str, ...] = ()
    otherwise: Any = None
    under_budget: Any = None
    tried: tuple[Any, ...] = ()

    def holds(self, number: float) -> bool:
        """Whether a number is finite and within the bounds."""
        return (
            (isinstance(number, (int, np.integer)) or math.isfinite(number))
            and (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    @property
    def range_in_words(self) -> str:
        """For example ' of at least 1', ' from 0 to 0.5' or ' > 0'; empty without bounds."""
        low, high = (
            self.at_least if self.above is None else self.above,
            self.at_most if self.below is None else self.below,
        )
        if low is None or high is None:
            if low is None:
                return "" if high is None else f" {'<=' if self.below is None else '<'} {_shown(high)}"
            return f" > {_shown(low)}" if self.at_least is None else f" of at least {_shown(low)}"
        if self.above is not None and self.below is not None:
            return f" between {_shown(low)} and {_shown(high)}"
        if self.above is not None:
            return f" above {_shown(low)} and at most {_shown(high)}"
        return f" from {_shown(low)} to {'' if self.below is None else 'below '}{_shown(high)}"


KeptRules = Annotated[
    str | None,
    Parameter(
        "'auto': keep sums, orderings, dependencies that all rows keep; None: print them, and keep what follows from a "
        "column of many values; 'none': keep none",
        one_of=("auto", "none"),
    ),
]
OdometerFolder = Annotated[
    str | os.PathLike[str] | None,
    Parameter(
        "private folder in which all that is released of one table is counted (`raysynth ledger FOLDER`): the fit "
        "reserves its epsilon and delta there before it draws, and fails where the folder's limit is reached"
    ),
]


@dataclass(frozen=True)
class Declared:
    """An argument of a constructor.

    Args:
        name: of the argument, and of the attribute that keeps it.
        type: its annotation, without the `Parameter`.
        default: where it is left out.
        parameter: its meaning and range.
    """

    name: str
    type: Any
    default: Any
    parameter: Parameter

    @property
    def kind(self) -> Any:
        """bool, int, float, str, tuple (of whole numbers) or Sequence; None: of several kinds, and not checked here."""
        kinds = [t for t in self._alternatives if t is not type(None)]
        return (typing.get_origin(kinds[0]) or kinds[0]) if len(kinds) == 1 else None

    @property
    def may_be_none(self) -> bool:
        """Whether None may be given."""
        return type(None) in self._alternatives

    @property
    def wanted(self) -> str:
        """Which values may be given beside None, in words."""
        if self.parameter.one_of:
            *others, last = map(repr, self.parameter.one_of)
            return f"{', '.join(others)} or {last}" if others else last
        within = self.parameter.range_in_words
        names = {bool: "True or False", int: f"a whole number{within}", float: f"a number{within}", str: "a text"}
        names |= {tuple: f"whole numbers{within}, one for each hidden layer", Sequence: "a list"}
        return names.get(self.kind, "")

    def check(self, value: Any) -> None:
        """Raise `ParameterError` for a value of another kind, or out of range; it names the parameter."""
        if (value is None and self.may_be_none) or self.kind is None or self._is_valid(value):
            return
        if isinstance(value, str) and self.kind is Sequence:
            raise ParameterError(f"{self.name} must be a list of names; found the text '{value}'")
        if self.kind is tuple and isinstance(value, Sequence) and not len(value):
            raise ParameterError(f"{self.name} must name at least one hidden layer, for example (256, 256)")
        raise ParameterError(f"{self.name} must be {self.wanted}; found {value!r}")

    def settled(self, value: Any, *, under_budget: bool) -> Any:
        """The value that a fit takes: as given, or what holds where it was left open; None: the fit computes it."""
        if value is None:
            given = self.parameter.under_budget if under_budget else None
            value = self.parameter.otherwise if given is None else given
        if isinstance(value, Computed):
            return None
        return tuple(value) if self.kind is tuple and value is not None else value

    def describe(self) -> str:
        """Meaning, values and default, for people."""
        default = f"default {self.default!r}"
        if self.default is None and self.parameter.otherwise is not None:
            default = f"default: {self.parameter.otherwise}"
        if self.parameter.under_budget is not None:
            default += f", under a privacy budget {self.parameter.under_budget}"
        values = f"{self.wanted[0].upper()}{self.wanted[1:]}; " if self.wanted else ""
        return f"{self.parameter.meaning}. {values}{default}." if values else f"{self.parameter.meaning} ({default})."

    @property
    def _alternatives(self) -> tuple[Any, ...]:
        is_union = typing.get_origin(self.type) in (typing.Union, types.UnionType)
        return typing.get_args(self.type) if is_union else (self.type,)

    def _is_valid(self, value: Any) -> bool:
        if self.kind is bool:
            return isinstance(value, (bool, np.bool_))
        if self.kind is int:
            return is_whole(value) and self.parameter.holds(value)
        if self.kind is float:
            return is_number(value) and self.parameter.holds(value)
        if self.kind is str:
            return value in self.parameter.one_of if self.parameter.one_of else isinstance(value, str)
        is_several = isinstance(value, Iterable) and not isinstance(value, (str, Mapping))
        if self.kind is tuple:
            units = list(value) if is_several else []
            return bool(units) and all(is_whole(unit) and self.parameter.holds(unit) for unit in units)
        return is_several or self.kind is not Sequence


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
class Parameterised:
    """Base of what has declared parameters, with scikit-learn's conventions for them."""

    _declared: ClassVar[Mapping[str, Declared]] = types.MappingProxyType({})

    def __init_subclass__(cls, **options: Any) -> None:
        """Make the constructor from the annotated attributes, and tell of them in the docstring.

        Raises:
            TypeError: an attribute is annotated with a type but no `Parameter`, or the class has its own `__init__`.
        """
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            raise TypeError(f"{cls.__name__}: declare each argument as an annotated attribute, and leave out __init__")
        inherited = cls._declared
        dataclass(kw_only=True, eq=False, repr=False)(cls)
        own = _own_parameters(cls)
        cls._declared = types.MappingProxyType({**own, **{n: p for n, p in inherited.items() if n not in own}})
        shown = cls.__init__.__annotations__
        shown.update({name: one.type for name, one in cls._declared.items()})
        cls.__init__.__doc__ = f"The arguments are described in the docstring of `{cls.__name__}`."
        if (text := vars(cls).get("__doc__")) is not None:
            cls.__doc__ = f"{inspect.cleandoc(text)}\n\nArgs:\n{described(cls)}"

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return list(declared(cls))

    def _saved_parameters(self) -> dict[str, Any]:
        """Hyper-parameters that a file can hold; how the fit was spread and its schema object stay behind."""
        left_out = {"scaling_config", "run_config", "keep_shards", "schema", "odometer"}
        return {
            k: list(v) if isinstance(v, tuple) or (k.endswith("_columns") and v is not None) else v
            for k, v in self.get_params().items()
            if k not in left_out
        }

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor arguments by name; `deep` changes nothing, since none is an estimator (scikit-learn's call)."""
        return {name: getattr(self, name) for name in declared(type(self))}

    def set_params(self, **params: Any) -> Self:
        """Set constructor arguments, `params` by name; raises `ParameterError` for an unknown one."""
        known = declared(type(self))
        for name, value in params.items():
            if name not in known:
                raise ParameterError(f"{type(self).__name__} has no parameter '{name}'; it has: {', '.join(known)}")
            setattr(self, name, value)
        return self

    def clone(self) -> Self:
        """An unfitted one with the same parameters."""
        return type(self)(**self.get_params())

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in self.get_params().items() if v is not None)
        return f"{type(self).__name__}({shown})"

    def _check_parameters(self) -> None:
        """Raise `ParameterError` for a parameter out of its range, or for parameters that do not go together."""
        for name, one in declared(type(self)).items():
            one.check(getattr(self, name))
        self._check_together()

    def _check_together(self) -> None:
        """Raise `ParameterError` for parameters that do not go together; it names them. Each is in its range."""

    def _settled(self, *, under_budget: bool) -> types.SimpleNamespace:
        """All parameters by name, with those that were left open settled; None: the fit computes it from the table."""
        known = declared(type(self)).values()
        return types.SimpleNamespace(
            **{p.name: p.settled(getattr(self, p.name), under_budget=under_budget) for p in known}
        )


def declared(cls: type[Parameterised]) -> Mapping[str, Declared]:
    """The parameters of a class by name, its own before those of its bases."""
    return cls._declared


def described(cls: type[Parameterised]) -> str:
    """All parameters with their meanings, values and defaults, as an indented list."""
    lines = [f"{name}: {one.describe()}" for name, one in declared(cls).items()]
    return "\n".join(fill(line, 112, initial_indent=" " * 4, subsequent_indent=" " * 8) for line in lines)


def search_space(cls: type[Parameterised]) -> dict[str, list[Any]]:
    """The values that a search over a method tries by itself: those of its parameters that say so."""
    return {name: list(p.parameter.tried) for name, p in declared(cls).items() if p.parameter.tried}


def _own_parameters(cls: type[Any]) -> dict[str, Declared]:
    """What a class declares itself; raises `TypeError` for an annotated attribute that is neither."""
    own: dict[str, Declared] = {}
    known = {f.name: f for f in fields(cls) if f.init}  # not what is annotated as a ClassVar
    for name in (n for n in inspect.get_annotations(cls) if n in known):
        texts = types.SimpleNamespace(__annotations__={name: known[name].type})
        found = typing.get_type_hints(texts, vars(sys.modules[cls.__module__]), include_extras=True)[name]
        if not (typing.get_origin(found) is typing.Annotated and isinstance(found.__metadata__[0], Parameter)):
            raise TypeError(
                f"{cls.__name__}.{name} is annotated without a Parameter: write Annotated[..., Parameter(...)] for an "
                "argument, and field(init=False) for what a fit learns"
            )
        own[name] = Declared(name, typing.get_args(found)[0], known[name].default, found.__metadata__[0])
    return own


def _shown(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


FEWEST_EPOCHS = 3


def shown_by_default(n_rows: int, rows_to_see: int) -> tuple[int, int | None]:
    """Epochs of a table that three passes show more than `rows_to_see` rows of, and the rows that each shows at most.

    The rows seen grow with the root of the table's from there on, in epochs of a third of `rows_to_see`: 10^7 rows are
    not seen three times, but as many as a larger table can teach the same network; and what watches epochs (scores of
    rows held back, patience) comes as often as in a small table. (epochs, None) where the table is smaller: whole ones.
    """
    most = rows_to_see // FEWEST_EPOCHS
    if n_rows <= most:
        return -(-rows_to_see // max(n_rows, 1)), None
    return math.ceil(FEWEST_EPOCHS * math.sqrt(n_rows / most)), most


CheckpointEvery = Annotated[
    int,
    Parameter("epochs between checkpoints, where `run_config.storage_path` says where to put them", at_least=1),
]
Schedule = Annotated[str, Parameter("of the learning rates", one_of=("constant", "cosine"))]
ClipNorm = Annotated[
    float,
    Parameter(
        "with differential privacy: largest L2 norm of the gradient of one row (one sequence)", above=0, at_most=1e6
    ),
]
CompileStep = Annotated[
    bool,
    Parameter(
        "take a step's arithmetic through `torch.compile`, on a GPU as CUDA graphs: the same model up to rounding "
        "(`training/compiled.py`; measured by `bench_training.py step`: compiling takes a minute, which a fit on a CPU "
        "does not win back). Not under a budget"
    ),
]
Accumulation = Annotated[
    int,
    Parameter(
        "parts in which a batch goes through the networks before one update: the same batch in less memory; under a "
        "budget DP-SGD divides its batches itself",
        at_least=1,
    ),
]
CalibrateMarginals = Annotated[
    bool,
    Parameter(
        "after training, correct every column's own distribution by the released one (see "
        "`methods/shared/neural.py`); rows are not looked at again"
    ),
]
ValidationShare = Annotated[
    float,
    Parameter(
        "share of the rows (sequences) held back to choose the best weights; 0: none, and the last weights are kept, "
        "as always under a budget",
        at_least=0,
        at_most=0.5,
    ),
]
Patience = Annotated[
    int,
    Parameter(
        "epochs without a better score on what is held back after which training ends; 0, or nothing held back: never",
        at_least=0,
    ),
]
WeightDecay = Annotated[float, Parameter("of AdamW", at_least=0, at_most=10)]
Temperature = Annotated[
    float,
    Parameter(
        "of sampling: below 1 rows are more typical, above 1 more diverse; may be changed after the fit",
        above=0,
        at_most=100,
    ),
]
Width = Annotated[int, Parameter("numbers of a context", at_least=1, tried=(32, 64, 128))]
Hidden = Annotated[int, Parameter("units of a residual layer", at_least=1, tried=(16, 32, 64))]
Layers = Annotated[int, Parameter("residual layers of each column", at_least=1)]
Dropout = Annotated[
    float, Parameter("share of units dropped in training", at_least=0, at_most=0.95, tried=(0.1, 0.2, 0.35))
]
