"""Models from Hugging Face folders: config.json and *.safetensors, whole or in shards.

For each model type there are two functions: one turns the configuration into a `DecoderConfig`, the
other says which stored tensor becomes which parameter. A setting that the decoder does not have
raises; nothing is passed over in silence.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llmlib.attention import LatentSizes
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.position_encoding import rope_type
from llmlib.pretrained.assemble import Rule, assemble
from llmlib.pretrained.safetensors_files import SafetensorsFiles

Settings = dict[str, Any]


def load(folder: str | Path, dtype: torch.dtype = torch.float32) -> Decoder:
    """The model of a Hugging Face folder, its weights read from safetensors and never unpickled.

    Args:
        folder: holds config.json and model.safetensors, or shards with their index.
        dtype: type of the weights in memory.

    Returns:
        The model in evaluation mode.

    Raises:
        FileNotFoundError: the folder, its config.json or its weights are not there.
        ValueError: an unknown model_type, a setting that the models here do not have, files that
            are damaged or cut off, tensors that are missing, left over or of another shape.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: expected a folder with a model")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind not in FAMILIES:
        raise ValueError(f"{path}: model_type is {kind!r}, expected one of {', '.join(FAMILIES)}")
    configure, rules = FAMILIES[kind]
    try:
        _refuse(settings, quantization_config=None, add_cross_attention=False)
        config = configure(settings)
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    files = SafetensorsFiles(Path(folder))
    prefix = _prefix(files, "model." if kind not in ("gpt2", "bloom") else "transformer.")
    return assemble(config, files, rules(config, prefix), _no_weight(config), dtype)


def _prefix(files: SafetensorsFiles, prefix: str) -> str:
    """Folders of a model without its head, such as the first GPT-2's, leave the prefix out."""
    return prefix if any(name.startswith(prefix) for name in files.shapes) else ""


def _no_weight(config: DecoderConfig) -> Callable[[str], bool]:
    """Tensors that folders hold beside the weights: masks, RoPE's angles, a tied head's copy."""
    ends = (".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq")
    return lambda name: name.endswith(ends) or (config.tied and name == "lm_head.weight")


def _refuse(settings: Settings, **harmless: Any) -> None:
    """ValueError for a setting that is there and differs from what the decoder does anyway."""
    for name, value in harmless.items():
        found = settings.get(name)
        if found is not None and found != value:
            raise ValueError(f"{name} is {found!r}, expected {value!r}: nothing else is supported")


_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "swish",
    "swish": "swish",
}


def _activation(name: str) -> str:
    if name not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise ValueError(f"the activation is {name!r}, expected one of {known}")
    return _ACTIVATIONS[name]


# --- GPT-2 ------------------------------------------------------------------------------------


def _gpt2_config(settings: Settings) -> DecoderConfig:
    _refuse(settings, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False)
    return DecoderConfig(
        vocab_size=settings["vocab_size"],
        dim=settings["n_embd"],
        n_layers=settings["n_layer"],
        n_heads=settings["n_head"],
        ffn_dim=settings.get("n_inner"),
        context=settings["n_positions"],
        norm="layer",
        norm_eps=settings.get("layer_norm_epsilon", 1e-5),
        activation=_activation(settings.get("activation_function", "gelu_new")),
        gated=False,
        bias=True,
        position="learned",
        tied=settings.get("tie_word_embeddings", True),
    )


def _gpt2_rules(config: DecoderConfig, prefix: str) -> list[Rule]:
    """GPT-2 stores its projections transposed, and those of queries, keys and values as one."""
    rules = [
        Rule("embedding.weight", f"{prefix}wte.weight"),
        Rule("positions.weight", f"{prefix}wpe.weight"),
        *_both("norm", f"{prefix}ln_f"),
    ]
    for i in range(config.n_layers):
        block, stored = f"blocks.{i}", f"{prefix}h.{i}"
        for n, name in enumerate(("query", "key", "value")):
            parameter, tensor = f"{block}.attention.sublayer.{name}", f"{stored}.attn.c_attn"
            # Cut, then transposed: columns of the stored matrix are rows of ours.
            rules += [
                Rule(f"{parameter}.weight", f"{tensor}.weight", partial(_third_transposed, n=n)),
                Rule(f"{parameter}.bias", f"{tensor}.bias", partial(_third, n=n)),
            ]
        for parameter, tensor in (
            ("attention.sublayer.output", "attn.c_proj"),
            ("feed_forward.sublayer.up", "mlp.c_fc"),
            ("feed_forward.sublayer.down", "mlp.c_proj"),
        ):
            weight = f"{stored}.{tensor}.weight"
            rules.append(Rule(f"{block}.{parameter}.weight", weight, lambda x: x.T))
            rules.append(Rule(f"{block}.{parameter}.bias", f"{stored}.{tensor}.bias"))
        rules += _both(f"{block}.attention.norm", f"{stored}.ln_1")
        rules += _both(f"{block}.feed_forward.norm", f"{stored}.ln_2")
    return rules + _head(config)


def _third(x: torch.Tensor, n: int) -> torch.Tensor:
    return x.unflatten(-1, (3, -1)).select(-2, n)


def _third_transposed(x: torch.Tensor, n: int) -> torch.Tensor:
    return _third(x, n).T


def _both(parameter: str, tensor: str, bias: bool = True) -> list[Rule]:
    """The rules of a weight and, where there is one, its bias."""
    names = ("weight", "bias") if bias else ("weight",)
    return [Rule(f"{parameter}.{name}", f"{tensor}.{name}") for name in names]


def _head(config: DecoderConfig) -> list[Rule]:
    return [] if config.tied else [Rule("output.weight", "lm_head.weight")]


# --- Llama and its relatives ------------------------------------------------------------------


def _llama_config(settings: Settings, **changes: Any) -> DecoderConfig:
    """Llama's; in `changes` what a relative does differently."""
    base, scaling = _rope(settings)
    heads = settings["num_attention_heads"]
    biases = bool(settings.get("attention_bias", False))
    fields: dict[str, Any] = {
        "vocab_size": settings["vocab_size"],
        "dim": settings["hidden_size"],
        "n_layers": settings["num_hidden_layers"],
        "n_heads": heads,
        "n_kv_heads": settings.get("num_key_value_heads") or heads,
        "head_dim": settings.get("head_dim") or settings["hidden_size"] // heads,
        "ffn_dim": settings["intermediate_size"],
        "context": settings["max_position_embeddings"],
        "norm": "rms",
        "norm_eps": settings.get("rms_norm_eps", 1e-6),
        "activation": _activation(settings.get("hidden_act", "silu")),
        "gated": True,
        "qkv_bias": biases,
        "out_bias": biases,
        "ffn_bias": bool(settings.get("mlp_bias", False)),
        "position": "rope",
        "rope_base": base,
        "rope_scaling": scaling,
        "tied": settings.get("tie_word_embeddings", False),
    }
    return DecoderConfig(**{**fields, **changes})


def _mistral_config(settings: Settings) -> DecoderConfig:
    kv_heads = settings.get("num_key_value_heads", 8)
    window = settings.get("sliding_window", 4096)  # Hugging Face's default; null is no window
    return _llama_config({**settings, "num_key_value_heads": kv_heads}, window=window)


def _qwen2_config(settings: Settings) -> DecoderConfig:
    biases = {"qkv_bias": True, "out_bias": False}
    return _llama_config(settings, window=_qwen_window(settings), **biases)


def _qwen3_config(settings: Settings) -> DecoderConfig:
    head_dim = settings.get("head_dim", 128)
    return _llama_config(
        {**settings, "head_dim": head_dim}, window=_qwen_window(settings), qk_norm=True
    )


def _qwen_window(settings: Settings) -> int | None:
    """The window of all layers; Qwen's configurations may give one to some layers only."""
    window, layers = settings.get("sliding_window"), settings["num_hidden_layers"]
    if not settings.get("use_sliding_window") or window is None:
        return None
    first = settings.get("max_window_layers", 28)
    kinds = settings.get("layer_types") or [
        "sliding_attention" if i >= first else "full_attention" for i in range(layers)
    ]
    if len(set(kinds)) > 1:
        raise ValueError("some layers have a window and others none: that is not supported")
    return int(window) if kinds[0] == "sliding_attention" else None


def _rope(settings: Settings) -> tuple[float, dict[str, Any] | None]:
    """RoPE's base and scaling, as transformers 5 (rope_parameters) or 4 writes them."""
    scaling = dict(settings.get("rope_parameters") or settings.get("rope_scaling") or {})
    base = float(scaling.pop("rope_theta", settings.get("rope_theta", 10_000.0)))
    share = scaling.pop("partial_rotary_factor", settings.get("partial_rotary_factor"))
    _refuse({"partial_rotary_factor": share}, partial_rotary_factor=1.0)
    kind = rope_type(scaling or None)
    if kind == "default":
        return base, None
    if kind in ("llama3", "yarn"):
        length = "original_max_position_embeddings"
        context = settings["max_position_embeddings"]
        scaling[length] = settings.get(length) or scaling.get(length) or context
        if scaling.get("factor") is None:
            scaling["factor"] = context / scaling[length]
    return base, scaling


def _llama_rules(config: DecoderConfig, prefix: str) -> list[Rule]:
    rules = _around_attention(config, prefix)
    for i in range(config.n_layers):
        attention, stored = f"blocks.{i}.attention.sublayer", f"{prefix}layers.{i}"
        for name, short in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "o")):
            bias = bool(config.out_bias if name == "output" else config.qkv_bias)
            rules += _both(f"{attention}.{name}", f"{stored}.self_attn.{short}_proj", bias)
            if config.qk_norm and name in ("query", "key"):
                norm = f"{stored}.self_attn.{short}_norm.weight"
                rules.append(Rule(f"{attention}.{name}_norm.weight", norm))
    return rules


def _around_attention(config: DecoderConfig, prefix: str) -> list[Rule]:
    """The rules of everything else: embedding, norms, feed-forward blocks, head."""
    rules = [
        Rule("embedding.weight", f"{prefix}embed_tokens.weight"),
        Rule("norm.weight", f"{prefix}norm.weight"),
    ]
    for i in range(config.n_layers):
        stored, feed_forward = f"{prefix}layers.{i}", f"blocks.{i}.feed_forward.sublayer"
        for name in ("gate", "up", "down"):
            tensor = f"{stored}.mlp.{name}_proj"
            rules += _both(f"{feed_forward}.{name}", tensor, bool(config.ffn_bias))
        for name, norm in (
            ("attention", "input_layernorm"),
            ("feed_forward", "post_attention_layernorm"),
        ):
            rules.append(Rule(f"blocks.{i}.{name}.norm.weight", f"{stored}.{norm}.weight"))
    return rules + _head(config)


# --- DeepSeek-V2 ------------------------------------------------------------------------------


def _deepseek_config(settings: Settings) -> DecoderConfig:
    """Latent attention and dense feed-forward blocks; a mixture of experts is not supported."""
    layers, dense = settings["num_hidden_layers"], settings.get("first_k_dense_replace") or 0
    if settings.get("n_routed_experts", 64) and dense < layers:
        raise ValueError(
            f"layers from {dense} on (first_k_dense_replace) have routed experts, expected dense "
            f"layers alone: first_k_dense_replace {layers} or more, or n_routed_experts null"
        )
    sizes = LatentSizes(
        kv_rank=settings.get("kv_lora_rank", 512),
        rope_dim=settings.get("qk_rope_head_dim", 64),
        plain_dim=settings.get("qk_nope_head_dim", 128),
        value_dim=settings.get("v_head_dim", 128),
        query_rank=settings.get("q_lora_rank", 1536),
    )
    plain = {**settings, "num_key_value_heads": None, "head_dim": sizes.head_dim}
    return _llama_config(plain, latent=sizes, rope_layout="interleaved")


def _deepseek_rules(config: DecoderConfig, prefix: str) -> list[Rule]:
    """DeepSeek stores latent and rotated key as one matrix, and what expands the latent by head."""
    rules, sizes = _around_attention(config, prefix), config.latent
    assert sizes is not None
    inner, outer = bool(config.qkv_bias), bool(config.out_bias)
    for i in range(config.n_layers):
        mine, stored = f"blocks.{i}.attention.sublayer", f"{prefix}layers.{i}.self_attn"
        if sizes.query_rank is None:
            rules += _both(f"{mine}.query", f"{stored}.q_proj", bias=False)
        else:
            rules += _both(f"{mine}.query_down", f"{stored}.q_a_proj", inner)
            rules += _both(f"{mine}.query_norm", f"{stored}.q_a_layernorm", bias=False)
            rules += _both(f"{mine}.query", f"{stored}.q_b_proj", bias=False)
        rules += _both(f"{mine}.latent_norm", f"{stored}.kv_a_layernorm", bias=False)
        rules += _both(f"{mine}.output", f"{stored}.o_proj", outer)
        for name, begin, end in (("latent", 0, sizes.kv_rank), ("rope_key", sizes.kv_rank, None)):
            part = partial(_rows, n_heads=1, begin=begin, end=end)
            for rule in _both(f"{mine}.{name}", f"{stored}.kv_a_proj_with_mqa", inner):
                rules.append(Rule(rule.parameter, rule.tensor, part))
        for name, begin, end in (("key", 0, sizes.plain_dim), ("value", sizes.plain_dim, None)):
            part = partial(_rows, n_heads=config.n_heads, begin=begin, end=end)
            rules.append(Rule(f"{mine}.{name}_up.weight", f"{stored}.kv_b_proj.weight", part))
    return rules


def _rows(x: torch.Tensor, n_heads: int, begin: int, end: int | None) -> torch.Tensor:
    """Some rows of each head's."""
    return x.unflatten(0, (n_heads, -1))[:, begin:end].flatten(0, 1)


# --- BLOOM ------------------------------------------------------------------------------------


def _bloom_config(settings: Settings) -> DecoderConfig:
    _refuse(settings, apply_residual_connection_post_layernorm=False)
    return DecoderConfig(
        vocab_size=settings["vocab_size"],
        dim=settings["hidden_size"] if "hidden_size" in settings else settings["n_embed"],
        n_layers=settings["n_layer"],
        n_heads=settings["n_head"] if "n_head" in settings else settings["num_attention_heads"],
        context=settings.get("seq_length") or 2048,  # trained with 2048; ALiBi sets no limit
        norm="layer",
        norm_eps=settings.get("layer_norm_epsilon", 1e-5),
        activation="gelu_tanh",
        gated=False,
        bias=True,
        position="alibi",
        tied=settings.get("tie_word_embeddings", True),
        embedding_norm=True,
    )


def _bloom_rules(config: DecoderConfig, prefix: str) -> list[Rule]:
    """BLOOM stores queries, keys and values as one matrix, head by head."""
    rules = [
        Rule("embedding.weight", f"{prefix}word_embeddings.weight"),
        *_both("embedding_norm", f"{prefix}word_embeddings_layernorm"),
        *_both("norm", f"{prefix}ln_f"),
    ]
    for i in range(config.n_layers):
        block, stored = f"blocks.{i}", f"{prefix}h.{i}"
        for n, name in enumerate(("query", "key", "value")):
            for kind in ("weight", "bias"):
                parameter = f"{block}.attention.sublayer.{name}.{kind}"
                tensor = f"{stored}.self_attention.query_key_value.{kind}"
                rules.append(
                    Rule(parameter, tensor, partial(_of_each_head, n_heads=config.n_heads, n=n))
                )
        for parameter, tensor in (
            ("attention.sublayer.output", "self_attention.dense"),
            ("feed_forward.sublayer.up", "mlp.dense_h_to_4h"),
            ("feed_forward.sublayer.down", "mlp.dense_4h_to_h"),
            ("attention.norm", "input_layernorm"),
            ("feed_forward.norm", "post_attention_layernorm"),
        ):
            rules += _both(f"{block}.{parameter}", f"{stored}.{tensor}")
    return rules + _head(config)


def _of_each_head(x: torch.Tensor, n_heads: int, n: int) -> torch.Tensor:
    """Rows lie as (head, query | key | value, head_dim): those of query, key or value."""
    return x.unflatten(0, (n_heads, 3, -1))[:, n].flatten(0, 1)


FAMILIES: dict[
    str,
    tuple[Callable[[Settings], DecoderConfig], Callable[[DecoderConfig, str], list[Rule]]],
] = {
    "gpt2": (_gpt2_config, _gpt2_rules),
    "llama": (_llama_config, _llama_rules),
    "mistral": (_mistral_config, _llama_rules),
    "qwen2": (_qwen2_config, _llama_rules),
    "qwen3": (_qwen3_config, _llama_rules),
    "bloom": (_bloom_config, _bloom_rules),
    "deepseek_v2": (_deepseek_config, _deepseek_rules),
}
