"""Damaged files: one ValueError that names the file, or the right numbers; never another error."""

import json
import struct
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmlib.formats.gguf import GGUFFile
from llmlib.formats.safetensors import SafetensorsFiles, read_header
from llmlib.pretrained import load
from llmlib.pretrained.gguf_models import gguf_model
from tests.pretrained_files import folder, small, write_gguf

pytestmark = pytest.mark.bad_input
quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
damages = st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 255)), min_size=1, max_size=4)


def damaged(whole, end, changes):
    """The bytes, some of the first `end` of them replaced."""
    found = bytearray(whole)
    for at, byte in changes:
        found[at % end] = byte
    return bytes(found)


# --- safetensors -----------------------------------------------------------------------------

ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def write(path, header, room=8):
    """A safetensors file with this header and `room` bytes of numbers."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(room))
    return path


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ({"a": {**ONE, "data_offsets": [0]}}, r"data_offsets \[0\], expected begin and end"),
        ({"a": {**ONE, "data_offsets": [0, 4, 8]}}, "expected begin and end"),
        ({"a": {**ONE, "data_offsets": [8, 0]}}, "expected begin and end"),
        ({"a": {**ONE, "data_offsets": [-8, 0]}}, "expected sizes"),
        ({"a": {**ONE, "data_offsets": ["0", "8"]}}, "expected sizes"),
        ({"a": {**ONE, "data_offsets": {"0": 8}}}, "expected sizes"),
        ({"a": {**ONE, "data_offsets": None}}, "expected sizes"),
        ({"a": {**ONE, "shape": [2.0]}}, r"shape \[2.0\], expected sizes"),
        ({"a": {**ONE, "shape": [True, 2]}}, "expected sizes"),
        ({"a": {**ONE, "shape": [-2]}}, "expected sizes"),
        ({"a": {**ONE, "shape": 2}}, "shape 2, expected sizes"),
        ({"a": {**ONE, "shape": [0, 2**64]}}, "expected sizes"),
        ({"a": {**ONE, "shape": [3]}}, "takes 8 bytes, which is not its shape"),
        ({"a": {**ONE, "dtype": "F31"}}, "dtype 'F31', expected one of F64"),
        ({"a": {**ONE, "dtype": ["F32"]}}, r"dtype \['F32'\], expected one of"),
        ({"a": {**ONE, "dtype": "BF16"}}, "takes 8 bytes, which is not its shape"),
        ({"a": {**ONE, "more": 1}}, "expected dtype, shape, data_offsets"),
        ({"a": {"dtype": "F32"}}, "expected dtype, shape, data_offsets"),
        ({"a": 3}, "tensor 'a' is 3"),
        ({"a": ONE, "b": ONE}, "tensor 'b' begins at byte 0 of the numbers, expected 8"),
        ({"a": {**ONE, "shape": [1], "data_offsets": [4, 8]}}, "begins at byte 4 .* expected 0"),
        ({"a": {**ONE, "shape": [1], "data_offsets": [0, 4]}}, "holds 8 bytes .* expected 4"),
        ({"a": {**ONE, "data_offsets": [8, 16]}}, "is cut off: tensor 'a' ends 8 bytes behind"),
        ({"a": ONE, "__metadata__": 3}, "__metadata__ is 3, expected names and texts"),
        ({"a": ONE, "__metadata__": {"format": 3}}, "expected names and texts"),
        ([1], "holds JSON of type list, expected an object"),
        (b'{"a": 1, "a": 1}', "the key 'a' stands twice"),
        (b"{" + b"[" * 100_000, "is no JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is no JSON"),
        (b'{"\xff": 1}', "is no JSON"),
        (b"{", "is no safetensors file, or its header is cut off"),
    ],
)
def test_headers(tmp_path, header, named):
    path = write(tmp_path / "model.safetensors", header)
    with pytest.raises(ValueError, match=named) as caught:
        read_header(path)
    assert str(path) in str(caught.value)


def test_headers_that_claim_more_than_the_file_take_no_memory(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + b"{}")
    tracemalloc.start()
    with pytest.raises(ValueError, match="says that its header has 1099511627776"):
        read_header(path)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


@quick
@given(changes=damages)
def test_any_bytes_of_a_header_may_be_damaged(tmp_path, changes):
    """The weights' file: refused in our words, or every tensor as it says."""
    if not (tmp_path / "config.json").exists():
        folder(tmp_path)
        (tmp_path / "whole").write_bytes((tmp_path / "model.safetensors").read_bytes())
    path, whole = tmp_path / "model.safetensors", (tmp_path / "whole").read_bytes()
    end = 8 + struct.unpack("<Q", whole[:8])[0]
    path.write_bytes(damaged(whole, end, changes))
    try:
        load(tmp_path)
    except ValueError as error:
        assert str(tmp_path) in str(error)  # noqa: PT017
        return
    files = SafetensorsFiles(tmp_path)
    assert all(files.read(name).shape == shape for name, shape in files.shapes.items())


@quick
@given(changes=damages)
def test_any_bytes_of_the_settings_may_be_damaged(tmp_path, changes):
    if not (tmp_path / "whole").exists():
        folder(tmp_path)
        (tmp_path / "whole").write_bytes((tmp_path / "config.json").read_bytes())
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "config.json").write_bytes(damaged(whole, len(whole), changes))
    try:
        load(tmp_path)
    except ValueError as error:
        assert str(tmp_path) in str(error)  # noqa: PT017


# --- GGUF ------------------------------------------------------------------------------------


def gguf_file(path, key="a", kind=4, payload=bytes(4), tensors=b"", n=0, settings=1):
    """A GGUF file of one setting, with the bytes of a table of n tensors."""
    path.write_bytes(
        b"GGUF" + struct.pack("<IQQQ", 3, n, settings, len(key)) + key.encode()
        + struct.pack("<I", kind) + payload + tensors + bytes(64)
    )  # fmt: skip
    return path


def entry(name="x", axes=(4,), kind=0, offset=0):
    """A row of the table of tensors."""
    text = name.encode()
    sizes = struct.pack(f"<{len(axes)}Q", *axes)
    return struct.pack("<Q", len(text)) + text + struct.pack("<I", len(axes)) + sizes + (
        struct.pack("<IQ", kind, offset)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"key": "general.alignment", "payload": struct.pack("<I", 0)}, "alignment is 0, expected"),
        ({"key": "general.alignment", "payload": struct.pack("<I", 33)}, "is 33, expected a power"),
        ({"key": "general.alignment", "kind": 8, "payload": struct.pack("<Q", 2) + b"32"},
         "general.alignment is '32', expected a power of two"),
        ({"key": "general.alignment", "kind": 7, "payload": b"\1"}, "alignment is True"),
        ({"key": "split.count", "payload": struct.pack("<I", 3)}, "split.count is 3, so"),
        ({"kind": 99}, "value of the setting 'a' .* the type number 99"),
        ({"kind": 9, "payload": struct.pack("<IQ", 4, 2**40)}, "an array of 1099511627776"),
        ({"kind": 9, "payload": struct.pack("<IQ", 9, 1) * 20_000}, "value of the setting 'a'"),
        ({"kind": 8, "payload": struct.pack("<Q", 2**60)}, "value of the setting 'a'"),
        ({"kind": 8, "payload": struct.pack("<Q", 1) + b"\xff"}, "value of the setting 'a'"),
        ({"settings": 2**60}, "the setting '' stands twice"),
        ({"n": 2**60}, "tensor '' stands twice"),
        ({"tensors": entry(axes=(1,) * 5), "n": 1}, "tensor 'x' has 5 axes, expected 4 at most"),
        ({"tensors": entry(axes=(0,)), "n": 1}, r"tensor 'x' has shape \(0,\)"),
        ({"tensors": entry(axes=(2**62,)), "n": 1}, "is cut off: tensor 'x' ends"),
        ({"tensors": entry(kind=77), "n": 1}, "tensor 'x' has storage type 77, expected F32"),
        ({"tensors": entry(offset=8), "n": 1}, "tensor 'x' has offset 8, expected a multiple of"),
        ({"tensors": entry() + entry(), "n": 2}, "tensor 'x' stands twice"),
        ({"tensors": entry() + entry("y"), "n": 2}, "'y' begins 16 bytes before 'x' ends"),
        ({"tensors": entry(offset=2**63), "n": 1}, "is cut off: tensor 'x' ends"),
    ],
)  # fmt: skip
def test_tables_of_gguf_files(tmp_path, options, named):
    path = gguf_file(tmp_path / "f.gguf", **options)
    tracemalloc.start()
    with pytest.raises(ValueError, match=named) as caught:
        GGUFFile(path)
    assert str(path) in str(caught.value)
    assert tracemalloc.get_traced_memory()[1] < 4e7
    tracemalloc.stop()


def test_settings_that_stand_twice(tmp_path):
    row = struct.pack("<Q", 1) + b"a" + struct.pack("<II", 4, 7)
    path = tmp_path / "f.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + row + row)
    with pytest.raises(ValueError, match=r"f.gguf: the setting 'a' stands twice"):
        GGUFFile(path)


def test_a_folder_is_no_gguf_file(tmp_path):
    with pytest.raises(ValueError, match="is a folder, expected a GGUF file"):
        GGUFFile(tmp_path)


@quick
@given(changes=damages)
def test_any_bytes_of_gguf_tables_may_be_damaged(tmp_path, changes):
    """Refused in our words, or every tensor as the file says, of the numbers that lie there."""
    path, kept = tmp_path / "small.gguf", tmp_path / "whole"
    if not kept.exists():
        kept.write_bytes(write_gguf(path, small()).read_bytes())
    whole = kept.read_bytes()
    path.write_bytes(whole)
    end = min(e.start for e in GGUFFile(path).entries.values())
    path.write_bytes(damaged(whole, end, changes))
    try:
        gguf_model(GGUFFile(path))
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017
