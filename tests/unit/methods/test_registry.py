"""Methods of other packages: found by name, imported when they are named, and by a model file only where allowed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from raysynth import load_synthetic_model
from raysynth.api import new_synthesizer
from raysynth.errors import ModelFileError, ParameterError
from raysynth.methods.registry import GROUP, METHODS, synthesizer_class

MODULE = '''
from typing import ClassVar
from raysynth.methods.copula.synthesizer import GaussianCopula
class Mine(GaussianCopula):
    """A method that a package brings."""
    method: ClassVar[str] = "mine_of_a_package"
'''


def install(folder: Path, package: str, entries: dict[str, str], text: str = MODULE) -> None:
    """A package as pip leaves it: a module and the metadata beside it."""
    (folder / f"{package}.py").write_text(text, encoding="utf-8")
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[raysynth.methods]", *lines, ""]), encoding="utf-8")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an installed package, whose module nobody has imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    install(tmp_path, "brings_a_method", {"mine_of_a_package": "brings_a_method:Mine"})
    yield "brings_a_method"
    sys.modules.pop("brings_a_method", None)


def test_raysynths_own_methods_look_at_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def entry_points(**wanted: str) -> tuple[()]:  # torch asks for a group of its own when it is imported
        asked.append(wanted["group"])
        return ()

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    for method in METHODS:
        assert synthesizer_class(method).method == method
    assert GROUP not in asked


def test_a_packages_method_is_imported_when_it_is_named(package: str) -> None:
    with pytest.raises(ParameterError, match="unknown method 'other'; .* installed packages bring: mine_of_a_package"):
        synthesizer_class("other")
    assert package not in sys.modules
    assert type(new_synthesizer("mine_of_a_package", n_bins=12)).__name__ == "Mine"


def test_a_model_file_imports_a_package_only_where_it_is_allowed(package: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": ["x", "y"] * 50, "b": range(100)})
    model = new_synthesizer("mine_of_a_package", seed=1, verbose=False).fit(frame)
    model.save(tmp_path / "m")
    cls = type(model)
    del sys.modules[package]
    for allowed in ([], ["another"]):
        with pytest.raises(ModelFileError, match=r"none of raysynth's own; .* allow_methods=\['mine_of_a_package'\]"):
            load_synthetic_model(tmp_path / "m", allow_methods=allowed)
    assert package not in sys.modules, "nothing was imported"
    assert type(load_synthetic_model(tmp_path / "m", allow_methods=[cls])) is cls
    assert package not in sys.modules, "a class is there already"
    loaded = load_synthetic_model(tmp_path / "m", allow_methods=["mine_of_a_package"])
    assert package in sys.modules
    pd.testing.assert_frame_equal(loaded.sample(9, seed=2), model.sample(9, seed=2))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module_here:Mine", "cannot be imported: No module named"),
        ("is_no_method:Missing", "cannot be imported"),
        ("is_no_method:NUMBER", "is no Synthesizer whose `method` is 'odd'"),
        ("is_no_method:Mine", "is no Synthesizer whose `method` is 'odd'"),
    ],
)
def test_what_is_no_method_is_told(value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    install(tmp_path, "is_no_method", {"odd": value}, MODULE + "NUMBER = 3\n")
    with pytest.raises(ParameterError, match=message):
        synthesizer_class("odd")
    sys.modules.pop("is_no_method", None)


def test_one_name_of_two_packages_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for package in ("one_package", "two_package"):
        install(tmp_path, package, {"both": f"{package}:Mine"})
    with pytest.raises(ParameterError, match=r"brought by several packages \(one_package, two_package\)"):
        synthesizer_class("both")
