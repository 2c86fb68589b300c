"""The tables of long runs: what is stored is read, and written again, to the byte."""

from dataclasses import dataclass
from typing import NamedTuple

from llmlib.book.labs import (
    activations,
    attention,
    kv_cache,
    normalization,
    position_encoding,
    sparse_attention,
    tokenization,
)
from llmlib.book.labs.tables import read_rows, write_rows


class Pair(NamedTuple):
    name: str
    loss: float


@dataclass(frozen=True)
class Three:
    place: int
    name: str
    rate: float


def test_rows_come_back_in_their_types_and_formats(tmp_path):
    path = tmp_path / "rows.tsv"
    write_rows(path, Pair, [Pair("a\tb", 1.23456), Pair("", 2.0)], loss=".2f")
    assert path.read_text() == 'name\tloss\n"a\tb"\t1.23\n\t2.00\n'
    assert read_rows(path, Pair) == [Pair("a\tb", 1.23), Pair("", 2.0)]
    write_rows(path, Three, [Three(3, "x", 1e-05)])
    assert read_rows(path, Three) == [Three(3, "x", 1e-05)]
    write_rows(path, Three, [])
    assert read_rows(path, Three) == []


def test_the_labs_tables_are_what_they_would_write(tmp_path):
    labs = [activations, attention, normalization, position_encoding, tokenization, kv_cache]
    stored = [(lab, lab.FILE, getattr(lab, "Run", None)) for lab in labs]
    stored += [(kv_cache, sparse_attention.FILE, kv_cache.Run)]
    for lab, file, kind in stored:
        again = tmp_path / file.name
        lab.save(read_rows(file, kind or lab.Measurement), again)
        assert again.read_bytes() == file.read_bytes(), file.name
    again = tmp_path / "looks.tsv"
    attention.save_looks(attention.stored_looks(), again)
    assert again.read_bytes() == attention.LOOKS_FILE.read_bytes()
