"""What every method shares: scikit-learn's conventions, seeds, failed fits, stages, what is printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.table_encoder import NumericForm
from raysynth.errors import NotFittedError, ParameterError, SchemaError, TrainingError
from raysynth.fitting.prepared import Prepared
from raysynth.methods.base import Synthesizer
from raysynth.methods.fitted import Fitted
from raysynth.methods.parameters import Parameter
from raysynth.methods.registry import load_synthetic_model
from raysynth.schema import Kind, TableSchema


@dataclass(frozen=True)
class Learned:
    """Each column's distribution, and what it came from."""

    shares: list[np.ndarray]
    prepared: Prepared | None = None


class Marginals(Synthesizer):
    """The smallest possible method: each column by itself."""

    method: ClassVar[str] = "marginals"
    numeric_encoding: ClassVar[NumericForm] = "bins"

    n_bins: Annotated[int, Parameter("bins of a number", at_least=2)] = 50
    fails: Annotated[bool, Parameter("whether a fit fails half-way")] = False

    def _encoder_options(self) -> dict[str, Any]:
        return {"n_bins": self.n_bins}

    shares_: list[np.ndarray] = field(init=False)
    prepared_: Prepared | None = field(init=False)

    def _fit_encoded(self, prepared: Prepared, begun: Fitted) -> Fitted:
        if self.fails:
            raise TrainingError("planted")
        return begun.with_learned(Learned(prepared.encoder.frequencies(), prepared))

    def _generator(self) -> Marginals:
        return self

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        codes = [rng.choice(len(s), n, p=s).astype(np.uint16) for s in self.shares_]
        return EncodedBlock(np.stack(codes, axis=1), np.empty((n, 0), np.float32))

    def _model_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {str(i): s for i, s in enumerate(self.shares_)}

    def _from_state(self, meta: dict[str, Any], arrays: dict[str, np.ndarray], begun: Fitted) -> Fitted:
        return begun.with_learned(Learned([arrays[str(i)] for i in range(len(arrays))]))


load_marginals = partial(load_synthetic_model, allow_methods=[Marginals])


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.choice(["x", "y"], 500), "n": rng.normal(size=500), "k": np.arange(500)})


def make(**parameters: Any) -> Marginals:
    return Marginals(**{"seed": 1, "verbose": False, **parameters})


def test_parameters_are_read_and_set_by_name() -> None:
    model = make(n_bins=20, categorical_columns=["a"])
    names = {"n_bins", "fails", "categorical_columns", "continuous_columns", "schema", "seed", "verbose"}
    assert names <= set(model.get_params())
    assert model.get_params()["n_bins"] == 20
    assert model.set_params(n_bins=30, seed=5) is model
    assert (model.n_bins, model.seed) == (30, 5)
    with pytest.raises(ParameterError, match="no parameter 'bins'; it has: .*n_bins"):
        model.set_params(bins=3)
    with pytest.raises(TypeError):
        Marginals(bins=3)
    assert "n_bins=30" in repr(model)


@pytest.mark.parametrize("how", ["own", "scikit-learn"])
def test_clone_is_unfitted_with_the_same_parameters(frame: pd.DataFrame, how: str) -> None:
    from sklearn.base import clone

    schema = make().fit(frame).schema_
    model = make(n_bins=20, schema=schema, categorical_columns=["a"]).fit(frame)
    copy = model.clone() if how == "own" else clone(model)
    assert copy is not model and type(copy) is Marginals
    assert copy.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        copy.sample(1)
    pd.testing.assert_frame_equal(copy.fit(frame).sample(50), model.sample(50))


def test_fit_returns_itself_and_says_what_it_did(frame: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    model = make(verbose=True)
    assert model.fit(frame) is model
    printed = capsys.readouterr().out
    assert "500 rows" in printed
    for name in ("a", "n", "k"):
        assert f"\n{name}  " in printed
    assert "identifier" in printed and "categorical" in printed
    assert [s.name for s in model.stages_] == ["statistics", "fit"]
    assert all(s.seconds >= 0 and s.rows == 500 for s in model.stages_)
    assert model.n_rows_ == 500
    make().fit(frame)
    assert capsys.readouterr().out == ""


def test_failed_fit_leaves_no_model_and_a_later_one_can_succeed(frame: pd.DataFrame) -> None:
    model = make().fit(frame)
    model.fails = True
    with pytest.raises(TrainingError, match="planted"):
        model.fit(frame)
    with pytest.raises(NotFittedError, match="call fit"):
        model.sample(1)
    model.fails = False
    assert len(model.fit(frame).sample(3)) == 3


def test_parameters_are_checked_before_the_data_are_read() -> None:
    with pytest.raises(ParameterError, match="n_bins"):
        make(n_bins=1).fit("no such file.csv")
    with pytest.raises(ParameterError, match="seed"):
        make(seed="tomorrow").fit("no such file.csv")


def test_seed_of_the_constructor_and_of_the_call(frame: pd.DataFrame) -> None:
    model = make(seed=3).fit(frame)
    pd.testing.assert_frame_equal(model.sample(50), model.sample(50, seed=3))
    assert not model.sample(50).equals(model.sample(50, seed=4))
    pd.testing.assert_frame_equal(model.sample(50, seed=np.int64(4)), model.sample(50, seed=4))
    free = make(seed=None).fit(frame)
    assert not free.sample(50).equals(free.sample(50))
    assert free.identifier_key_ != make(seed=None).fit(frame).identifier_key_


def test_kinds_given_by_name_and_by_schema(frame: pd.DataFrame, tmp_path: Any) -> None:
    numbers = pd.DataFrame({"c": np.arange(500) % 7, "n": np.random.default_rng(0).normal(size=500)})
    model = make(categorical_columns=["c"]).fit(numbers)
    assert model.schema_["c"].kind is Kind.CATEGORICAL and model.schema_["n"].kind is Kind.CONTINUOUS
    model.schema_.save(tmp_path / "schema.json")
    for schema in (tmp_path / "schema.json", str(tmp_path / "schema.json"), TableSchema.load(tmp_path / "schema.json")):
        assert make(schema=schema).fit(numbers).schema_["c"].kind is Kind.CATEGORICAL
    with pytest.raises(SchemaError, match="'z'"):
        make(continuous_columns=["z"]).fit(numbers)


@pytest.mark.parametrize("columns", [("a",), pd.Index(["a"]), np.array(["a"]), ["a"]], ids=lambda c: type(c).__name__)
def test_lists_of_columns_of_any_type_are_saved(frame: pd.DataFrame, tmp_path: Any, columns: Any) -> None:
    model = make(categorical_columns=columns).fit(frame)
    model.save(tmp_path / "m")
    assert load_marginals(tmp_path / "m").categorical_columns == ["a"]


def test_a_table_of_keys_alone_is_fitted(frame: pd.DataFrame) -> None:
    keys = make().fit(frame[["k"]]).sample(9, seed=0)["k"]
    assert len(keys) == 9 and keys.is_unique and keys.dtype == frame["k"].dtype


def test_prepared_gives_rows_and_counts(frame: pd.DataFrame) -> None:
    prepared = make().fit(frame).prepared_
    block = prepared.encoded()
    assert len(block) == prepared.n_rows == 500 and prepared.fits_in_memory
    table = prepared.count([(0, 1)])[0, 1]
    assert table.shape == prepared.encoder.cardinalities and table.sum() == 500
    expected = np.zeros(table.shape)
    np.add.at(expected, (block.codes_NC[:, 0], block.codes_NC[:, 1]), 1)
    np.testing.assert_array_equal(table, expected)
