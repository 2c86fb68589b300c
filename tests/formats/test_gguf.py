"""Unit tests of llmlib.formats.gguf: against the gguf package, by hand, and on damaged files."""

import gguf
import numpy as np
import pytest
import torch

from llmlib.formats.gguf import GGUFFile
from llmlib.formats.gguf_blocks import STORAGE, dequantize
from llmlib.formats.packaged import smollm2_gguf

KINDS = {
    name: gguf.GGMLQuantizationType[name]
    for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")
}  # those that the gguf package also writes
SETTINGS = {
    "a.string": "größer",
    "an.integer": 7,
    "a.float": 0.25,
    "a.bool": True,
    "some.strings": ["a", "", "Ġb"],
    "some.integers": [3, -1, 2],
    "some.floats": [0.5, -2.0],
}


def write(path, tensors, architecture="llama"):
    """A GGUF file with these tensors (name -> (array, kind)), as the gguf package writes it."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("a.string", SETTINGS["a.string"])
    writer.add_uint32("an.integer", 7)
    writer.add_float32("a.float", 0.25)
    writer.add_bool("a.bool", True)
    for name in ("some.strings", "some.integers", "some.floats"):
        writer.add_array(name, SETTINGS[name])
    for name, (array, kind) in tensors.items():
        writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def arrays():
    numbers = np.random.default_rng(0)
    return {
        name: (numbers.normal(size=(6, 64)).astype(np.float32), kind)
        for name, kind in KINDS.items()
    }


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "small.gguf", arrays())


def test_settings_and_shapes(path):
    file = GGUFFile(path)
    assert {key: file.settings[key] for key in SETTINGS} == SETTINGS
    assert file.shapes == dict.fromkeys(KINDS, (6, 64))


@pytest.mark.parametrize("name", KINDS)
def test_numbers_are_those_of_the_gguf_package(path, name):
    array, kind = arrays()[name]
    expected = gguf.dequantize(gguf.quantize(array, kind), kind)
    found = GGUFFile(path).read(name)
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.from_numpy(np.asarray(expected, np.float32)).reshape(6, 64))


@pytest.mark.parametrize("name", KINDS)
def test_many_pieces_give_the_same(path, name):
    file = GGUFFile(path)
    assert torch.equal(file.read(name, piece=100), file.read(name))


def test_a_block_by_hand():
    """Q4_1: byte n holds number n in its low and number n + 16 in its high half."""
    block = np.zeros((1, 20), np.uint8)
    block[0, :4] = np.array([0.5, -1.0], np.float16).view(np.uint8)
    block[0, 4] = 3 + 16 * 15
    out = np.empty((1, 32), np.float32)
    dequantize(block, "Q4_1", out)
    assert out[0, 0] == 3 * 0.5 - 1
    assert out[0, 16] == 15 * 0.5 - 1
    assert out[0, 1] == -1


@pytest.mark.parametrize("storage", STORAGE.values(), ids=lambda storage: storage.name)
def test_every_bit_pattern_of_a_block_is_read_as_the_gguf_package_does(storage):
    """Random bytes: scales that are subnormal, infinite or no number among them."""
    numbers = np.random.default_rng(1)
    blocks = numbers.integers(0, 256, (20_000, storage.n_bytes), dtype=np.uint8)
    with np.errstate(all="ignore"):
        kind = gguf.GGMLQuantizationType[storage.name]
        expected = np.asarray(gguf.dequantize(blocks, kind), np.float32)
        out = np.empty((len(blocks), storage.block), np.float32)
        dequantize(blocks, storage.name, out)
    same_bits = out.view(np.int32).reshape(-1) == expected.view(np.int32).reshape(-1)
    assert np.all(same_bits | np.isnan(expected.reshape(-1)) & np.isnan(out.reshape(-1)))


BLOCKED = [storage for storage in STORAGE.values() if storage.block > 1]


@pytest.mark.parametrize("storage", BLOCKED, ids=lambda storage: storage.name)
def test_subnormal_scales_in_a_file_of_every_blocked_type(storage, tmp_path):
    """Read to the bit, in pieces that do not divide the tensor."""
    blocks = np.random.default_rng(2).integers(0, 256, (7, 3, storage.n_bytes), dtype=np.uint8)
    blocks[..., 1::2] &= 0x83  # no bits of an exponent, wherever a scale may stand
    kind = gguf.GGMLQuantizationType[storage.name]
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    raw = blocks.reshape(7, -1)
    writer.add_tensor("x", raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    expected = np.asarray(gguf.dequantize(raw, kind), np.float32)
    assert 0 < np.abs(expected).max() < 1
    found = GGUFFile(tmp_path / "x.gguf").read("x", piece=2 * storage.n_bytes).numpy()
    assert found.shape == (7, 3 * storage.block)
    np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32))


def test_the_packaged_model():
    file = GGUFFile(smollm2_gguf())
    assert file.settings["llama.rope.freq_base"] == 100_000
    assert len(file.settings["tokenizer.ggml.tokens"]) == 49_152
    assert len(file.entries) == 272
    kinds = [STORAGE[entry.kind].name for entry in file.entries.values()]
    assert [kinds.count(kind) for kind in ("Q4_1", "Q8_0", "F32")] == [210, 1, 61]


# --- damaged files ---------------------------------------------------------------------------


@pytest.mark.bad_input
def test_cut_off_at_any_byte(path, tmp_path):
    """Never another error than ours, and in the numbers it names the tensor."""
    whole, cut = path.read_bytes(), tmp_path / "cut.gguf"
    file = GGUFFile(path)
    first = min(entry.start for entry in file.entries.values())
    last = max(file.entries.values(), key=lambda entry: entry.start)
    storage = STORAGE[last.kind]
    end = last.start + 6 * 64 // storage.block * storage.n_bytes  # behind it there is only padding
    for length in [*range(0, first, 7), *range(first, end, 401), end - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.gguf") as caught:
            GGUFFile(cut)
        if length >= first:
            assert "tensor" in str(caught.value)


@pytest.mark.bad_input
def test_any_byte_of_the_tables_may_be_damaged(path, tmp_path):
    """A wrong byte is read as another value or refused in our words; nothing else is raised."""
    whole, damaged = bytearray(path.read_bytes()), tmp_path / "damaged.gguf"
    first = min(entry.start for entry in GGUFFile(path).entries.values())
    for at in range(0, first, 3):
        copy = bytearray(whole)
        copy[at] ^= 0xFF
        damaged.write_bytes(copy)
        try:
            GGUFFile(damaged)
        except ValueError as error:
            assert "damaged.gguf" in str(error)  # noqa: PT017


@pytest.mark.bad_input
def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.gguf is not there"):
        GGUFFile(tmp_path / "none.gguf")
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK\x03\x04 not this")
    with pytest.raises(ValueError, match="does not begin with GGUF"):
        GGUFFile(other)
    other.write_bytes(b"GGUF" + (9).to_bytes(4, "little") + bytes(16))
    with pytest.raises(ValueError, match="version 9, expected 2 or 3"):
        GGUFFile(other)


@pytest.mark.bad_input
def test_storage_type_that_is_not_known(tmp_path):
    array = np.zeros((4, 256), np.float32)
    path = write(tmp_path / "other.gguf", {"x": (array, gguf.GGMLQuantizationType.TQ2_0)})
    with pytest.raises(ValueError, match="tensor 'x' has storage type 35, expected F32, F16"):
        GGUFFile(path)
