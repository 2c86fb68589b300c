"""The real model: SmolLM2-135M from its GGUF file against transformers with the same numbers."""

import gguf
import pytest
import torch
import transformers

import llmlib.architecture as arch
from llmlib.decoder import Decoder, generate
from llmlib.formats.gguf import GGUFFile
from llmlib.formats.packaged import smollm2_gguf
from llmlib.pretrained import smollm2

PROMPTS = [
    "The Shawshank",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n",
    "The capital of France is",
    "In the beginning God created the heaven and the earth.",
]
HF_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hf_name(name):
    """blk.3.attn_q.weight -> model.layers.3.self_attn.q_proj.weight"""
    *block, part, kind = name.split(".")
    layer = f"model.layers.{block[1]}." if block else ""
    return f"{layer}{HF_NAMES[part]}.{kind}"


def dequantized(file):
    """Every tensor as the gguf package turns it into numbers, under transformers' names.

    Its reader needs seconds for the tokenizer, so the bytes are found by our own table; the rows of
    queries and keys are put in order by a formula of its own kind: by numpy's swapaxes.
    """
    raw, found = bytearray(file.path.read_bytes()), {}
    for name, entry in file.entries.items():
        kind = gguf.GGMLQuantizationType(entry.kind)
        block, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        rows, width = entry.shape if len(entry.shape) == 2 else (1, *entry.shape)
        stored = torch.frombuffer(
            raw, dtype=torch.uint8, offset=entry.start, count=rows * width // block * n_bytes
        ).numpy()
        x = gguf.dequantize(stored.reshape(rows, -1), kind).reshape(entry.shape)
        if "attn_q." in name or "attn_k." in name:
            heads = 9 if "attn_q." in name else 3
            x = x.reshape(heads, 32, 2, width).swapaxes(1, 2).reshape(entry.shape)
        found[hf_name(name)] = torch.from_numpy(x.copy())
    return found


@pytest.fixture(scope="module")
def ours():
    return smollm2()


@pytest.fixture(scope="module")
def theirs():
    """transformers' Llama in the shape that SmolLM2's card gives, with the same numbers."""
    config = transformers.LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
        rms_norm_eps=1e-5, tie_word_embeddings=True, eos_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    weights = dequantized(GGUFFile(smollm2_gguf()))
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    # What is no weight was left without memory.
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model.eval()


def test_number_of_parameters(ours):
    assert sum(p.numel() for p in ours[0].parameters()) == 134_515_008


@torch.no_grad()
def test_logits_of_100_tokens_equal_transformers(ours, theirs):
    model, tokenizer = ours
    text = " ".join(PROMPTS) * 4
    ids = torch.tensor([tokenizer.encode(text)[:100]])
    assert ids.shape == (1, 100)
    difference = (model(ids) - theirs(ids).logits).abs().max()
    assert difference <= 1e-3


@torch.no_grad()
def test_rows_left_permuted_would_be_seen(ours):
    """The trap: a model with GGUF's row order still answers short prompts as if it were right."""
    model, tokenizer = ours
    ids = torch.tensor([tokenizer.encode(PROMPTS[4])])
    right = model(ids)
    # The other way to mix up the pairs.
    config = arch.changed(model.config, arch.Rope, layout="interleaved")
    with torch.device("meta"):
        mixed = Decoder(config).eval()
    mixed.load_state_dict(model.state_dict(), assign=True)
    assert (right - mixed(ids)).abs().max() > 1


@torch.no_grad()
def test_greedy_continuations_equal_transformers(ours, theirs):
    """transformers' best token after every prefix of ours is ours: so it would go the same way.

    Ours are written as one batch, padded on the left; transformers reads each text alone.
    """
    model, tokenizer = ours
    texts = [tokenizer.encode(prompt) for prompt in PROMPTS]
    longest = max(map(len, texts))
    ids = torch.tensor([[0] * (longest - len(text)) + text for text in texts])
    mask = torch.tensor([[0] * (longest - len(text)) + [1] * len(text) for text in texts])
    found = torch.stack(list(generate(model, ids, 24, attention_mask=mask)), 1).tolist()
    for text, written in zip(texts, found, strict=True):
        logits = theirs(torch.tensor([text + written])).logits[0]
        assert logits[len(text) - 1 : -1].argmax(-1).tolist() == written, tokenizer.decode(text)


@torch.no_grad()
def test_one_continuation_by_transformers_own_loop(ours, theirs):
    model, tokenizer = ours
    ids = tokenizer.encode(PROMPTS[1])
    expected = theirs.generate(
        torch.tensor([ids]), max_new_tokens=24, do_sample=False, pad_token_id=0
    )[0, len(ids) :].tolist()
    assert list(generate(model, ids, 24)) == expected


def test_the_shawshank_redemption(ours):
    model, tokenizer = ours
    ids = generate(model, tokenizer.encode("The Shawshank"), 2)
    assert tokenizer.decode(list(ids)) == " Redemption"
