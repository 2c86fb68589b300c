"""Unit tests of llmlib.pretrained's GGUF models: settings, tensors, what does not fit."""

import math
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch

import llmlib.architecture as arch
from llmlib.decoder import Decoder
from llmlib.formats.gguf import GGUFFile
from llmlib.pretrained import load_gguf
from llmlib.pretrained.gguf_architectures import unpermute
from llmlib.pretrained.gguf_models import gguf_config, gguf_model
from llmlib.pretrained.huggingface import configure
from tests.pretrained_files import LLAMA, small, write_gguf


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("llama", {}),
        ("llama", {"tied": False}),
        ("qwen2", {"qkv_bias": True}),
        ("qwen3", {"qk_norm": True}),
    ],
)
@torch.no_grad()
def test_models_in_gguf_files(tmp_path, architecture, changes):
    expected = small(**changes)
    file = GGUFFile(write_gguf(tmp_path / "small.gguf", expected, architecture))
    found = gguf_model(file)
    assert found.config == expected.config
    ids = torch.arange(20)[None]
    assert torch.equal(found(ids), expected(ids))


@torch.no_grad()
def test_models_in_several_gguf_files(tmp_path):
    expected = small()
    write_gguf(tmp_path / "small.gguf", expected, split=7)
    first, *others = sorted(tmp_path.glob("small-0000?-of-0000?.gguf"))
    assert len(others) == 2
    ids = torch.arange(20)[None]
    assert torch.equal(gguf_model(GGUFFile(first))(ids), expected(ids))


GEMMA = {**LLAMA, "head_dim": 6, "sliding_window": 5}
GEMMA_KEYS = {"attention.key_length": 6, "attention.value_length": 6,
              "attention.sliding_window": 5}  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "settings", "keys"),
    [
        ("gemma2", {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
         {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
        ("gemma2", {}, {}),
        ("gemma3", {}, {}),
        ("gemma3", {"rope_local_base_freq": 50.0, "final_logit_softcapping": 4.0,
                    "sliding_window_pattern": 3},
         {"rope.freq_base_swa": 50.0, "final_logit_softcapping": 4.0,
          "attention.sliding_window_pattern": 3}),
    ],
)  # fmt: skip
@torch.no_grad()
def test_gemma_in_gguf_files(tmp_path, architecture, settings, keys):
    """The converter adds 1 to the gains; scores are scaled by the width of a head."""
    kind = "gemma3_text" if architecture == "gemma3" else architecture
    known = {**GEMMA, "num_hidden_layers": 6, "query_pre_attn_scalar": 6, **settings}
    config = configure(kind, known)
    torch.manual_seed(0)
    expected = Decoder(config).eval()
    for parameter in expected.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.2)
    path = write_gguf(tmp_path / "small.gguf", expected, architecture, **GEMMA_KEYS, **keys)
    found = gguf_model(GGUFFile(path))
    assert arch.ribbon(found.config.stack) == arch.ribbon(config.stack)
    ids = torch.arange(20)[None]
    torch.testing.assert_close(found(ids), expected(ids), rtol=0, atol=1e-5)


def test_gemma_of_27_billion_scales_by_its_share_of_the_stream():
    """As llama.cpp does for the models with so many layers."""
    sizes = {"attention.key_length": 128, "embedding_length": 256}
    tensors = {str(n): (1,) for n in range(100)}
    large, other = (config("gemma3", tensors=tensors, **sizes, block_count=n) for n in (62, 26))
    for found, width in ((large, 256 / 4), (other, 128)):
        scales = {block.mixer.scale for block in arch.layers(found.stack.runs)}
        assert scales == {1 / math.sqrt(width)}


@torch.no_grad()
def test_factors_of_llama_3_slow_the_pairs_down(tmp_path):
    """llama.cpp divides each pair's frequency by its factor."""
    factors = np.array([1.0, 8.0], np.float32)
    path = write_gguf(
        tmp_path / "small.gguf", small(), change=lambda t: t.update({"rope_freqs.weight": factors})
    )
    found = gguf_model(GGUFFile(path))
    rope = found.config.block.mixer.rope
    assert rope.scaling == arch.Scaling("factors", more=(("factors", (1.0, 8.0)),))
    config = arch.changed(small().config, arch.Rope, base=64 * rope.base, scaling=None)
    slower = Decoder(config).eval()  # of two pairs the second turns by 1 / sqrt(base)
    slower.load_state_dict(found.state_dict())
    ids = torch.arange(20)[None]
    torch.testing.assert_close(found(ids), slower(ids), rtol=0, atol=1e-5)


@pytest.mark.bad_input
def test_factors_beside_another_scaling():
    with pytest.raises(ValueError, match=r"'rope_freqs.weight' is there beside rope.scaling.type"):
        config(**YARN, tensors={"rope_freqs.weight": (8,)})


def test_rows_are_put_back_in_order():
    """One head of four features: stored (0, 2, 1, 3), since 0 turns with 2 and 1 with 3."""
    stored = torch.tensor([[0.0], [2.0], [1.0], [3.0]])
    assert unpermute(stored, 1).flatten().tolist() == [0, 1, 2, 3]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"architecture": "mamba"}, "the architecture is 'mamba', expected one of llama"),
        ({"block_count": None}, "llama.block_count is missing, expected a positive integer"),
        ({"change": lambda t: t.pop("blk.1.ffn_up.weight")}, "tensor 'blk.1.ffn_up.weight' is mis"),
        ({"change": lambda t: t.pop("token_embd.weight")}, "tensor 'token_embd.weight' is missing"),
        ({"change": lambda t: t.update({"rope_freqs.weight": np.ones(3, np.float32)})},
         r"tensor 'rope_freqs.weight' has shape \(3,\), expected \(2,\): a factor for each"),
        ({"change": lambda t: t.update({"rope_freqs.weight": np.zeros(2, np.float32)})},
         "factors of the factors scaling is 0.0, expected a number above 0"),
        ({"change": lambda t: t.update({"rope_freqs.bias": np.ones(2, np.float32)})},
         "tensor 'rope_freqs.bias' belongs to no part"),
        ({"feed_forward_length": 48}, r"has shape \(32, 24\); the configuration asks for \(48, 24"),
        ({"rope.dimension_count": 2}, "llama.rope.dimension_count is 2, expected 4"),
        ({}, "tokenizer"),
    ],
)  # fmt: skip
def test_gguf_files_that_do_not_fit(tmp_path, options, named):
    path = write_gguf(tmp_path / "small.gguf", small(), **options)
    with pytest.raises(ValueError, match=named) as caught:
        load_gguf(path)
    assert "small.gguf" in str(caught.value)


# --- every key that the format knows ---------------------------------------------------------

PLAIN = {
    "attention.head_count": 4, "embedding_length": 64, "block_count": 2, "feed_forward_length": 32,
    "context_length": 64, "attention.layer_norm_rms_epsilon": 1e-5,
}  # fmt: skip
YARN = {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 16,
}
HARMLESS = {"vocab_size", "rope.scaling.finetuned", "pooling_type",
            "rope.scaling.original_context_length"}  # the last one without a scaling  # fmt: skip
WINDOW = "attention.sliding_window"
USUAL = {"gemma3": {WINDOW: 6, "attention.sliding_window_pattern": 2}}  # of 2 layers one is far
ZERO = {WINDOW, "attention.clamp_kqv", "attention.max_alibi_bias",
        "expert_count", "expert_used_count", "expert_shared_count"}  # fmt: skip
ODD = (0, 1, 3, 0.5, 2.5, False, True, "x", [1, 2], math.nan, -1, 2**40)


def config(architecture="llama", outside=None, tensors=None, **more):
    """What a file with these settings of its model is read as."""
    settings = {f"{architecture}.{key}": value for key, value in {**PLAIN, **more}.items()}
    name, shape = "token_embd.weight", (61, 64)
    file = SimpleNamespace(
        settings={"general.architecture": architecture, **settings, **(outside or {})},
        path="f.gguf", read=lambda name: None,
        shapes={name: shape, "x": (1,), "y": (1,), **(tensors or {})},
    )  # fmt: skip
    return gguf_config(file)


def keys_of_the_format(group):
    """Keys of the gguf package's lists, without the architecture."""
    for name, key in vars(group).items():
        if isinstance(key, type):
            yield from keys_of_the_format(key)
        elif not name.startswith("_") and key.startswith("{arch}."):
            yield key.removeprefix("{arch}.")


def same_or_refused(architecture, plain, key, value):
    """Whether the value is passed over; an error must name file and key."""
    try:
        return config(architecture, **{**USUAL.get(architecture, {}), key: value}) == plain
    except ValueError as error:
        text = str(error)
    assert text.startswith("f.gguf: "), text
    assert key in text, text
    return False


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "gemma2", "gemma3"])
def test_every_key_of_the_format_changes_the_model_or_is_refused(architecture):
    """Each with several values; what changes nothing must be the value that is meant anyway."""
    plain = config(architecture, **USUAL.get(architecture, {}))
    groups = [group for group in vars(gguf.Keys).values() if isinstance(group, type)]
    keys = sorted({key for group in groups for key in keys_of_the_format(group)})
    silent = {(k, repr(v)) for k in keys for v in ODD if same_or_refused(architecture, plain, k, v)}
    assert len(keys) > 100
    assert {(key, value) for key, value in silent if key not in HARMLESS} == {
        *((key, "0") for key in ZERO if key != WINDOW or "gemma" not in architecture),
        ("attention.causal", "True"), ("logit_scale", "1"), ("use_parallel_residual", "False"),
        ("rope.scaling.attn_factor", "1"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "scaling"),
    [
        ({}, None),
        ({"rope.scaling.type": "none", "rope.scaling.factor": 4.0}, None),
        ({"rope.scaling.factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        ({"rope.scale_linear": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        (YARN, {}),
        ({**YARN, "rope.scaling.yarn_ext_factor": 1.0}, {}),
        ({**YARN, "rope.scaling.yarn_beta_fast": 8.0}, {"beta_fast": 8.0}),
        ({**YARN, "rope.scaling.yarn_beta_slow": 4.0}, {"beta_slow": 4.0}),
        ({**YARN, "rope.scaling.attn_factor": 1.0}, {}),
        ({**YARN, "rope.scaling.attn_factor": 2.0},
         {"attention_factor": 2 * (0.1 * math.log(4) + 1)}),
    ],
)  # fmt: skip
def test_scaling_is_what_llama_cpp_computes(more, scaling):
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
    is_yarn = more.get("rope.scaling.type") == "yarn"
    expected = {**yarn, **scaling} if is_yarn else scaling
    found = config(**more).block.mixer.rope.scaling
    assert found == (None if expected is None else arch.Scaling.of(expected))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"attention.causal": False}, "llama.attention.causal is false, expected true"),
        ({**YARN, "rope.scaling.yarn_attn_factor": 1.0}, "llama.rope.scaling.yarn_attn_factor is"),
        ({**YARN, "rope.scaling.yarn_ext_factor": 0.5}, "yarn_ext_factor is 0.5, expected 1.0"),
        ({"rope.scaling.yarn_beta_fast": 8.0}, "yarn_beta_fast is 8.0, expected it beside"),
        ({"rope.scaling.type": "longrope"}, "rope.scaling.type is 'longrope', expected none, lin"),
        ({"rope.scaling.type": "yarn"}, "rope.scaling.factor is missing"),
        ({"attention.head_count": 0}, "llama.attention.head_count is 0, expected a positive int"),
        ({"attention.head_count": "4"}, "llama.attention.head_count is '4', expected a positive"),
        ({"attention.head_count_kv": [2, 2]}, r"is \[2, 2\], expected one value: settings by lay"),
        ({"attention.value_length": 8}, "llama.attention.value_length is 8, expected 16"),
        ({"attention.key_lenght": 16}, "llama.attention.key_lenght is 16, expected no such key"),
    ],
)
def test_settings_that_are_not_supported(more, named):
    with pytest.raises(ValueError, match=named) as caught:
        config(**more)
    assert str(caught.value).startswith("f.gguf: ")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("outside", "named"),
    [
        ({"rope_scaling.type": "yarn"}, "rope_scaling.type is 'yarn', expected llama"),
        ({"qwen2.rope.freq_base": 7.0}, "qwen2.rope.freq_base is 7.0"),
        ({"general.alignmemt": 64}, "general.alignmemt is 64"),
        ({"general.type": "adapter"}, "general.type is 'adapter', expected 'model'"),
        ({"adapter.type": "lora"}, "adapter.type is 'lora'"),
    ],
)
def test_keys_outside_the_model(outside, named):
    with pytest.raises(ValueError, match=named):
        config(outside=outside)


def test_keys_that_tell_where_a_file_comes_from_are_harmless():
    """All that the format lists outside the model, but for what another program writes."""
    listed = {
        key.replace("{id}", "0").replace("{name}", "default")
        for group in ("General", "Tokenizer", "Split", "IMatrix")
        for name, key in vars(getattr(gguf.Keys, group)).items()
        if not name.startswith("_") and key not in ("general.type", "general.architecture")
    }
    assert len(listed) > 90
    listed |= {"general.parameter_count", "general.filename"}  # of Ollama, of the first version
    assert config(outside=dict.fromkeys(listed, "x")) == config()
