"""Bytes to rows: what is no row is told with its line, and what is one comes through unchanged."""

import gzip

import pytest

from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.data.rows import BadRow, Row, header, rows
from trainshed.spec.data.sources import Csv, JsonLines, TextFiles

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
LONG = "a" * 200_000


def read(source, content, path="f"):
    """Fields of rows, and `line: what was found` of bad ones."""
    found = rows(source, content, path)
    return [str(row).removeprefix(path) if isinstance(row, BadRow) else list(row.fields.values()) for row in found]


def text(**fields):
    return TextFiles(path="x", **fields)


def lines(**fields):
    return JsonLines(path="x", **fields)


def table(**fields):
    return Csv(path="x", **fields)


WHOLE = [
    (text(), "é\r\n".encode(), [["é\r\n"]]),
    (text(), b"\xef\xbb\xbfa", [["a"]]),
    (text(encoding="latin-1"), "é".encode("latin-1"), [["é"]]),
    (text(encoding="utf-16"), "é\n".encode("utf-16"), [["é\n"]]),
    (text(), b"", [[""]]),
    (lines(), b'\xef\xbb\xbf{"text": "a"}\r\n\n{"text": "\xc3\xa9"}', [["a"], ["é"]]),
    (lines(), '{"text": "a\u2028b"}'.encode(), [["a\u2028b"]]),
    (lines(encoding="utf-16"), '{"text": "Ċ"}\n{"text": "b"}'.encode("utf-16"), [["Ċ"], ["b"]]),
    (lines(encoding="shift_jis"), '{"text": "ソ表"}\n'.encode("shift_jis"), [["ソ表"]]),
    (table(), b"\xef\xbb\xbftext\r\na\r\n", [["a"]]),
    (table(), b"text\ra\rb", [["a"], ["b"]]),
    (table(), f"text\n{LONG}\n".encode(), [[LONG]]),
    (table(encoding="cp1252"), 'text\n"a “b”"\n'.encode("cp1252"), [["a “b”"]]),
    (table(), b'text\n"a\n\nb"\n', [["a\n\nb"]]),
]


@pytest.mark.parametrize(("source", "content", "values"), WHOLE)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_what_is_whole_comes_through(source, content, values, packed):
    path = "f.x.GZ" if packed else "f"
    assert read(source, gzip.compress(content, mtime=0) if packed else content, path) == values


BAD = [
    (text(), b"a\nb\xe9c\n", [":2: 0xe9 is no utf-8"]),
    (text(), PNG, [": expected text, found a PNG image"]),
    (text(encoding="latin-1"), PNG, [": expected text, found a PNG image"]),
    (text(), b"PAR1" + b"\x15\x04" * 9 + b"PAR1", [": expected text, found a parquet file"]),
    (text(), b"\x00\x00\x00\x01Bud1", [":1: a zero byte"]),
    (text(), b"a\nb\x00", [":2: a zero byte"]),
    (text(), "a".encode("utf-16"), [": expected text, found text in UTF-16; say `source.encoding: utf-16`"]),
    (text(), gzip.compress(b"a", mtime=0), [": expected text, found compressed with gzip"]),
    (text(encoding="utf-16"), "a\nb".encode("utf-16") + b"\x00", [":2: 0x00 is no utf-16"]),
    (lines(), b'{"text": "a"}\n{"text": "\xff"}\n{"text": "b"}\n', [["a"], ":2: 0xff is no utf-8", ["b"]]),
    (lines(), b'{"text": "a"}\n[1]\n"b"\n', [["a"], ":2: expected a JSON object, got a list", ":3: expected a JSON"]),
    (lines(), b'{"text": ' + b"[" * 10**5 + b"]" * 10**5 + b"}", [":1: JSON that is nested too deep"]),
    (lines(), b'{"text": ' + b"9" * 5000 + b"}", [":1: not JSON"]),
    (lines(), b'{"text": "a"}{"text": "b"}', [":1: not JSON: Extra data"]),
    (table(), b"text,n\na\n\nb,1\n", [":2: 1 fields where 2 are named (text, n)", ["b", "1"]]),
    (table(), b"text\n\xff\nb\n", [":2: 0xff is no utf-8", ["b"]]),
    (table(), b'text\na\n"b\n\xff\n"\nc\n', [["a"], ":4: 0xff is no utf-8", ["c"]]),
    (table(), b'text\na\n"b\nc\nd\n', [["a"], ":3: a quote is opened here and never closed"]),
    (table(), b'text,n\n"a\nb",1,2\nc,3\n', [":2: 3 fields where 2", ["c", "3"]]),
]


@pytest.mark.parametrize(("source", "content", "said"), BAD)
def test_what_is_no_row_is_told_with_its_line_and_reading_goes_on(source, content, said):
    found = read(source, content)
    assert len(found) == len(said)
    for one, expected in zip(found, said, strict=True):
        assert one == expected if isinstance(expected, list) else one.startswith(expected)


def test_a_damaged_archive_is_told():
    whole = gzip.compress(b'{"text": "a"}\n' * 100, mtime=0)
    for content in (whole[:-9], b"no gzip", whole[:20] + b"\0\0\0\0" + whole[24:]):
        assert read(lines(), content, "f.jsonl.gz")[0].startswith(": damaged gzip: ")


def test_what_is_said_of_a_bad_row_is_short_and_can_be_written():
    bad = BadRow.of("f:1", "no field \ud800" + "x" * 1000)
    assert bad.found.startswith("no field \\ud800x")
    assert len(bad.found.encode()) < 400


def test_the_header_of_a_table_is_read_as_its_rows_are():
    assert header(table(delimiter="\t"), b"\xef\xbb\xbftext\tn\r\na\t", "f") == ["text", "n"]
    assert header(table(quotes=False), b'"text,n\na', "f") == ['"text', "n"]
    assert header(table(), b"", "f") == []
    assert header(table(), b"\xff\n", "f") == BadRow("f:1", "0xff is no utf-8; is `source.encoding` another?")


@pytest.mark.parametrize("name", ["utf8", "UTF-16", "latin-1", "cp1252", "shift_jis", "iso2022_jp"])
def test_encodings_of_files(name):
    assert read(text(encoding=name), "a\n".encode(name)) == [["a\n"]]


@pytest.mark.parametrize("name", ["hex", "rot13", "unicode_escape", "idna", "utf-7", "nothing", "", "../x", "a\0b"])
def test_what_is_no_encoding_of_files_is_refused(name):
    job = {"kind": "prepare", "name": "a", "tokenizer": {"kind": "characters"}, "pack": {"block_size": 8}}
    with pytest.raises(ValueError, match="encoding"):
        PrepareJob.model_validate(job | {"source": {"kind": "text_files", "path": "x", "encoding": name}})


def test_a_row_says_where_it_begins():
    found = [row.origin for row in rows(table(), b'text\n"a\nb"\nc\n', "f") if isinstance(row, Row)]
    assert found == ["f:2", "f:4"]
