"""Model cards against transformers: the same parameters, component by component.

The models are built on the meta device, which knows shapes and holds no numbers, so that also 405
billion parameters take no memory.
"""

import contextlib
from typing import Any

import pytest
import torch
import transformers

import llmlib.architecture as arch
from llmlib.accounting import parameters
from llmlib.model_cards import CARDS
from llmlib.pretrained.huggingface import configure
from tests.folding import for_each
from tests.parity.components import grouped
from tests.parity.published import PUBLISHED

# The others stand in `published`, as their releases have them.
EXACT = [name for name, one in CARDS.items() if one.exact and name not in PUBLISHED]
# Public configurations that transformers has as the defaults of its own.
DEFAULTS = {
    "GPT-1": (transformers.OpenAIGPTConfig, transformers.OpenAIGPTLMHeadModel),
    "GPT-2": (transformers.GPT2Config, transformers.GPT2LMHeadModel),
    "BERT-base": (transformers.BertConfig, transformers.BertModel),
    "T5-small": (transformers.T5Config, transformers.T5ForConditionalGeneration),
    "BART-large": (transformers.BartConfig, transformers.BartForConditionalGeneration),
    "LLaMA-7B": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "Mistral-7B-v0.1": (transformers.MistralConfig, transformers.MistralForCausalLM),
    "Mixtral-8x7B-v0.1": (transformers.MixtralConfig, transformers.MixtralForCausalLM),
    "Gemma-7B": (transformers.GemmaConfig, transformers.GemmaForCausalLM),
}

ACTIVATIONS = {
    "silu": "swish",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}


# --- from a card to transformers' model ---------------------------------------------------------


def first(c: arch.ModelConfig) -> Any:
    """A model's first block."""
    return arch.layers(c.stack.runs)[0]


def width(block: Any) -> int:
    """The hidden width of a block, or of one of its experts."""
    part = getattr(block.feed_forward, "expert", block.feed_forward)
    return int(part.ffn_dim)


def rope_like(rope: arch.Rope | None) -> dict[str, Any]:
    """RoPE's base and how it is stretched."""
    if rope is None:
        return {}
    settings = {"rope_type": "default"} if rope.scaling is None else rope.scaling.settings()
    return {"rope_parameters": {"rope_theta": rope.base, **settings}}


def llama_like(c: arch.ModelConfig) -> dict[str, Any]:
    """Llama's names for a card's sizes, which Mistral, Qwen, Gemma and DeepSeek share."""
    return {
        "vocab_size": c.vocab_size,
        "hidden_size": c.dim,
        "num_hidden_layers": c.n_layers,
        "num_attention_heads": first(c).mixer.n_heads,
        "num_key_value_heads": getattr(first(c).mixer, "n_kv_heads", first(c).mixer.n_heads),
        "intermediate_size": width(first(c)),
        "max_position_embeddings": getattr(c.stack.positions, "rows", c.context),
        "tie_word_embeddings": c.tied,
        "rms_norm_eps": first(c).norm.eps,
        **rope_like(first(c).mixer.rope),
    }


def gpt_like(c: arch.ModelConfig) -> dict[str, Any]:
    """The names of GPT-1 and GPT-2."""
    return {
        "vocab_size": c.vocab_size,
        "n_embd": c.dim,
        "n_layer": c.n_layers,
        "n_head": first(c).mixer.n_heads,
        "n_positions": c.context,
    }


def gpt1(c: arch.ModelConfig) -> Any:
    """GPT-1."""
    return transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**gpt_like(c)))


def gpt2(c: arch.ModelConfig) -> Any:
    """GPT-2."""
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**gpt_like(c)))


def bloom(c: arch.ModelConfig) -> Any:
    """BLOOM."""
    config = transformers.BloomConfig(
        vocab_size=c.vocab_size,
        hidden_size=c.dim,
        n_layer=c.n_layers,
        n_head=first(c).mixer.n_heads,
    )
    return transformers.BloomForCausalLM(config)


def bert(c: arch.ModelConfig) -> Any:
    """BERT with its pooler."""
    config = transformers.BertConfig(**llama_like(c), type_vocab_size=c.segments)
    return transformers.BertModel(config)


def roberta(c: arch.ModelConfig) -> Any:
    """RoBERTa with a pooler."""
    config = transformers.RobertaConfig(**llama_like(c), type_vocab_size=c.segments)
    return transformers.RobertaModel(config)


def t5(c: arch.ModelConfig) -> Any:
    """T5."""
    config = transformers.T5Config(
        vocab_size=c.vocab_size,
        d_model=c.dim,
        d_kv=first(c).mixer.head_dim,
        d_ff=width(first(c)),
        num_layers=c.n_layers,
        num_heads=first(c).mixer.n_heads,
    )
    return transformers.T5ForConditionalGeneration(config)


def bart(c: arch.ModelConfig) -> Any:
    """BART; it adds two rows to the context itself."""
    block = first(c)
    heads, hidden = block.mixer.n_heads, width(block)
    sizes = {"layers": c.n_layers, "attention_heads": heads, "ffn_dim": hidden}
    stacks = {f"{one}_{name}": x for name, x in sizes.items() for one in ("encoder", "decoder")}
    config = transformers.BartConfig(
        vocab_size=c.vocab_size, d_model=c.dim, max_position_embeddings=c.context, **stacks
    )
    return transformers.BartForConditionalGeneration(config)


def llama(c: arch.ModelConfig) -> Any:
    """Llama and SmolLM2."""
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**llama_like(c)))


def mistral(c: arch.ModelConfig) -> Any:
    """Mistral."""
    return transformers.MistralForCausalLM(transformers.MistralConfig(**llama_like(c)))


def mixtral(c: arch.ModelConfig) -> Any:
    """Mixtral."""
    experts = first(c).feed_forward
    config = transformers.MixtralConfig(
        **llama_like(c),
        num_local_experts=experts.n_experts,
        num_experts_per_tok=experts.n_active,
    )
    return transformers.MixtralForCausalLM(config)


def qwen2(c: arch.ModelConfig) -> Any:
    """Qwen2."""
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**llama_like(c)))


def qwen3(c: arch.ModelConfig) -> Any:
    """Qwen3."""
    config = transformers.Qwen3Config(**llama_like(c), head_dim=first(c).mixer.head_dim)
    return transformers.Qwen3ForCausalLM(config)


def gemma(c: arch.ModelConfig) -> Any:
    """Gemma."""
    config = transformers.GemmaConfig(**llama_like(c), head_dim=first(c).mixer.head_dim)
    return transformers.GemmaForCausalLM(config)


def deepseek(c: arch.ModelConfig) -> Any:
    """DeepSeek-V2."""
    dense, sparse = c.stack.runs
    latent, experts = first(c).mixer, sparse.parts[0].feed_forward  # type: ignore[union-attr]
    config = transformers.DeepseekV2Config(
        **llama_like(c),
        kv_lora_rank=latent.kv_rank,
        q_lora_rank=latent.query_rank,
        qk_nope_head_dim=latent.plain_dim,
        qk_rope_head_dim=latent.rope_dim,
        v_head_dim=latent.value_dim,
        n_routed_experts=experts.n_experts,
        n_shared_experts=experts.n_shared,
        num_experts_per_tok=experts.n_active,
        moe_intermediate_size=experts.expert.ffn_dim,
        first_k_dense_replace=dense.times,
    )
    return transformers.DeepseekV2ForCausalLM(config)


BUILDERS = {
    "GPT-1": gpt1,
    "GPT-2": gpt2,
    "BLOOM": bloom,
    "BERT": bert,
    "RoBERTa": roberta,
    "T5": t5,
    "BART": bart,
    "LLaMA": llama,
    "Llama": llama,
    "SmolLM2": llama,
    "Mistral": mistral,
    "Mixtral": mixtral,
    "Qwen2": qwen2,
    "Qwen3": qwen3,
    "Gemma": gemma,
    "DeepSeek": deepseek,
}


def reference_model(name: str) -> torch.nn.Module:
    """The transformers model of a card, with no memory behind its weights."""
    build = next(build for line, build in BUILDERS.items() if name.startswith(line))
    with torch.device("meta"):
        model = build(CARDS[name].config)
    assert isinstance(model, torch.nn.Module)
    return model


# --- the tests --------------------------------------------------------------------------------


def test_every_card_with_public_weights_is_compared() -> None:
    assert len(EXACT) == 45
    assert all(name.startswith(tuple(BUILDERS)) for name in EXACT)


@for_each("name", EXACT)
def test_every_component_is_that_of_transformers(name: str) -> None:
    found = grouped(reference_model(name))
    assert sum(found.values()) == CARDS[name].published_parameters
    counted = parameters(CARDS[name].config).groups()
    assert {row: count for row, count in counted.items() if count} == found


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_of_transformers_are_the_card(name: str) -> None:
    config, model = DEFAULTS[name]
    with torch.device("meta"):
        built = model(config())
    assert grouped(built) == grouped(reference_model(name))


@pytest.mark.parametrize("name", DEFAULTS)
def test_choices_that_no_count_shows_are_the_card_too(name: str) -> None:
    """Activation, epsilon, RoPE's base, window, under the several names that transformers has."""
    given, c = DEFAULTS[name][0]().to_dict(), CARDS[name].config
    block = first(c)

    def known(*names: str) -> Any:
        return next((given[one] for one in names if one in given), None)

    activation = known("hidden_act", "activation_function", "dense_act_fn", "afn")
    part = getattr(block.feed_forward, "expert", block.feed_forward)
    # GPT-1's class has a table of its own, in which "gelu" is the approximation with tanh.
    assert part.activation == ("gelu_tanh" if name == "GPT-1" else ACTIVATIONS[activation])
    epsilon = known("layer_norm_epsilon", "layer_norm_eps", "rms_norm_eps")
    # Mistral's release has 1e-5 where the default of its class is Llama's.
    assert block.norm.eps == (1e-5 if name.startswith("Mistral") else epsilon or 1e-5)
    base = None if block.mixer.rope is None else block.mixer.rope.base
    assert base == (known("rope_parameters") or {}).get("rope_theta")
    assert block.mixer.window == known("sliding_window")
    assert c.tied == given["tie_word_embeddings"]


def loaded(name: str) -> Any:
    """What the library's loader makes of transformers' configuration; None for what it refuses."""
    given = reference_model(name).config.to_dict()  # type: ignore[operator, union-attr]
    with contextlib.suppress(KeyError, ValueError):
        return configure(given["model_type"], given)
    return None


def test_the_loader_describes_a_model_as_its_card_does() -> None:
    """Equal models have equal descriptions, whoever writes them down."""
    read = {name: loaded(name) for name in EXACT}
    assert {
        name for name, config in read.items() if config not in (None, CARDS[name].config)
    } == set()
    lines = ("GPT-2", "BLOOM", "LLaMA", "Llama", "SmolLM2", "Mistral", "Qwen2", "Qwen3")
    assert {name for name in EXACT if name.startswith(lines)} <= {
        name for name, config in read.items() if config is not None
    }
