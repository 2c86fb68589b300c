"""RoPE's frequencies and rotations, ALiBi's biases and T5's buckets against transformers."""

import pytest
import torch
from transformers import LlamaConfig, T5Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb as rotate_interleaved
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as rotate_half
from transformers.models.t5.modeling_t5 import T5Attention

from llmlib.attention import attention_weights
from llmlib.position_encoding import (
    RelativeBias,
    alibi_bias,
    alibi_slopes,
    dynamic_ntk,
    rope_amplitude,
    rope_frequencies,
    rotate,
    t5_bucket,
)
from tests.folding import for_each

SCALINGS = {
    "linear": {"factor": 3.0},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192},
    "llama3, 3.2": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 32768},
    "yarn tuned": {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096,
                   "beta_fast": 24.0, "beta_slow": 2.0, "mscale": 0.7, "mscale_all_dim": 1.0},
    "yarn untruncated": {"rope_type": "yarn", "factor": 32.0, "truncate": False,
                         "original_max_position_embeddings": 4096},
    "yarn amplitude": {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.3,
                       "original_max_position_embeddings": 4096},
    "yarn tiny": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4},
}  # fmt: skip


@for_each("name", SCALINGS)
@for_each("base", [10_000.0, 500_000.0])
@for_each("head_dim", [12, 64, 128])
def test_frequencies_and_amplitude(name, base, head_dim):
    scaling = {"rope_type": name.split()[0].strip(","), **SCALINGS[name]}
    config = LlamaConfig(
        hidden_size=head_dim * 2, num_attention_heads=2, max_position_embeddings=131_072,
        rope_parameters={**scaling, "rope_theta": base},
    )  # fmt: skip
    expected, amplitude = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, torch.device("cpu"))
    found = rope_frequencies(head_dim, base, scaling)
    torch.testing.assert_close(found.float(), expected, rtol=2e-6, atol=0)
    assert rope_amplitude(scaling) == pytest.approx(amplitude, rel=1e-12)


@pytest.mark.parametrize("length", [50, 1000, 1700, 8000])
@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_dynamic_ntk(length, factor):
    config = LlamaConfig(
        hidden_size=128, num_attention_heads=2, max_position_embeddings=1000,
        rope_parameters={"rope_type": "dynamic", "factor": factor, "rope_theta": 10_000.0},
    )  # fmt: skip
    expected, _ = ROPE_INIT_FUNCTIONS["dynamic"](config, torch.device("cpu"), seq_len=length)
    scaling = {"factor": factor, "original_max_position_embeddings": 1000}
    found = rope_frequencies(64, 10_000.0, dynamic_ntk(scaling, length))
    torch.testing.assert_close(found.float(), expected, rtol=2e-6, atol=0)


def test_half_layout_is_llamas():
    q, k, positions = torch.randn(2, 4, 9, 16), torch.randn(2, 2, 9, 16), torch.arange(9)
    phases = positions[:, None] * rope_frequencies(16).float()
    tables = torch.cat([phases, phases], -1)[None]
    for mine, theirs in zip((q, k), rotate_half(q, k, tables.cos(), tables.sin()), strict=True):
        found = rotate(mine, positions, rope_frequencies(16), "half")
        torch.testing.assert_close(found, theirs, rtol=0, atol=1e-5)


def test_interleaved_layout_is_gptjs():
    """GPT-J puts the sequence before the heads."""
    x, positions = torch.randn(2, 4, 9, 16), torch.arange(9)
    phases = (positions[:, None] * rope_frequencies(16).float())[None]
    theirs = rotate_interleaved(x.transpose(1, 2), phases.sin(), phases.cos()).transpose(1, 2)
    found = rotate(x, positions, rope_frequencies(16), "interleaved")
    torch.testing.assert_close(found, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_heads", [1, 2, 3, 6, 8, 12, 16, 20, 32, 112])
def test_slopes_are_blooms(n_heads):
    """BLOOM adds slope * j, which differs from -slope * (i - j) by a constant of the row."""
    theirs = build_alibi_tensor(torch.ones(1, 2), n_heads, torch.float32)[:, 0, 1]
    torch.testing.assert_close(alibi_slopes(n_heads), theirs, rtol=1e-6, atol=0)
    row = alibi_bias(n_heads, 5, 5)[:, 4]
    torch.testing.assert_close(row.diff(dim=-1), theirs[:, None].expand(-1, 4))


@pytest.mark.parametrize("n_heads", [6, 12])
def test_weights_with_alibi_are_blooms(n_heads):
    """Up to a constant of each row, which softmax does not see."""
    q, k = torch.randn(2, 1, n_heads, 7, 16)
    theirs = build_alibi_tensor(torch.ones(1, 7), n_heads, torch.float32)[None]
    hidden = torch.ones(7, 7, dtype=torch.bool).triu(1)
    scores = q @ k.mT / 4 + theirs
    expected = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    found = attention_weights(q, k, causal=True, bias=alibi_bias(n_heads, 7, 7))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


# --- T5 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("n_buckets", "far"), [(32, 128), (8, 20), (64, 1000), (4, 3)])
def test_t5_buckets(bidirectional, n_buckets, far):
    relative = torch.arange(-3000, 3001)
    expected = T5Attention._relative_position_bucket(relative, bidirectional, n_buckets, far)
    assert torch.equal(t5_bucket(relative, bidirectional, n_buckets, far), expected)


@pytest.mark.parametrize("is_decoder", [True, False])
def test_t5_bias(is_decoder):
    config = T5Config(d_model=32, d_kv=8, num_heads=4, is_decoder=is_decoder)
    theirs = T5Attention(config, has_relative_attention_bias=True)
    mine = RelativeBias(4, bidirectional=not is_decoder)
    mine.load_state_dict(theirs.relative_attention_bias.state_dict())
    found = mine(torch.arange(40), torch.arange(40))
    torch.testing.assert_close(found, theirs.compute_bias(40, 40)[0], rtol=0, atol=0)
