"""CSV files as they come: what is found out of their form, what is said of it, and what overrides it."""

from __future__ import annotations

import gzip
import lzma
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysynth.data.arrow_types import TEXT
from raysynth.data.fragments import Table
from raysynth.data.sources import csv as csv_source
from raysynth.data.sources.csv_file import CsvFile, csv_file
from raysynth.data.sources.csv_numbers import form_of
from raysynth.data.table import as_table
from raysynth.errors import DataError, ParameterError, StorageError

ROWS = range(1, 80)


def read(folder: Path, content: str | bytes, encoding: str = "utf-8", name: str = "t.csv", **options: Any) -> Table:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return as_table(CsvFile(path, **options) if options else path)


def lines(header: str, row: str) -> str:
    return "\n".join([header, *(row.replace("#", str(i)) for i in ROWS)]) + "\n"


READ_SO = [
    # what it is, the file, types of columns, the first row, words of what is said
    ("semicolons", lines("a;b", "#;x"), [pa.int64(), TEXT], [1, "x"], "delimiter ';'"),
    ("tabs", lines("a\tb", "#\tx,y"), [pa.int64(), TEXT], [1, "x,y"], "delimiter"),
    ("decimal commas by tabs", lines("t\tv", "19#,5\t3#,25"), [pa.float64()] * 2, [191.5, 31.25], "delimiter '\\t'"),
    ("powers", lines("a;b", "#,5E-05;x"), [pa.float64(), TEXT], [1.5e-05, "x"], "decimal ','"),
    (
        "title of two texts",
        "Report\n\n" + lines("a\tb", "n#\tx"),
        [TEXT, TEXT],
        ["n1", "x"],
        "1 line before the header",
    ),
    ("thousands by points", lines("a;b", "#,500;#.5"), [pa.int64(), pa.float64()], [1500, 1.5], "thousands ','"),
    ("mixed", lines("a\tb", "#.250\tx") + "7\tx\n88\tx\n999\tx\n", [pa.int64(), TEXT], [1250, "x"], "thousands '.'"),
    ("bars", lines("a|b", "#|2,5"), [pa.int64(), pa.float64()], [1, 2.5], "delimiter '|'"),
    ("Excel's own line", "sep=;\n" + lines("a;b", "#;2"), [pa.int64()] * 2, [1, 2], "delimiter"),
    ("decimal commas", lines("a;b", "#,25;x"), [pa.float64(), TEXT], [1.25, "x"], "decimal ','"),
    ("signs before per cent", lines("a;b", "+#.5%;x"), [pa.float64(), TEXT], [1.5, "x"], "'%' left out"),
    ("units without a space", lines("a;b", "1#cm;x"), [pa.int64(), TEXT], [11, "x"], "'cm' left out"),
    ("lakhs and crores", lines("a;b", "₹#,34,567;x"), [pa.int64(), TEXT], [134567, "x"], "thousands ','"),
    ("points between thousands", lines("a;b", "#.234,5;1"), [pa.float64(), pa.int64()], [1234.5, 1], "thousands '.'"),
    ("commas between thousands", lines("a,b", '"#,234",0.5'), [pa.int64(), pa.float64()], [1234, 0.5], "thousands ','"),
    ("apostrophes", lines("a,b", "#'234.5,1"), [pa.float64(), pa.int64()], [1234.5, 1], 'thousands "\'"'),
    ("per cent", lines("a,b", "#%,1"), [pa.int64()] * 2, [1, 1], "'%' left out"),
    ("dollars", lines("a,b", '"$#,000.50",1'), [pa.float64(), pa.int64()], [1000.5, 1], "'$' left out"),
    ("euros behind", lines("a;b", "#,50 €;1"), [pa.float64(), pa.int64()], [1.5, 1], "'€' left out"),
    ("minus signs", lines("a;b", "-#,5;1"), [pa.float64(), pa.int64()], [-1.5, 1], "decimal"),
    ("leading zeros", lines("zip,b", "0#,1"), [TEXT, pa.int64()], ["01", 1], ""),
    ("20 digits", lines("no,b", "123456789012345678#,1"), [TEXT, pa.int64()], ["1234567890123456781", 1], ""),
    ("telephone numbers", lines("tel,b", "+49#,1"), [TEXT, pa.int64()], ["+491", 1], ""),
    ("codes that look like powers of ten", lines("code,b", "#E5,1"), [TEXT, pa.int64()], ["1E5", 1], ""),
    ("row numbers of pandas", lines(",a,b", "#,7,x"), [pa.int64(), TEXT], [7, "x"], "numbers the rows"),
    ("row names of R", lines("a\tb", "car #\t7\tx"), [pa.int64(), TEXT], [7, "x"], "numbers the rows"),
    ("a delimiter at the end", lines("a,b,", "#,x,"), [pa.int64(), TEXT], [1, "x"], "neither name nor values"),
    ("no header", lines("0,0.5,x", "#,#.5,x"), [pa.int64(), pa.float64(), TEXT], None, "no header"),
    ("carets", lines("a^b", "#^x"), [pa.int64(), TEXT], [1, "x"], "delimiter '^'"),
    ("no header, dates", lines("3.4.2011,y", "#.4.2011,x"), [TEXT] * 2, None, "no header"),
    (
        "titles and decimal commas",
        "Report\n\nof 1.1.20\n" + lines("a;b;c", "x;#,5;y"),
        [TEXT, pa.float64(), TEXT],
        ["x", 1.5, "y"],
        "2 lines before",
    ),
    ("words for missing", lines("a,b", "#,1") + "not reported,1\n", [pa.int64()] * 2, [1, 1], "'not reported' taken"),
    ("signs of typesetters", lines("a,b", "#.5,1") + "\u22122.5,1\n", [pa.float64(), pa.int64()], [1.5, 1], "'\u2212'"),
    ("points and commas", lines("a;b", "#,5;1") + "3.25;1\n", [pa.float64(), pa.int64()], [1.5, 1], "'.' in some"),
    ("thousands, millions", lines("a;b", "€#.5K;1") + "€2M;1\n", [pa.float64(), pa.int64()], [1500.0, 1], "in full"),
    ("dates before the rows", lines(",a", "1.#.21,2"), [TEXT, pa.int64()], ["1.1.21", 2], "has no name"),
    ("no header, text", lines("b,m", "b,m"), [TEXT] * 2, None, "no header"),
    ("years as headings", lines("land,1990,1991,1992", "x#,1,2,3"), [TEXT, *[pa.int64()] * 3], ["x1", 1, 2, 3], ""),
    ("numbered headings", lines("0,1,2", "#,1,2"), [pa.int64()] * 3, [1, 1, 2], ""),
    ("titles above", "Report\nof 2020\n" + lines("a,b,c", "#,1,2"), [pa.int64()] * 3, [1, 1, 2], "2 lines"),
    ("a sign for missing", lines("a,b", "#,1") + "?,1\n", [pa.int64()] * 2, [1, 1], "'?' taken for missing"),
    ("single quotes", lines("a,b", "'x, #',1"), [TEXT, pa.int64()], ["x, 1", 1], ""),
    ("escaped quotes", lines("a,b", r'"x \"#\", y",1'), [TEXT, pa.int64()], ['x "1", y', 1], ""),
    ("ends of lines in quotes", lines("a,b", '"x\n#",1'), [TEXT, pa.int64()], ["x\n1", 1], ""),
    ("ends of lines of old Macs", lines("a,b", "#,1").replace("\n", "\r"), [pa.int64()] * 2, [1, 1], ""),
    ("spaces around numbers", lines("a,b", " # , 1.5"), [pa.int64(), pa.float64()], [1, 1.5], ""),
    ("single spaces", lines("a b", "# x"), [pa.int64(), TEXT], [1, "x"], "delimiter ' '"),
    ("a title of several words", lines("a b", "# and # and"), [TEXT], ["1 and 1 and"], ""),
    ("quotes around names alone", lines("'a'\t'b'", "#\t2"), [pa.int64()] * 2, [1, 2], "delimiter"),
    (
        "brackets of accountants",
        lines("a,b", '"#,234",1') + '"(2,500)",1\n',
        [pa.int64()] * 2,
        [1234, 1],
        "in brackets",
    ),
    ("a minus behind", lines("a;b", "#,5;1") + "2,5-;1\n", [pa.float64(), pa.int64()], [1.5, 1], "the minus behind"),
    ("a unit behind", lines("a,b", "# km/h,1"), [pa.int64()] * 2, [1, 1], "'km/h' left out"),
    ("doses, which are few", lines("a,b", "#,5 mg"), [pa.int64(), TEXT], [1, "5 mg"], ""),
    ("labels in brackets", lines("a,b", "(#),1"), [TEXT, pa.int64()], ["(1)", 1], ""),
    ("remarks above", "# made\n# in two, steps\n" + lines("a,b", "#,1"), [pa.int64()] * 2, [1, 1], "2 lines with '#'"),
    ("a header with a sign", "# made\n" + "#" + lines("a,b", "#,1"), [pa.int64()] * 2, [1, 1], "1 line"),
    ("one column", lines("a", "#"), [pa.int64()], [1], ""),
    ("delimiters at the ends of rows alone", lines("a,b", "#,x,"), [pa.int64(), TEXT], [1, "x"], "nor values"),
    ("a title above two columns", "Report\n" + lines("a,b", "#,x"), [pa.int64(), TEXT], [1, "x"], "1 line before"),
    ("a name over the second column", lines("b", "car #,7"), [pa.int64()], [7], "numbers the rows"),
    ("another delimiter in the values", lines("a,b", "#,x;y"), [pa.int64(), TEXT], [1, "x;y"], ""),
    ("two signs", lines("a,b", "(-#),1") + "5,1\n", [TEXT, pa.int64()], ["(-1)", 1], ""),
    ("truth values", lines("a,b", "TRUE,#") + "FALSE,1\n", [pa.bool_(), pa.int64()], [True, 1], "written as True"),
]


@pytest.mark.parametrize(("content", "types", "first", "words"), [c[1:] for c in READ_SO], ids=[c[0] for c in READ_SO])
def test_read_so(content: str, types: list[pa.DataType], first: list[Any] | None, words: str, tmp_path: Path) -> None:
    table = read(tmp_path, content)
    assert [f.type for f in table.schema] == types
    rows = table.to_arrow()
    assert rows.num_rows >= len(ROWS)
    if first is not None:
        assert [rows.column(i)[0].as_py() for i in range(len(types))] == first
    assert words in " ".join(table.notes)
    if not words:
        assert table.notes == ()


@pytest.mark.parametrize("content", [c[1] for c in READ_SO], ids=[c[0] for c in READ_SO])
def test_a_streamed_file_is_read_the_same(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(tmp_path, content)
    monkeypatch.setattr(csv_source, "WHOLE_BYTES", 0)
    streamed = read(tmp_path, content)
    assert streamed.n_rows is None and streamed.schema == whole.schema and streamed.notes == whole.notes
    assert streamed.to_arrow().to_pydict() == whole.to_arrow().to_pydict()


@pytest.mark.parametrize(
    ("encoding", "word"),
    [("utf-8", "Größe"), ("utf-8-sig", "Größe"), ("latin-1", "Größe à côté"), ("cp1252", "Größe – 5 €")]
    + [
        ("utf-16", "Größe"),
        ("utf-16-le", "Größe"),
        ("cp1251", "Санкт-Петербург и его жители"),
        ("shift_jis", "東京都千代田区の統計表です"),
        ("cp1252", "Köln Genève Málaga"),
        ("cp1252", "più così perché città"),
        ("cp1252", "Ærø København"),
        ("cp1250", "Wrocław i Łódź"),
        ("cp1250", "Příliš žluťoučký kůň"),
        ("cp1250", "Niš i Čačak"),
    ],
)
def test_encodings(encoding: str, word: str, tmp_path: Path) -> None:
    table = read(tmp_path, lines(f"{word};b", f"{word} #;1"), encoding)
    assert table.names == (word, "b")
    assert table.to_arrow().column(word)[0].as_py() == f"{word} 1"
    assert bool(table.notes[0].startswith("encoding")) is (not encoding.startswith("utf-8"))


def test_text_that_was_decoded_wrongly_before_is_read_byte_by_byte(tmp_path: Path) -> None:
    mangled = "Wladyslaw á".encode("mac_roman") + "Władysław Á".encode() + "Jos\u0301e".encode()
    table = read(tmp_path, b"who,b\n" + b"".join(mangled + b" %d,1\n" % i for i in range(40)))
    assert table.notes[0] == "encoding latin-1" and table.to_arrow().num_rows == 40
    assert table.to_arrow().column("who")[0].as_py().encode("latin-1") == mangled + b" 0"


def test_packing_is_what_the_content_says(tmp_path: Path) -> None:
    packed = gzip.compress(lines("a,b", "#,1").encode())
    assert read(tmp_path, packed, name="named.csv").to_arrow().num_rows == len(ROWS)
    assert read(tmp_path, lines("a,b", "#,1"), name="named.csv.gz").to_arrow().num_rows == len(ROWS)
    assert read(tmp_path, packed, name="named").to_arrow().num_rows == len(ROWS)
    packed = lzma.compress(lines("a,b", "#,1").encode())
    assert read(tmp_path, packed, name="t.csv.xz").to_arrow().num_rows == len(ROWS)
    with pytest.raises(StorageError, match=r"cannot read .*damaged"):
        read(tmp_path, packed[:-40], name="t.csv.xz")
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside/t.csv", lines("a,b", "#,1"))
    assert as_table(tmp_path / "t.zip").to_arrow().num_rows == len(ROWS)
    with zipfile.ZipFile(tmp_path / "t.zip", "a") as archive:
        archive.writestr("other.csv", "a\n1\n")
    with pytest.raises(DataError, match=r"2 files \(inside/t.csv, other.csv\); unpack"):
        as_table(tmp_path / "t.zip")


FEW_TEXTS = [
    # texts among numbers, how many rows of each, and whether the column is numbers
    ("unrated", 3, True),
    (" 16GB", 1, True),  # slipped from its neighbour
    ("<5", 2, True),
    ("unrated", 5, False),  # as frequent as a category
    ("C53637", 2, False),  # a code among codes
]


@pytest.mark.parametrize(("text", "n", "is_number"), FEW_TEXTS)
def test_few_texts_among_numbers_are_missing_and_said(tmp_path: Path, text: str, n: int, is_number: bool) -> None:
    rows = [*(f"{i / 4},x" for i in range(400)), *(f"{text},x" for _ in range(n)), "7.5,x"]
    table = read(tmp_path, "\n".join(["stars,b", *rows]))
    assert (table.schema.field("stars").type == pa.float64()) is is_number
    if is_number:
        assert table.to_arrow().column("stars").null_count == n
        assert any("'stars'" in note and text.strip() in note and "missing" in note for note in table.notes)
    assert read(tmp_path, "\n".join(["stars,b", *rows[:-1], *["?,x"] * 9])).schema.field("stars").type == (
        pa.float64() if is_number else TEXT
    )


def test_a_first_row_with_signs_for_missing_is_no_header(tmp_path: Path) -> None:
    rows = [f"{i},{i % 7 or 'NaN'},{i % 5 or '?'},x{i % 3}" for i in range(35, 90)]
    table = read(tmp_path, "\n".join(rows))
    assert (table.n_rows, table.names[0]) == (len(rows), "column_1")
    assert [f.type for f in table.schema][:3] == [pa.int64()] * 3


AFTER = [
    # what stands after the table, and how many lines that is
    ("Total,,3160,99\n", 1),
    ("Summe,,3160,99\n", 1),
    (",TOTAL:,3160,99\n", 1),
    (",,all rows,99\n", 1),  # a word under numbers
    ("Source: the Office of Statistics\n", 1),
    ("\nSource: the Office\nTables 3 and 4\n", 2),
    ('"Notes: provisional, of 2019",,,\n', 1),
    (",,,\n,,,\nGrand total,,3160,99\nLast Updated: 07/01/2020,,,\n", 4),
    ("(79 rows affected)\n", 1),
]


@pytest.mark.parametrize(("after", "n"), AFTER)
def test_lines_after_the_table_are_no_rows(tmp_path: Path, after: str, n: int) -> None:
    before = lines("name,place,units,price", "n#,p,#,#.5")
    table = read(tmp_path, before + after)
    assert table.to_arrow().equals(read(tmp_path, before, name="before.csv").to_arrow())
    assert any(f"{n} line" in note and "after the table" in note for note in table.notes)
    for end in ("\n", "\r\n", "\r"):
        again = read(tmp_path, (before + after).replace("\n", end), skip_footer=n)
        assert again.to_arrow().equals(table.to_arrow())


@pytest.mark.parametrize(
    "last",
    [
        "n80,p,80,9.5",
        "n80,,80,",
        "Total recall,p,80,9.5",
        "n80,p,unknown,9.5",
        "n80,p,pending,9.5",
        "n80,p,N/A,9.5",
        "n80,p,NaN,?",
    ],
)
def test_a_last_row_like_any_other_stays(tmp_path: Path, last: str) -> None:
    table = read(tmp_path, lines("name,place,units,price", "n#,p,#,#.5") + last)
    assert (table.n_rows, table.schema.field("units").type) == (len(ROWS) + 1, pa.int64())


def test_rows_of_one_value_stay_where_they_are_usual(tmp_path: Path) -> None:
    text = "a,b,c\n" + "\n".join(f"k{i},,{i if i % 3 else ''}" for i in ROWS) + "\nlast one,,\n"
    assert read(tmp_path, text).n_rows == len(ROWS) + 1
    text = "a,b\n" + "\n".join(f"{i if i % 3 else 'NA'},{i if i % 2 else ''}" for i in ROWS) + "\nNA,\n"
    assert read(tmp_path, text).n_rows == len(ROWS) + 1  # without any value, as others before it


def test_lines_after_the_table_stay_where_the_user_says_so(tmp_path: Path) -> None:
    text = lines("name,units", "n#,#") + "Total,3160\n"
    assert read(tmp_path, text, skip_footer=0).n_rows == len(ROWS) + 1
    with pytest.raises(DataError, match="Expected 2 columns"):
        read(tmp_path, text + "Source\n", skip_footer=0)
    with pytest.raises(DataError, match="Expected 2 columns"):  # not at the end: damaged, or no table
        read(tmp_path, text + "Source\n" + text)
    with pytest.raises(ParameterError, match="skip_footer: under a privacy budget"):
        as_table(CsvFile(tmp_path / "t.csv", skip_footer=1), private=True)


def test_options_override(tmp_path: Path) -> None:
    text = lines("a;b", "1,23#;x")
    assert read(tmp_path, text, decimal=".", delimiter=";").schema.field("a").type == TEXT
    assert read(tmp_path, lines("a;b", "#;x"), delimiter=",").names == ("a;b",)
    assert read(tmp_path, lines(",a", "#,1"), keep_index=True).names == ("column_1", "a")
    assert read(tmp_path, lines("a,b", "#,x"), header=False).names == ("column_1", "column_2")
    assert read(tmp_path, lines("a,b", "#,none"), missing=("none",)).to_arrow().column("b").null_count == len(ROWS)
    assert read(tmp_path, lines("a,b", "0#,x"), skip=5, header=True).to_arrow().num_rows == len(ROWS) - 5


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("skip_footer=x", "number of lines"),
        ("decimal=x", "decimal must be"),
        ("nothing", "NAME=VALUE"),
        ("colour=red", "valid names: decimal"),
    ]
    + [("header=maybe", "yes or no"), ("encoding=klingon", "codecs"), ("delimiter=ab", "one character")],
)
def test_a_wrong_option_is_named(setting: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        csv_file("t.csv", [setting])


def test_options_of_the_command_line() -> None:
    found = csv_file("t.csv", ["decimal=,", "delimiter=tab", "header=no", "missing=?|-", "skip=2"])
    assert found == CsvFile("t.csv", delimiter="\t", header=False, decimal=",", missing=("?", "-"), skip=2)


def test_a_declared_type_reaches_the_reader(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(lines("a,b", "12#,00#"))
    table = as_table(tmp_path / "t.csv", declared={"a": pa.string(), "b": pa.int64()})
    assert [f.type for f in table.schema] == [TEXT, pa.int64()]
    assert table.to_arrow().slice(0, 1).to_pylist() == [{"a": "121", "b": 1}]


def test_later_text_in_a_streamed_file_names_the_column_and_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_source, "WHOLE_BYTES", 0)
    monkeypatch.setattr(csv_source, "_STREAM_BLOCK", 1000)
    table = read(tmp_path, lines("a,b", "#,1") + "5,1\n" * 2000 + "007,1\n")
    with pytest.raises(DataError, match="column 'a'.*'007'.*dtype as 'string'"):
        table.to_arrow()


def test_one_form_for_all_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text(lines("zip,x", "7#,1"))
    (tmp_path / "2.csv").write_text(lines("zip,x", "0#,1.5"))
    table = as_table(tmp_path)
    assert [f.type for f in table.schema] == [TEXT, pa.float64()]


numbers = st.lists(st.integers(-(10**6), 10**6), min_size=3, max_size=40, unique=True)


@settings(max_examples=60, deadline=None)
@given(numbers, st.sampled_from([(".", ","), (",", "."), (",", " "), (".", "'"), (",", None)]), st.integers(1, 3))
def test_any_numbers_in_any_writing(values: list[int], writing: tuple[str, str | None], decimals: int) -> None:
    decimal, thousands = writing
    texts = []
    for value in values:
        whole, _, rest = f"{value / 10**decimals:,.{decimals}f}".partition(".")
        texts.append(whole.replace(",", thousands or "") + decimal + rest)
    form = form_of(pa.array(texts), decimal=decimal)
    assert form.convert(pa.array(texts)).to_pylist() == pytest.approx([v / 10**decimals for v in values])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**25), min_size=1, max_size=30, unique=True), st.integers(0, 3))
def test_digits_come_back_as_they_were_written(values: list[int], zeros: int) -> None:
    texts = [zeros * "0" + str(v) for v in values]
    form = form_of(pa.array(texts))
    written = form.convert(pa.array(texts)).cast(pa.string()).to_pylist()
    assert written == texts


def test_a_declared_encoding_and_lines_before_the_header(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(("x\n" + lines("a,b", "é#,1")).encode("latin-1"))
    table = as_table(CsvFile(tmp_path / "t.csv", encoding="latin-1", skip=1))
    assert table.names == ("a", "b") and table.to_arrow().column("a")[0].as_py() == "é1"
    with pytest.raises(DataError, match="not written in utf-8.*--csv encoding=latin-1"):
        as_table(CsvFile(tmp_path / "t.csv", encoding="utf-8"))


def test_numbers_without_separators_are_not_called_unsettled() -> None:
    for sign in ("cm", " kg", "%", "€"):
        form = form_of(pa.array([f"{i}{sign}" for i in range(150, 190)]))
        assert form.thousands is None and not form.unsettled and pa.types.is_integer(form.type)
    assert form_of(pa.array([f"{i},125 €" for i in range(1, 90)])).unsettled


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("word", ["None", "NA", "null"])
def test_a_word_for_missing_in_text_is_said_and_kept_on_request(
    word: str, streamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if streamed:
        monkeypatch.setattr(csv_source, "WHOLE_BYTES", 10)
    content = lines("a,b,c", "red,x,#") + lines("", f"{word},x,{word}")
    table = read(tmp_path, content)
    assert table.to_arrow().column("a").null_count == table.to_arrow().column("c").null_count == len(ROWS)
    assert [n for n in table.notes if "is taken for missing" in n] == [
        f"{word!r} is taken for missing in text ('a'); keep={word} makes it a value"
    ]
    kept = read(tmp_path, content, keep=(word,))
    assert set(kept.to_arrow().column("a").to_pylist()) == {"red", word}
    assert not any("taken for missing in text" in note for note in kept.notes)
    with pytest.raises(ParameterError, match="missing and keep both"):
        CsvFile("t.csv", missing=(word,), keep=(word,))


def test_a_line_of_another_encoding_is_named(tmp_path: Path) -> None:
    good = lines("a,b", "Łódź,#").encode().splitlines(keepends=True)
    with pytest.raises(DataError, match="UTF-8 but for line 41.*encoding=cp1252"):
        read(tmp_path, b"".join([*good[:40], b"Z\xfcrich,3\n", *good[40:]]))
