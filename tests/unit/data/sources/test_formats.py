"""The table of formats: each reader is there, and first bytes and endings tell one format."""

from __future__ import annotations

from importlib import import_module
from itertools import combinations
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from raysynth.data.sources.formats import ENDINGS, FORMATS, format_by_name, format_of


def test_formats_are_told_apart() -> None:
    magics = [known.magic for known in FORMATS.values() if known.magic]
    assert not any(a.startswith(b) or b.startswith(a) for a, b in combinations(magics, 2))
    assert len(ENDINGS) == len(set(ENDINGS))
    for known in FORMATS.values():
        module, function = known.reader.split(":")
        assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("name", ["rows.csv", "rows"])
@pytest.mark.parametrize("content, told", [(b"PAR1....", "parquet"), (b"ARROW1..", "arrow"), (b"a,b\n1,2\n", "csv")])
def test_first_bytes_count_before_names(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    """By content, and under a budget, where no row is looked at: the same here."""
    (tmp_path / name).write_bytes(content)
    local, file = pafs.LocalFileSystem(), pafs.FileInfo(str(tmp_path / name))
    assert format_of(local, file) == format_by_name(local, file) == told
