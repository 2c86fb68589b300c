"""What the families of Hugging Face models share: their description, and how settings become one.

A family has a file of its own, or shares that of its line of models: the table of its settings to
lay beside config.json, the description that follows from them, and the table of its names to lay
beside the folder. The defaults are those of transformers' class.

Whatever a family calls them, settings are read under Llama's names: a table says that "n_embd" is
another name of "hidden_size".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import llmlib.architecture as arch
from llmlib.pretrained.everywhere import EVERYWHERE
from llmlib.pretrained.names import Names
from llmlib.pretrained.rope_settings import reach
from llmlib.pretrained.settings import FLAG, POSITIVE, SIZE, TEXT, Settings, Table
from llmlib.sizes import check_even

HEAD = r"(lm_head|embed_out)\.weight"


@dataclass(frozen=True)
class Family:
    """How one model type of Hugging Face becomes a model."""

    settings: Table
    configure: Callable[[Settings], arch.ModelConfig]
    names: Names | Callable[[arch.ModelConfig], Names]
    prefix: str = "model."  # before the names of all tensors but the head's, if there is a head
    no_weights: Mapping[str, str] = field(default_factory=dict)  # pattern of a name -> why not
    other_head: str | None = None  # another name of the head
    copies: Mapping[str, str] = field(default_factory=dict)  # a second name -> the first
    has: Mapping[str, str] = field(default_factory=lambda: {"head": HEAD})
    """What some folders have -> pattern of a tensor that tells: "has pooler" becomes a setting."""
    outer: Table | None = None  # keys around text_config, where the settings of the text lie there

    def names_of(self, config: arch.ModelConfig) -> Names:
        """The table of names, which may depend on what the model has."""
        return self.names(config) if callable(self.names) else self.names


ANGLES = {
    r"(\w+\.)?(layers\.\d+\.(self_attn|attention)\.)?rotary_emb\.inv_freq": (
        "RoPE's angles, which follow from the settings"
    ),
}

DECODER: Table = {
    **EVERYWHERE,
    "vocab_size": SIZE(),
    "hidden_size": SIZE(),
    "intermediate_size": SIZE(),
    "num_hidden_layers": SIZE(),
    "num_attention_heads": SIZE(),
    "num_key_value_heads": SIZE(None, null=True),  # None: as many as attention heads
    "head_dim": SIZE(None),  # None: hidden_size / num_attention_heads
    "hidden_act": TEXT("silu"),
    "rms_norm_eps": POSITIVE(1e-6),
    "tie_word_embeddings": FLAG(False),
    "is_causal": FLAG(True),  # False: a decoder that was made an encoder, to embed texts
}
"""Keys of most families since Llama."""


def without(*keys: str) -> Table:
    """Keys of a family that lacks some of these."""
    return {key: entry for key, entry in DECODER.items() if key not in keys}


# --- from settings to descriptions ------------------------------------------------------------


def heads(settings: Settings) -> tuple[int, int, int]:
    """Query heads, key/value heads and their width.

    Raises:
        ValueError: numbers that do not divide.
    """
    n_heads, dim = settings["num_attention_heads"], settings["hidden_size"]
    n_kv_heads = settings.get("num_key_value_heads") or n_heads
    if n_heads % n_kv_heads:
        raise ValueError(
            f"num_key_value_heads is {n_kv_heads}, expected a divisor of num_attention_heads, "
            f"{n_heads}"
        )
    head_dim = settings.get("head_dim")
    if head_dim is None and dim % n_heads:
        raise ValueError(
            f"hidden_size is {dim}, expected a multiple of num_attention_heads, {n_heads}"
        )
    return n_heads, n_kv_heads, head_dim or dim // n_heads


def attention(settings: Settings, rope: arch.Rope | None, **changes: Any) -> arch.Attention:
    """Llama's; in `changes` what a relative does differently."""
    n_heads, n_kv_heads, head_dim = heads(settings)
    if rope is not None:
        what = "head_dim (or hidden_size / num_attention_heads)"
        if rope.share < 1:
            what += f" times partial_rotary_factor (in rope_parameters or not), {rope.share},"
        check_even(what, rope.turned(head_dim), "RoPE rotates pairs")
    biases = bool(settings.get("attention_bias"))
    fields: dict[str, Any] = {"qkv_bias": biases, "out_bias": biases}
    return arch.Attention(n_heads, n_kv_heads, head_dim, rope, **{**fields, **changes})


def feed_forward(settings: Settings, **changes: Any) -> arch.FeedForward:
    """Llama's: a gate, biases as mlp_bias says."""
    fields: dict[str, Any] = {"bias": bool(settings.get("mlp_bias"))}
    if "activation" not in changes:
        fields["activation"] = activation(settings, "hidden_act")
    ffn_dim = settings.get("intermediate_size") or 4 * settings["hidden_size"]
    return arch.FeedForward(ffn_dim, **{**fields, **changes})


def rms(settings: Settings, **changes: Any) -> arch.Norm:
    """RMSNorm with the eps of the settings."""
    return arch.Norm("rms", settings["rms_norm_eps"], **changes)


def model(
    settings: Settings, blocks: Sequence[arch.Block], context: int | None = None, **changes: Any
) -> arch.ModelConfig:
    """A decoder of these layers, which ends in their norm.

    Args:
        settings: for the widths.
        blocks: layer by layer.
        context: positions that it may see; None: those that max_position_embeddings and the
            layers' RoPE say.
        changes: of the stack or of the model.
    """
    if context is None:
        longest = settings["max_position_embeddings"]
        context = max(reach(longest, getattr(block.mixer, "rope", None)) for block in set(blocks))
    of_stack = {name: changes.pop(name) for name in ("positions", "first_norm") if name in changes}
    causal = settings.get("is_causal", True)
    if not causal:
        blocks = [_on_both_sides(block) for block in blocks]
        scored = settings["tie_word_embeddings"] or settings["has head"]
        changes["head"] = "tokens" if scored else "none"
    return arch.ModelConfig(
        settings["hidden_size"],
        settings["vocab_size"],
        context,
        arch.Stack(arch.runs_of(blocks), last_norm=blocks[-1].norm, causal=causal, **of_stack),
        tied=settings["tie_word_embeddings"],
        **changes,
    )


def _on_both_sides(block: arch.Block) -> arch.Block:
    """A window without a causal mask: sliding_window keys on either side, and the token itself."""
    window = getattr(block.mixer, "window", None)
    return block if window is None else arch.changed(block, arch.Attention, window=window + 1)


_ACTIVATIONS: dict[str, arch.Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "swish",
    "swish": "swish",
}


def activation(settings: Settings, key: str) -> arch.Activation:
    """The library's name of an activation."""
    name = settings[key]
    if name not in _ACTIVATIONS:
        raise ValueError(f"{key} is {name!r}, expected one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


# --- windows in some layers -------------------------------------------------------------------

WINDOW, FULL = "sliding_attention", "full_attention"


def layer_kinds(settings: Settings, usual: Callable[[int], bool]) -> list[str]:
    """WINDOW or FULL for each layer: layer_types, or where it is null, WINDOW where usual says so.

    Raises:
        ValueError: another kind of layer, or another number of layers.
    """
    layers, kinds = settings["num_hidden_layers"], settings["layer_types"]
    if kinds is None:
        return [WINDOW if usual(i) else FULL for i in range(layers)]
    if len(kinds) != layers or set(kinds) - {WINDOW, FULL}:
        raise ValueError(
            f"layer_types is {kinds}, expected {WINDOW} or {FULL} for each of the {layers} layers "
            "(num_hidden_layers)"
        )
    return list(kinds)


def windows(settings: Settings, kinds: Sequence[str], on: bool = True) -> list[int | None]:
    """The window of each layer, None where a layer has none.

    Args:
        settings: with sliding_window.
        kinds: of `layer_kinds`.
        on: False where use_sliding_window says that there are none.

    Raises:
        ValueError: a layer with a window, and no window.
    """
    window = settings["sliding_window"]
    if WINDOW in kinds and not (on and window):
        named = ("layer_types", "sliding_window", "use_sliding_window")
        found = {key: settings[key] for key in named if key in settings}
        raise ValueError(
            f"{found} gives layers a window, expected a sliding_window above 0, and in layer_types "
            f"{FULL} alone where there is none"
        )
    return [window if kind == WINDOW else None for kind in kinds]
