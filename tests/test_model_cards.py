"""Model cards: consistent in themselves, and what transformers builds from their numbers."""

import dataclasses

import pytest
import torch

from llmlib.activations import ACTIVATIONS, FeedForward, GatedFeedForward, matched_ffn_dim
from llmlib.model_cards import CARDS, ModelConfig, card

BUILDABLE = [name for name, one in CARDS.items() if one.exact]


def reference_model(name: str, c: ModelConfig) -> torch.nn.Module:
    """The transformers model of a card, with no memory behind its weights."""
    t = pytest.importorskip("transformers")
    decoder = {
        "vocab_size": c.vocab_size,
        "hidden_size": c.dim,
        "num_hidden_layers": c.n_layers,
        "num_attention_heads": c.n_heads,
        "intermediate_size": c.ffn_dim,
        "max_position_embeddings": c.context,
    }
    gpt = {
        "vocab_size": c.vocab_size,
        "n_embd": c.dim,
        "n_layer": c.n_layers,
        "n_head": c.n_heads,
        "n_positions": c.context,
    }
    kv = {"num_key_value_heads": c.n_kv_heads, "tie_word_embeddings": c.tied}
    with torch.device("meta"):
        match name:
            case "GPT-1":
                return t.OpenAIGPTLMHeadModel(t.OpenAIGPTConfig(**gpt))
            case "GPT-2":
                return t.GPT2LMHeadModel(t.GPT2Config(**gpt))
            case "BERT-base":
                return t.BertModel(t.BertConfig(**decoder))
            case "LLaMA-7B":
                return t.LlamaForCausalLM(t.LlamaConfig(**decoder, **kv))
            case "Mistral-7B-v0.1":
                return t.MistralForCausalLM(t.MistralConfig(**decoder, **kv))
            case "Qwen2-7B":
                return t.Qwen2ForCausalLM(t.Qwen2Config(**decoder, **kv))
            case "T5-small":
                return t.T5ForConditionalGeneration(
                    t.T5Config(
                        vocab_size=c.vocab_size,
                        d_model=c.dim,
                        d_kv=c.head_dim,
                        d_ff=c.ffn_dim,
                        num_layers=c.n_layers,
                        num_heads=c.n_heads,
                        tie_word_embeddings=c.tied,
                    )
                )
    raise AssertionError(f"no reference model for {name}")


@pytest.mark.parametrize("name", BUILDABLE)
def test_transformers_counts_the_published_parameters(name: str) -> None:
    model = reference_model(name, CARDS[name].config)
    assert sum(p.numel() for p in model.parameters()) == CARDS[name].published_parameters


def parameters_by_hand(c: ModelConfig) -> int:
    """A decoder's total from its card: embeddings, blocks, final norm, head."""
    qkv_width = (c.n_heads + 2 * c.n_kv_heads) * c.head_dim
    attention = c.dim * qkv_width + c.n_heads * c.head_dim * c.dim
    attention += (c.bias or c.qkv_bias) * qkv_width + c.bias * c.dim
    norm = (2 if c.norm == "layer" else 1) * c.dim
    positions = c.context * c.dim if c.position == "learned" else 0
    final_norm = norm if c.norm_position == "pre" else 0
    embeddings = c.vocab_size * c.dim * (1 if c.tied else 2)
    blocks = c.n_layers * (attention + c.ffn_parameters + 2 * norm)
    return embeddings + positions + blocks + final_norm


@pytest.mark.parametrize("name", [n for n, one in CARDS.items() if one.config.family == "decoder"])
def test_fields_add_up_to_the_published_total(name: str) -> None:
    total = parameters_by_hand(CARDS[name].config)
    if CARDS[name].exact:
        assert total == CARDS[name].published_parameters
    else:
        assert total == 174_604_259_328  # the paper rounds this up to 175.0B


@pytest.mark.parametrize("name", CARDS)
def test_quoted_size_is_near_the_exact_count(name: str) -> None:
    number = CARDS[name].quoted
    value = float(number[:-1]) * {"M": 1e6, "B": 1e9}[number[-1]]
    # GPT-2's 117M (for 124M) and Qwen2's 7B (for 7.6B) are the farthest off.
    assert abs(value / CARDS[name].published_parameters - 1) < 0.085


@pytest.mark.parametrize("name", CARDS)
def test_card_is_consistent(name: str) -> None:
    one = CARDS[name]
    c = one.config
    assert one.name == name
    assert one.source
    assert c.n_heads % c.n_kv_heads == 0
    assert c.n_heads * c.head_dim == c.dim
    assert c.activation in ACTIVATIONS
    assert not (c.bias and c.qkv_bias)
    assert (c.rope_base is None) == (c.position != "rope")


@pytest.mark.parametrize("name", CARDS)
def test_ffn_parameters_are_those_of_the_block(name: str) -> None:
    c = CARDS[name].config
    block_class = GatedFeedForward if c.gated else FeedForward
    with torch.device("meta"):
        block = block_class(c.dim, c.ffn_dim, c.activation, c.bias)
    assert sum(p.numel() for p in block.parameters()) == c.ffn_parameters
    assert c.ffn_ratio == c.ffn_dim / c.dim


def test_llama_width_is_the_two_thirds_rule() -> None:
    c = card("LLaMA-7B").config
    assert c.ffn_dim == matched_ffn_dim(4 * c.dim, multiple_of=256)


def test_lookup_ignores_case_and_cards_are_frozen() -> None:
    assert card("llama-7b") is CARDS["LLaMA-7B"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        card("GPT-2").year = 2020  # type: ignore[misc]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "near"), [("LLaMA-8B", "LLaMA-7B"), ("gpt2", "GPT-2"), ("", "GPT-1")]
)
def test_unknown_name_lists_near_ones(name: str, near: str) -> None:
    with pytest.raises(ValueError, match=near):
        card(name)
