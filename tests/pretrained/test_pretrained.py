"""Unit tests of llmlib.pretrained: settings, what does not fit, damaged files, memory."""

import json
import pickle
import sys

import pytest
import torch
from safetensors.torch import save_file

from llmlib.decoder import DecoderConfig
from llmlib.pretrained import load
from tests.pretrained_files import LLAMA, folder, llama_weights, shards

# --- settings --------------------------------------------------------------------------------


def test_llama_settings(tmp_path):
    found = load(folder(tmp_path)).config
    assert found == DecoderConfig(
        61, 24, 2, 6, 2, 4, 32, 40, norm_eps=1e-5, rope_base=500.0, tied=False
    )


HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def tied_weights(*names):
    """Weights that have the one matrix under these names."""
    weights = llama_weights()
    matrix = weights[EMBEDDING]
    others = {name: x for name, x in weights.items() if name not in (HEAD, EMBEDDING)}
    return others | {name: matrix.clone() for name in names}


@pytest.mark.parametrize("names", [[EMBEDDING], [HEAD], [EMBEDDING, HEAD]])
def test_tied_matrix_may_have_either_name_or_both(tmp_path, names):
    weights = tied_weights(*names)
    found = load(folder(tmp_path, weights=weights, tie_word_embeddings=True))
    assert found.output is None
    assert torch.equal(found.embedding.weight, weights[names[0]])


def test_copy_of_a_tied_matrix_may_have_another_type(tmp_path):
    weights = tied_weights(EMBEDDING, HEAD)
    weights = {name: x.bfloat16() for name, x in weights.items()}
    weights[HEAD] = weights[HEAD].float()
    assert load(folder(tmp_path, weights=weights, tie_word_embeddings=True)).output is None


@pytest.mark.bad_input
@pytest.mark.parametrize("change", [lambda x: x + 1e-3, lambda x: x[:-1], lambda x: x.T])
def test_tied_matrices_that_differ(tmp_path, change):
    weights = tied_weights(EMBEDDING, HEAD)
    weights[HEAD] = change(weights[HEAD]).contiguous()
    with pytest.raises(ValueError, match=r"'lm_head.weight' .* differs from 'model.embed_tokens"):
        load(folder(tmp_path, weights=weights, tie_word_embeddings=True))


def test_masks_and_angles_are_no_weights(tmp_path):
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}
    load(folder(tmp_path, weights=llama_weights() | extra))


def test_weights_are_in_memory_of_their_own(tmp_path):
    """Overwriting the file must not change the model."""
    found = load(folder(tmp_path))
    before = found.embedding.weight.clone()
    (tmp_path / "model.safetensors").write_bytes(bytes(100))
    assert torch.equal(found.embedding.weight, before)
    assert not found.training


# --- what does not fit -----------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "mamba"}, "model_type is 'mamba', expected one of gpt2, llama"),
        ({"model_type": "gone"}, "model_type is None"),
        ({"hidden_size": "gone"}, "hidden_size is missing, expected a positive integer"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish', expected one of gelu"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "'longrope'"),
        ({"rope_scaling": {"rope_type": "linear"}}, "in rope_scaling, factor is missing"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, expected a positive integer"),
        ({"num_hidden_layers": "two"}, "num_hidden_layers is 'two', expected a positive integer"),
    ],
)
def test_settings_that_are_not_supported(tmp_path, changes, named):
    with pytest.raises(ValueError, match=named) as caught:
        load(folder(tmp_path, **changes))
    assert "config.json" in str(caught.value)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.1.self_attn.k_proj.weight"])
def test_missing_tensor(tmp_path, name):
    weights = llama_weights()
    del weights[name]
    with pytest.raises(ValueError, match=f"model.safetensors: tensor '{name}' is missing"):
        load(folder(tmp_path, weights=weights))


@pytest.mark.bad_input
def test_tensor_that_is_left_over(tmp_path):
    extra = {"model.layers.2.mlp.up_proj.weight": torch.ones(32, 24)}
    with pytest.raises(ValueError, match=r"tensor 'model.layers.2.mlp.up_proj.weight' belongs to"):
        load(folder(tmp_path, weights=llama_weights() | extra))


@pytest.mark.bad_input
def test_bias_that_the_settings_do_not_announce(tmp_path):
    extra = {"model.layers.0.self_attn.q_proj.bias": torch.ones(24)}
    with pytest.raises(ValueError, match=r"q_proj\.bias' belongs to no part"):
        load(folder(tmp_path, weights=llama_weights() | extra))


@pytest.mark.bad_input
def test_tensor_of_another_shape(tmp_path):
    named = (
        r"model.safetensors: tensor 'model.layers.0.self_attn.k_proj.weight' has shape \(8, 24\); "
        r"the configuration asks for \(12, 24\)"
    )
    with pytest.raises(ValueError, match=named):
        load(folder(tmp_path, num_key_value_heads=3))


@pytest.mark.bad_input
def test_tensor_of_integers(tmp_path):
    weights = llama_weights() | {"model.norm.weight": torch.ones(24, dtype=torch.int64)}
    with pytest.raises(ValueError, match=r"tensor 'model\.norm\.weight' has type I64"):
        load(folder(tmp_path, weights=weights))


@pytest.mark.bad_input
def test_cut_off_file_names_the_tensor(tmp_path):
    path = folder(tmp_path) / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(
        ValueError, match=r"model.safetensors is cut off: tensor 'model\..* ends 10"
    ):
        load(tmp_path)
    for length in (0, 5, 8, 100):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"model.safetensors"):
            load(tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "header", [b"{}x", b"[1]", b'{"a": 3}', b'{"a": {"shape": [1]}}', b"\xff{"]
)
def test_damaged_header(tmp_path, header):
    path = folder(tmp_path) / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load(tmp_path)


@pytest.mark.bad_input
def test_folders_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json is not there"):
        load(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is no JSON"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    with pytest.raises(FileNotFoundError, match=r"neither model\.safetensors nor"):
        load(tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "is no JSON"), ("[1]", "holds JSON of type list, expected an object"),
        ("null", "holds JSON of type NoneType"), ("[" * 100_000, "is no JSON"),
        ('{"model_type": "llama", "vocab_size": 1, "vocab_size": 2}', "'vocab_size' stands twice"),
        ('{"model_type": ["llama"]}', r"model_type is \['llama'\], expected one of gpt2"),
        ('{"model_type": "llama", "vocab_size": ' + "9" * 5000 + "}", "is no JSON"),
        ("{}", "model_type is None, expected one of"),
    ],
)  # fmt: skip
def test_damaged_settings(tmp_path, text, named):
    folder(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=named) as caught:
        load(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value)


@pytest.mark.bad_input
def test_files_and_folders_in_the_wrong_place(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ValueError, match=r"config\.json is a folder, expected a file"):
        load(tmp_path)
    (tmp_path / "config.json").rmdir()
    (tmp_path / "model.safetensors").mkdir()
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    with pytest.raises(ValueError, match=r"model\.safetensors is a folder, expected a file"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"config\.json is a file, expected the folder"):
        load(tmp_path / "config.json")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "name", ["model-00001-of-00002.safetensors", "consolidated.safetensors", "tf_model.h5"]
)
def test_weights_under_another_name_are_named(tmp_path, name):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=f"but {name}: expected model.safetensors, or sha"):
        load(tmp_path)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", torch.bfloat16])
def test_dtype_by_its_name(tmp_path, dtype):
    expected = dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype)
    assert {p.dtype for p in load(folder(tmp_path), dtype).parameters()} == {expected}


@pytest.mark.bad_input
@pytest.mark.parametrize("dtype", ["auto", "half", "", torch.complex64, torch.int8, None, 5])
def test_dtype_that_weights_cannot_have(tmp_path, dtype):
    with pytest.raises(ValueError, match=r"dtype is .*, expected a torch.dtype among float64"):
        load(folder(tmp_path), dtype)


def test_home_folder_and_links(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "A Model").mkdir()
    expected = load(folder(tmp_path / "A Model")).embedding.weight
    (tmp_path / "link").symlink_to(tmp_path / "A Model")
    assert torch.equal(load("~/A Model").embedding.weight, expected)
    assert torch.equal(load(tmp_path / "link").embedding.weight, expected)


@pytest.mark.bad_input
def test_model_without_its_head_says_so(tmp_path):
    """As AutoModel saves it: no head, and no prefix."""
    weights = {n.removeprefix("model."): x for n, x in llama_weights().items() if n != HEAD}
    with pytest.raises(ValueError, match=r"'lm_head.weight' is missing: .* or tie_word_embeddings"):
        load(folder(tmp_path, weights=weights))
    assert load(folder(tmp_path, weights=weights, tie_word_embeddings=True)).output is None


@pytest.mark.bad_input
@pytest.mark.parametrize("key", ["num_hidden_layers", "head_dim", "intermediate_size"])
def test_sizes_beyond_the_file_are_refused_before_anything_is_made(tmp_path, key):
    with pytest.raises(ValueError, match=r"config.json: .* is 1000000000000, expected no more"):
        load(folder(tmp_path, **{key: 10**12}))


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return (sys.exit, ("a pickle was read",))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth"])
def test_pickled_weights_are_never_read(tmp_path, name):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(FileNotFoundError, match=f"{name} but no model.safetensors: pickled"):
        load(tmp_path)


# --- shards ----------------------------------------------------------------------------------


def test_shards_are_read(tmp_path):
    path, weights = shards(tmp_path)
    assert torch.equal(load(path).embedding.weight, weights["model.embed_tokens.weight"])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"model.norm.weight": "gone.safetensors"}, FileNotFoundError,
         "gone.safetensors is not there; model.safetensors.index.json lists it for tensor 'model"),
        ({"model.norm.weight": "part-0.safetensors"}, ValueError,
         "part-0.safetensors: tensor 'model.norm.weight' is missing"),
        ({"model.norm.weight": "../config.json"}, ValueError, "expected a file beside it"),
        ({"more": "part-0.safetensors"}, ValueError, "tensor 'more' is missing"),
    ],
)  # fmt: skip
def test_shards_that_do_not_fit(tmp_path, changes, error, named):
    path, _ = shards(tmp_path, changes)
    with pytest.raises(error, match=named):
        load(path)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "is no JSON"),
        ("{}", "weight_map is None, expected name -> file"),
        ("[]", "holds JSON of type list, expected an object"),
        ('{"weight_map": 3}', "weight_map is 3, expected name -> file"),
        ('{"weight_map": {"a": 3}}', "lists 3 for tensor 'a', expected a file beside it"),
        ('{"weight_map": {"a": "x/y"}}', "lists 'x/y' for tensor 'a', expected a file beside it"),
        ('{"weight_map": {"a": "part-0.safetensors", "a": "x"}}', "the key 'a' stands twice"),
        ("\udcff", "is no JSON"),
    ],
)
def test_damaged_index(tmp_path, text, named):
    path, _ = shards(tmp_path)
    index = path / "model.safetensors.index.json"
    index.write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=named) as caught:
        load(path)
    assert str(index) in str(caught.value)


def test_the_index_decides_which_shard_counts(tmp_path):
    """A stale copy of a tensor in another shard is no part of the model."""
    path, weights = shards(tmp_path)
    save_file(
        {HEAD: weights[HEAD], "model.norm.weight": torch.zeros(24)},
        path / f"part-{list(weights).index(HEAD)}.safetensors",
    )
    assert torch.equal(load(path).norm.weight, weights["model.norm.weight"])


@pytest.mark.bad_input
def test_tensor_that_the_index_does_not_list_is_found(tmp_path):
    path, weights = shards(tmp_path)
    bias = {"model.layers.0.self_attn.q_proj.bias": torch.ones(24)}
    save_file({HEAD: weights[HEAD], **bias}, path / f"part-{list(weights).index(HEAD)}.safetensors")
    with pytest.raises(ValueError, match=r"q_proj\.bias' belongs to no part"):
        load(path)
