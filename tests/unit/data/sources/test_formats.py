"""The table of formats: each reader is there, and first bytes and endings tell one format."""

from __future__ import annotations

from importlib import import_module
from itertools import combinations
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from raysynth.data.sources.formats import ENDINGS, FORMATS, format_by_name, format_of
from raysynth.data.table import as_table
from raysynth.errors import DataError


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


FRAME = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})
OF_PANDAS = {
    "p.dta": (lambda path: FRAME.to_stata(path, write_index=False), r"a Stata file.*read_stata\("),
    "p.html": (FRAME.to_html, r"a web page.*read_html\("),
    "p.pkl": (FRAME.to_pickle, r"a pickle.*where you trust it"),
    "p.pkl.gz": (FRAME.to_pickle, r"a pickle.*where you trust it"),
    "p.orc": (FRAME.to_orc, r"an ORC file.*read_orc\("),
}
FIRST_BYTES = [
    ("t.sav", b"$FL2@(#) SPSS DATA FILE\2\0\0\0", "an SPSS file.*read_spss"),
    ("t.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(90), "a workbook.*save the sheet as CSV"),
    ("t.xls", b"\n <HTML><body><table>", "a web page"),
    ("rows", b"SQLite format 3\0" + bytes(90), "a database file.*RelationalSynthesizer"),
    ("t.csv", b'<?xml version="1.0"?>\n<a/>', "an XML file"),
    ("t.sas7bdat", bytes(12) + b"\xc2\xea\x81\x60" + bytes(90), "a SAS file"),
    ("t.yml", b"- a: 1\n- a: 2\n", "YAML"),
]


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("name", OF_PANDAS)
def test_formats_of_others_are_refused_with_what_reads_them(name: str, private: bool, tmp_path: Path) -> None:
    write, words = OF_PANDAS[name]
    write(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}' is {words}"):
        as_table(tmp_path / name, private=private)


@pytest.mark.parametrize(("name", "content", "words"), FIRST_BYTES)
def test_formats_of_others_are_known_by_their_first_bytes(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        as_table(tmp_path / name)


def test_csv_named_like_a_workbook_is_read(tmp_path: Path) -> None:
    """As many programs export it."""
    (tmp_path / "t.xls").write_text("a\tb\n1\tx\n2\ty\n")
    assert as_table(tmp_path / "t.xls").to_arrow().to_pydict() == {"a": [1, 2], "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [([2**63, 2**64 - 1], pa.uint64()), ([-1, 10**25 + 7], pa.decimal128(38, 0)), ([1e300, 0.25], pa.float64())],
)
def test_whole_numbers_of_json_beyond_64_bits_keep_their_digits(
    numbers: list[float], kind: pa.DataType, tmp_path: Path
) -> None:
    (tmp_path / "t.jsonl").write_text("".join(f'{{"a": {n}}}\n' for n in numbers))
    read = as_table(tmp_path / "t.jsonl").to_arrow().column("a")
    assert (read.type, read.to_pylist()) == (kind, numbers)
