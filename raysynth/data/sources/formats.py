"""Formats of files: the one table of them, and which one a file has, by its content first and its name second."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import cast

import pyarrow as pa
import pyarrow.fs as pafs

from raysynth.data.fragments import Table
from raysynth.data.sources.csv_file import CsvFile
from raysynth.data.sources.streams import compression_of, open_plain
from raysynth.errors import DataError

_PACKED = ("", ".gz", ".bz2", ".zst", ".xz", ".zip")
_PACKED_NAME = re.compile(r"\.(?:gz|bz2|zst|xz|zip)$")
SUPPORTED = "supported are Parquet, CSV, JSON and Arrow files, and folders of them"


@dataclass(frozen=True)
class Found:
    """Files of one format, and how they are to be read.

    Args:
        filesystem: where all of them are.
        files: in order.
        folders: for each the columns and values that folders COLUMN=VALUE above it give.
        source: for messages.
        csv: what the user says of the form of CSV files.
        may_lack: a column that some files lack is missing in their rows.
        declared: types of columns by a schema, for formats that have none themselves.
        private: under a privacy budget: no row decides how a file is read, and none raises.
    """

    filesystem: pafs.FileSystem
    files: tuple[pafs.FileInfo, ...]
    folders: tuple[tuple[tuple[str, str | None], ...], ...]
    source: str = ""
    csv: CsvFile | None = None
    may_lack: bool = False
    declared: Mapping[str, pa.DataType] | None = None
    private: bool = False

    @property
    def paths(self) -> list[str]:
        """Of the files in their file system."""
        return [f.path for f in self.files]


@dataclass(frozen=True)
class Format:
    """One format.

    Args:
        reader: 'module:function' that gives the `Table` of `Found` files.
        endings: of file names, in lower case.
        magic: the first bytes of every such file; none: it is text.
        in_folders: whether values of folders COLUMN=VALUE are read.
    """

    reader: str
    endings: tuple[str, ...]
    magic: bytes = b""
    in_folders: bool = False

    def read(self, found: Found) -> Table:
        """The files as a table; raises `DataError` and `StorageError`."""
        module, function = self.reader.split(":")
        return cast(Callable[[Found], Table], getattr(import_module(module), function))(found)


def _packed(*names: str) -> tuple[str, ...]:
    return tuple(f".{name}{packed}" for name in names for packed in _PACKED)


@dataclass(frozen=True)
class Foreign:
    """A format that is not read: refused by name, with what reads it.

    Args:
        what: its name in a sentence.
        begins: the first bytes of such files, as a regular expression.
        endings: of their names in lower case.
        cure: how a table in it is brought into one that is read.
        or_text: whether such endings are given to plain CSV, too.
    """

    what: str
    begins: bytes
    endings: tuple[str, ...]
    cure: str
    or_text: bool = False


def _by_pandas(call: str) -> str:
    return f"save the table as CSV or Parquet, for example by `pd.{call}.to_parquet('table.parquet')`"


_UNPACK = "unpack it and give the table in it"
FOREIGN = (
    Foreign("a web page (HTML)", rb"(?i)\s*<(?:!doctype html|html|head|table)\b", (".html", ".htm"),
            _by_pandas("read_html({0!r})[0]")),
    Foreign("an XML file", rb"\s*<\?xml\s", (".xml",), _by_pandas("read_xml({0!r})")),
    Foreign("a workbook (Excel or alike)", rb"\xd0\xcf\x11\xe0", (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods"),
            "save the sheet as CSV, or give `pd.read_excel({0!r}, sheet_name=...)`", or_text=True),
    Foreign("a Stata file", rb"<stata_dta>|[\x69-\x73][\x01\x02]\x01\0", (".dta",), _by_pandas("read_stata({0!r})")),
    Foreign("an SPSS file", rb"\$FL[23]@", (".sav", ".zsav", ".por"), _by_pandas("read_spss({0!r})")),
    Foreign("a SAS file", rb"\0{12}\xc2\xea\x81\x60|HEADER RECORD\*{7}", (".sas7bdat", ".xpt"),
            _by_pandas("read_sas({0!r})")),
    Foreign("an R file", rb"RD[AX][23]\n|X\n\0\0\0[\x02\x03]", (".rds", ".rdata", ".rda"),
            "write the table in R by `write.csv(table, 'table.csv', row.names = FALSE)`"),
    Foreign("a pickle, which can run code,", rb"\x80[\x02-\x05]", (".pkl", ".pickle", ".joblib"),
            "where you trust it, " + _by_pandas("read_pickle({0!r})")),
    Foreign("a NumPy file", rb"\x93NUMPY", (".npy", ".npz"), "give `pd.DataFrame(np.load({0!r}))`"),
    Foreign("an HDF5 file", rb"\x89HDF", (".h5", ".hdf5", ".hdf", ".mat"), _by_pandas("read_hdf({0!r})")),
    Foreign("an ORC file", rb"ORC[\0-\x1f\x80-\xff]", (".orc",), _by_pandas("read_orc({0!r})")),
    Foreign("an Avro file", rb"Obj\x01", (".avro",), "save the table as CSV or Parquet"),
    Foreign("a database file", rb"(?s)SQLite format 3\0|.{8}DUCK", (".db", ".sqlite", ".sqlite3", ".duckdb", ".mdb"),
            "for all its tables take `RelationalSynthesizer` (`raysynth fit` does), for one `pd.read_sql`"),
    Foreign("a PDF", rb"%PDF-", (".pdf",), "save the table as CSV"),
    Foreign("an archive", rb"7z\xbc\xaf|Rar!", (".tar", ".tgz", ".7z", ".rar"), _UNPACK),
    Foreign("SQL", rb"(?!)", (".sql",), "load it into a database, and give that or a CSV file of the table"),
    Foreign("YAML", rb"(?!)", (".yaml", ".yml"), "save the table as CSV or JSON lines"),
    Foreign("an ARFF file", rb"(?i)@relation\s", (".arff",), "save the table as CSV"),
)  # fmt: skip


def _refuse_foreign(path: str, head: bytes) -> None:
    """Raise `DataError` for a file of a format that is not read."""
    name = _PACKED_NAME.sub("", path.lower())
    is_binary = b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff"))
    for known in FOREIGN:
        if re.match(known.begins, head) or (is_binary or not known.or_text) and name.endswith(known.endings):
            raise DataError(f"'{path}' is {known.what} and is not read; {known.cure.format(path)}")


# In the order in which the files of a folder of several formats are taken.
FORMATS: dict[str, Format] = {
    "parquet": Format("raysynth.data.sources.parquet:read_parquet", (".parquet", ".pq", ".parq"), b"PAR1", True),
    "csv": Format("raysynth.data.sources.private_csv:read_csv", _packed("csv", "tsv", "txt", "tab", "psv")),
    "arrow": Format("raysynth.data.sources.json_lines:read_arrow", (".arrow", ".feather", ".ipc"), b"ARROW1"),
    "json": Format("raysynth.data.sources.json_lines:read_json", _packed("jsonl", "ndjson", "json")),
}
ENDINGS = tuple(ending for known in FORMATS.values() for ending in known.endings)


def format_by_name(filesystem: pafs.FileSystem, file: pafs.FileInfo) -> str:
    """As `format_of`, by the first bytes of binary formats and by name alone: no row is looked at."""
    with filesystem.open_input_stream(file.path, compression=None) as stream:
        head = stream.read(16)
    name = file.path.lower()
    if (binary := _binary(head)) is not None:
        return binary
    _refuse_foreign(file.path, head)
    return next((f for f in ("parquet", "json") if name.endswith(FORMATS[f].endings)), "csv")


def format_of(filesystem: pafs.FileSystem, file: pafs.FileInfo) -> str:
    """The name of a file's format, by content first and name second; raises `DataError` for none."""
    with filesystem.open_input_stream(file.path, compression=None) as stream:
        head = stream.read(4096)
    if (binary := _binary(head)) is not None:
        return binary
    name, csv = file.path.lower(), FORMATS["csv"].endings
    if name.endswith(FORMATS["parquet"].endings):
        raise DataError(f"'{file.path}' is named like a Parquet file, but is none; write it again")
    if not head:
        raise DataError(f"'{file.path}' is empty; give a table with a header and rows")
    _refuse_foreign(file.path, head)
    if compression_of(head) is not None:
        with open_plain(filesystem, file.path) as stream:
            head = stream.read(4096)
        _refuse_foreign(file.path, head)
    if name.endswith(FORMATS["json"].endings) or (not name.endswith(csv) and head.lstrip()[:1] in (b"{", b"[")):
        return "json"
    is_wide = head[:2] in (b"\xff\xfe", b"\xfe\xff") or 0.3 < head.count(0) / max(len(head), 1) < 0.7  # UTF-16
    if b"\0" not in head or is_wide and not head.startswith(b"PK"):
        return "csv"
    if name.endswith(csv):
        raise DataError(f"'{file.path}' is named like CSV, but holds binary data; save it as CSV in UTF-8")
    raise DataError(f"'{file.path}' is neither Parquet nor CSV, but binary data; {SUPPORTED}")


def _binary(head: bytes) -> str | None:
    """The binary format that begins so; None for text."""
    return next((name for name, known in FORMATS.items() if known.magic and head.startswith(known.magic)), None)
