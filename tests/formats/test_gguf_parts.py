"""Unit tests of llmlib.formats.gguf on a model in several files."""

import gguf
import numpy as np
import pytest
import torch

from llmlib.formats.gguf import GGUFFile

bad_input = pytest.mark.bad_input
NAMES = [f"blk.{i}.weight" for i in range(5)]


@pytest.fixture
def parts(tmp_path):
    """Three files as the gguf package splits them: two tensors, two, one."""
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama", split_max_tensors=2)
    writer.add_string("general.name", "small")
    for i, name in enumerate(NAMES):
        writer.add_tensor(name, np.full((2, 32), i, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = sorted(tmp_path.iterdir())
    assert [p.name for p in found] == [f"model-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    return found


def test_any_part_opens_the_whole_model(parts):
    for part in parts:
        file = GGUFFile(part)
        assert file.settings["general.name"] == "small"
        assert file.settings["general.architecture"] == "llama"
        assert file.shapes == dict.fromkeys(NAMES, (2, 32))
        assert [file.file(name) for name in NAMES] == [parts[i // 2] for i in range(5)]
        for i, name in enumerate(NAMES):
            assert torch.equal(file.read(name), torch.full((2, 32), float(i)))
        assert file.file("no such tensor") == part


@bad_input
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_part_is_named(parts, missing):
    parts[missing].unlink()
    for part in parts:
        name = parts[missing].name
        with pytest.raises(FileNotFoundError, match=rf"{name} is not there"):
            GGUFFile(part)


@bad_input
def test_parts_that_do_not_fit_together_are_named(parts, tmp_path):
    second = parts[1].read_bytes()
    parts[1].write_bytes(parts[2].read_bytes())
    with pytest.raises(ValueError, match=r"00002-of-00003\.gguf: split\.no is 2, expected 1"):
        GGUFFile(parts[0])
    parts[1].write_bytes(second[:-40])
    with pytest.raises(ValueError, match=r"00002-of-00003\.gguf is cut off: tensor 'blk\.3\."):
        GGUFFile(parts[0])
    parts[1].write_bytes(second.replace(b"blk.2.weight", b"blk.0.weight"))
    with pytest.raises(ValueError, match=r"'blk\.0\.weight' is in model-00001-of-00003\.gguf too"):
        GGUFFile(parts[0])
    parts[1].write_bytes(second)
    renamed = parts[0].rename(tmp_path / "model.gguf")
    with pytest.raises(ValueError, match=r"split\.count is 3, so the name is expected to end in"):
        GGUFFile(renamed)


@bad_input
def test_a_number_of_files_that_is_none(tmp_path):
    path = tmp_path / "one.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_int32("split.count", -3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match=r"split\.count is -3, expected a number of files"):
        GGUFFile(path)
