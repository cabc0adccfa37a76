"""`import raysynth`: fast, light, and every public name is there with a docstring."""

from __future__ import annotations

import subprocess
import sys

import pytest

import raysynth

PROBE = """
import sys, time
begun = time.perf_counter()
import raysynth
seconds = time.perf_counter() - begun
heavy = sorted({"torch", "ray", "numba", "sklearn", "scipy", "pandas", "pyarrow", "statsmodels"} & set(sys.modules))
print(seconds, ",".join(heavy))
"""


def test_import_takes_under_a_second_and_brings_no_heavy_package() -> None:
    for tries_left in (2, 1, 0):  # other processes may have the machine: the best of three counts
        answer = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True
        ).stdout.split()
        assert answer[1:] == [], f"import raysynth also imported {answer[1:]}"
        if float(answer[0]) < 1.0:
            break
        assert tries_left, f"the best of three imports took {answer[0]} s"


def test_command_line_help_is_light_too() -> None:
    code = "import sys, raysynth.cli; print([m for m in ('torch', 'ray', 'sklearn', 'pandas') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == "[]"


@pytest.mark.parametrize("name", sorted(set(raysynth.__all__) - {"__version__"}))
def test_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(raysynth, name)
    assert (value.__doc__ or "").strip(), f"raysynth.{name} has no docstring"
    assert name in dir(raysynth)


def test_unknown_name_lists_those_that_exist() -> None:
    with pytest.raises(AttributeError, match="has no 'CTGen'.*CTGAN"):
        _ = raysynth.CTGen


def test_version_is_the_one_of_the_package() -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("raysynth")
    except PackageNotFoundError:
        pytest.skip("raysynth is not installed here, only on the path")
    assert raysynth.__version__ == installed
