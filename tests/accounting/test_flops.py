"""FLOPs of llmlib.accounting: what PyTorch's counter sees on the reference path, and the formulas.

The counter sees matrix products only, and not all of them: nothing in `torch.mv`, in worker threads
or in causal fused attention on a CPU. So attention is the written-out formula here.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.checkpoint import set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

import llmlib.architecture as arch
from llmlib.accounting import (
    LETTERS,
    SWITCHES,
    forward_flops,
    in_letters,
    parameters,
    training_flops,
    visible_pairs,
)
from llmlib.attention import LatentAttention, visible_keys
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.kv_cache import KVCache, LatentKVCache, RollingKVCache
from llmlib.model_cards import card
from llmlib.model_cards.encoder_decoders import t5
from llmlib.model_cards.encoders import bert
from tests.accounting.numbers import numbers_of
from tests.accounting.test_parameters import OTHERS
from tests.folding import for_each
from tests.training_peak import checkpoint_blocks


def counted(run: Callable[[], Any]) -> int:
    """The FLOPs of the matrix products that PyTorch's counter sees."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def config(**changes: Any) -> arch.ModelConfig:
    """Sizes of which no two are equal, so that mixed-up letters show."""
    sizes = {"vocab_size": 97, "dim": 24, "n_layers": 3, "n_heads": 6, "ffn_dim": 40}
    return DecoderConfig(**{**sizes, "context": 64, **changes})


def built(c: arch.ModelConfig) -> Decoder:
    """The model, its attention written out."""
    return Decoder(c, engine="reference")


def ids(batch: int, seq: int) -> torch.Tensor:
    return torch.arange(batch * seq).reshape(batch, seq) % 97


GPT2 = {"norm": "layer", "activation": "gelu_tanh", "gated": False, "bias": True,
        "position": "learned"}  # fmt: skip
LATENT = arch.Latent(6, kv_rank=14, rope_dim=4, plain_dim=6, value_dim=5)
LATENT_QUERIES = arch.Latent(6, 10, 2, 8, 7, query_rank=9)
SETTINGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama, untied": {"tied": False},
    "grouped": {"n_kv_heads": 2},
    "multi-query": {"n_kv_heads": 1, "tied": False},
    "head_dim beside dim": {"n_kv_heads": 3, "head_dim": 10},
    "one head": {"n_heads": 1, "head_dim": 14},
    "gpt2": GPT2,
    "gpt1": {**GPT2, "norm_position": "post"},
    "gpt2, gated": {**GPT2, "gated": True},
    "llama, not gated": {"gated": False, "ffn_dim": 96},
    "bloom": {**GPT2, "position": "alibi", "embedding_norm": True},
    "mistral": {"n_kv_heads": 2, "window": 4},
    "alibi with a window": {"position": "alibi", "window": 3},
    "qwen2": {"qkv_bias": True, "n_kv_heads": 2, "tied": False},
    "qwen3": {"qk_norm": True, "n_kv_heads": 2, "head_dim": 10},
    "no positions": {"position": "none"},
    "latent": {"latent": LATENT},
    "latent queries": {"latent": LATENT_QUERIES, "tied": False},
    "latent, not gated": {"latent": LATENT, "gated": False, "ffn_dim": 96},
    "window that sees all": {"n_kv_heads": 3, "window": 64, "tied": False},
}
every_setting = for_each("changes", SETTINGS.values(), ids=SETTINGS)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """Products that worker threads compute are not counted."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- against PyTorch's counter ----------------------------------------------------------------


@every_setting
@for_each(("batch", "seq"), [(1, 11), (2, 16), (3, 1)])
def test_prompt(changes: dict[str, Any], batch: int, seq: int) -> None:
    c = config(**changes)
    model, x = built(c).eval(), ids(batch, seq)
    with torch.no_grad():
        assert counted(lambda: model(x)) == forward_flops(c, batch, seq).total
        last = forward_flops(c, batch, seq, logits="last")
        assert counted(lambda: model(x, last_only=True)) == last.total
    assert last["head"] * seq == forward_flops(c, batch, seq)["head"]


def latent_layer(z: arch.Latent, **options: Any) -> LatentAttention:
    """The module of a description."""
    sizes = (z.n_heads, z.kv_rank, z.rope_dim, z.plain_dim, z.value_dim, z.query_rank)
    return LatentAttention(24, *sizes, **options)


def order_of(c: arch.ModelConfig, seq: int) -> Any:
    """Which order of latent attention a model with a cache takes."""
    if not isinstance(c.block.mixer, arch.Latent):
        return "expanded"
    return "absorbed" if latent_layer(c.block.mixer).absorbing_is_cheaper(seq) else "expanded"


@every_setting
@for_each(("batch", "past", "seq"), [(1, 9, 1), (2, 12, 1), (2, 7, 5)])
def test_after_a_cache(changes: dict[str, Any], batch: int, past: int, seq: int) -> None:
    c = config(**changes)
    model, x = built(c).eval(), ids(batch, past + seq)
    cache = LatentKVCache() if isinstance(c.block.mixer, arch.Latent) else KVCache()
    with torch.no_grad():
        model(x[:, :past], cache)
        found = counted(lambda: model(x[:, past:], cache))
    expected = forward_flops(c, batch, seq, past=past, order=order_of(c, seq))
    assert found == expected.total


@for_each("latent", [LATENT, LATENT_QUERIES], ids=["full", "compressed queries"])
@for_each("order", ["expanded", "absorbed"])
@for_each(("past", "seq"), [(0, 13), (8, 5), (8, 1)])
def test_latent_attention_in_both_orders(
    latent: arch.Latent, order: Any, past: int, seq: int
) -> None:
    c = config(latent=latent)
    module = latent_layer(latent, causal=True, engine="reference").eval()
    cache, x = LatentKVCache().layer(0), torch.randn(2, past + seq, 24)
    with torch.no_grad():
        if past:
            module(x[:, :past], cache=cache)
        found = counted(lambda: module(x[:, past:], cache=cache, absorbed=order == "absorbed"))
    expected = forward_flops(c, 2, seq, past=past, order=order)["attention"]
    assert found * c.n_layers == expected


def test_rolling_cache_computes_visible_pairs_only() -> None:
    c = config(window=4, n_kv_heads=2)
    model, x, cache = built(c).eval(), ids(2, 10), RollingKVCache(4)
    for past in range(10):
        with torch.no_grad():
            found = counted(lambda: model(x[:, past : past + 1], cache))  # noqa: B023
        assert found == forward_flops(c, 2, 1, past=past, pairs="visible").total


def test_decode_step_is_the_slope_of_the_visible_pairs() -> None:
    """Prompt and steps, visible pairs alone, are the same work in another order."""
    c = config(n_kv_heads=3)
    steps = sum(forward_flops(c, 2, 1, past=p, pairs="visible").total for p in range(12))
    assert steps == forward_flops(c, 2, 12, pairs="visible").total


# What a description can say beside, and layers of several kinds, each with its own reach.
NEAR = arch.changed(config(n_kv_heads=2).block, arch.Attention, window=4)
FAR = arch.changed(NEAR, arch.Attention, window=None, n_kv_heads=3)
MIXED = dataclasses.replace(config(), stack=arch.Stack((arch.repeat(2, NEAR, NEAR, FAR),)))


@for_each("c", [*OTHERS.values(), MIXED], ids=[*OTHERS, "mixed"])
def test_prompt_of_other_descriptions(c: arch.ModelConfig) -> None:
    model, x = built(c).eval(), ids(2, 13)
    with torch.no_grad():
        assert counted(lambda: model(x)) == forward_flops(c, 2, 13).total


def test_each_layer_sees_the_pairs_of_its_own_window() -> None:
    """With caches that roll the counter sees fewer keys in the layers with windows."""
    model, x, cache = built(MIXED).eval(), ids(2, 10), built(MIXED).new_cache()
    for past in range(10):
        with torch.no_grad():
            found = counted(lambda: model(x[:, past : past + 1], cache))  # noqa: B023
        assert found == forward_flops(MIXED, 2, 1, past=past, pairs="visible").total


def test_windows_of_an_encoder_reach_to_both_sides() -> None:
    """|i - j| < window, counted pair by pair."""
    c = arch.changed(bert(24, 1, 6), arch.Attention, window=5)
    for seq in (1, 4, 5, 12):
        pairs = sum(abs(i - j) < 5 for i in range(seq) for j in range(seq))
        scores = forward_flops(c, 2, seq, pairs="visible")["attention.scores"]
        assert scores == 2 * 2 * 24 * pairs
        assert forward_flops(c, 2, seq)["attention.scores"] == 2 * 2 * 24 * seq**2


def test_a_state_costs_the_same_wherever_the_token_stands() -> None:
    """Products of a gated delta layer, token by token, as PyTorch counts them."""
    delta = arch.GatedDelta(n_key_heads=2, n_value_heads=6, key_dim=5, value_dim=7, conv=4)
    c = arch.changed(config(), arch.Block, mixer=delta)
    tokens, channels = 2 * 9, 2 * 2 * 5 + 6 * 7

    def layer() -> None:
        x, made = torch.randn(tokens, 24), torch.randn(tokens * 6, 5, 7)
        for width in (2 * 5, 2 * 5, 6 * 7, 6 * 7, 2 * 6):  # Q, K, V, gate, two rates
            x @ torch.randn(24, width)
        torch.nn.functional.conv1d(
            torch.randn(2, channels, 9 + 3), torch.randn(channels, 1, 4), groups=channels
        )
        key, value = torch.randn(tokens * 6, 1, 5), torch.randn(tokens * 6, 1, 7)
        key @ made  # what is stored under the key
        key.transpose(1, 2) @ value  # the correction
        key @ made  # the query's answer
        torch.randn(tokens, 6 * 7) @ torch.randn(6 * 7, 24)

    counts = forward_flops(c, 2, 9)
    assert counted(layer) * 3 == counts["recurrent"]
    step = forward_flops(c, 2, 1, past=5000)
    assert step["recurrent"] * 9 == counts["recurrent"]


# --- training ---------------------------------------------------------------------------------


@every_setting
def test_backward_is_twice_forward(changes: dict[str, Any]) -> None:
    c = config(**changes)
    model, x = built(c), ids(2, 9)
    loss = model(x).sum()
    step = training_flops(c, 2, 9)
    assert counted(loss.backward) == step["backward"] == 2 * step["forward"]
    assert step.total == 3 * forward_flops(c, 2, 9).total


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3", "latent"])
def test_checkpointing_runs_the_blocks_again(name: str) -> None:
    c = config(**SETTINGS[name])
    model, x = built(c), ids(2, 9)
    checkpoint_blocks(model)
    step = training_flops(c, 2, 9, checkpointing=True)
    with set_checkpoint_early_stop(False):
        found = counted(lambda: model(x).sum().backward())
    assert found == step.total
    # PyTorch stops as soon as it has what the backward pass reads: a block's last product is not.
    early = counted(lambda: model(x).sum().backward())
    assert found - early == forward_flops(c, 2, 9)["feed_forward.down"]


@pytest.mark.parametrize("name", ["Mixtral-8x7B-v0.1", "DeepSeek-V2-Lite", "DeepSeek-V2"])
def test_experts_take_two_flops_for_each_active_weight(name: str) -> None:
    """Routers, chosen and shared experts, and the dense blocks of the first layers."""
    c = card(name).config
    active = parameters(c, active=True)["feed_forward"]
    assert forward_flops(c, 2, 5)["feed_forward"] == 2 * 2 * 5 * active


# --- models that this library does not build --------------------------------------------------


def test_bert_and_t5_of_transformers() -> None:
    t = pytest.importorskip("transformers")
    sizes = {"vocab_size": 97, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 6}
    theirs = t.BertModel(
        t.BertConfig(**sizes, intermediate_size=40, attn_implementation="eager")
    ).eval()
    c = arch.changed(bert(24, 3, 6, vocab_size=97), arch.FeedForward, ffn_dim=40)
    with torch.no_grad():
        assert counted(lambda: theirs(ids(2, 9))) == forward_flops(c, 2, 9).total
        model = t.T5ForConditionalGeneration(
            t.T5Config(vocab_size=97, d_model=24, d_kv=4, d_ff=40, num_layers=3, num_heads=6,
                       attn_implementation="eager")
        ).eval()  # fmt: skip
        c = dataclasses.replace(t5(24, 3, 6), vocab_size=97)
        c = arch.changed(c, arch.FeedForward, ffn_dim=40)
        found = counted(lambda: model(input_ids=ids(2, 9), decoder_input_ids=ids(2, 5)))
        assert found == forward_flops(c, 2, 5, source_seq=9).total
        state = model(input_ids=ids(2, 9), decoder_input_ids=ids(2, 5), use_cache=True)
        seen = {"past_key_values": state.past_key_values, "use_cache": True}
        step = counted(
            lambda: model(encoder_outputs=(state.encoder_last_hidden_state,),
                       decoder_input_ids=ids(2, 1), **seen)
        )  # fmt: skip
    assert step == forward_flops(c, 2, 1, past=5, source_seq=9).total


def test_mixture_of_experts_of_transformers() -> None:
    t = pytest.importorskip("transformers")
    model = t.MixtralForCausalLM(
        t.MixtralConfig(
            vocab_size=97, hidden_size=24, intermediate_size=40, num_hidden_layers=3,
            num_attention_heads=6, num_key_value_heads=2, num_local_experts=5,
            num_experts_per_tok=2, attn_implementation="eager", experts_implementation="eager",
        )
    ).eval()  # fmt: skip
    c = config(n_kv_heads=2, tied=False)
    c = arch.changed(c, arch.Block, feed_forward=arch.Experts(5, 2, arch.FeedForward(40)))
    with torch.no_grad():
        found = counted(lambda: model(ids(2, 9)))
    assert found == forward_flops(c, 2, 9).total


# --- pairs ------------------------------------------------------------------------------------

few = st.integers(1, 24)


@given(seq=few, past=st.integers(0, 24), window=st.none() | few)
def test_visible_pairs_are_those_of_the_mask(seq: int, past: int, window: int | None) -> None:
    mask = visible_keys(seq, past + seq, causal=True, window=window)
    assert visible_pairs(seq, past, window) == int(mask.sum())
    s, p, w = (LETTERS[name] for name in ("seq", "past", "window"))
    formula = visible_pairs(s, p, None if window is None else w)
    given = {s: seq, p: past} | ({} if window is None else {w: window})
    assert formula.subs(given) == int(mask.sum())


def test_visible_pairs_replace_the_square() -> None:
    c = config(window=4)
    square, visible = forward_flops(c, 2, 16), forward_flops(c, 2, 16, pairs="visible")
    for name in square:
        part = visible_pairs(16, 0, 4) if name in ("attention.scores", "attention.average") else 256
        assert visible[name] * 256 == square[name] * part


# --- letters ----------------------------------------------------------------------------------


def in_numbers(c: arch.ModelConfig, **sizes: int) -> dict[Any, Any]:
    """What to put in for the letters of a model and its input."""
    return numbers_of(c) | {LETTERS[name]: size for name, size in sizes.items()}


@every_setting
@for_each("options", [{}, {"pairs": "visible", "logits": "last"}])
def test_letters_give_the_numbers(changes: dict[str, Any], options: dict[str, Any]) -> None:
    c = config(**changes)
    letters = in_letters(c)
    b, s, p = (LETTERS[name] for name in ("batch", "seq", "past"))
    latent = isinstance(c.block.mixer, arch.Latent)
    orders = ["expanded", "absorbed"] if latent else ["expanded"]
    for order in orders:
        formula = forward_flops(letters, b, s, past=p, order=order, **options)
        numbers = forward_flops(c, 2, 11, past=5, order=order, **options)
        given = in_numbers(c, batch=2, seq=11, past=5)
        assert {name: x.subs(given) for name, x in formula.items()} == dict(numbers)
        assert formula.total.subs(given) == numbers.total


def test_switches_give_the_numbers() -> None:
    letters = in_letters(config(), gated=SWITCHES["gated"], tied=SWITCHES["tied"])
    total = forward_flops(letters, LETTERS["batch"], LETTERS["seq"]).total
    for gated in (False, True):
        c = config(gated=gated)
        given = in_numbers(c, batch=2, seq=11) | {SWITCHES["gated"]: int(gated)}
        assert total.subs(given) == forward_flops(c, 2, 11).total


b, s, d, L, V = (LETTERS[x] for x in ("batch", "seq", "dim", "n_layers", "vocab_size"))
CLASSIC = {"ffn_dim": 4 * d, "head_dim": d / LETTERS["n_heads"]}


def test_total_of_a_classic_decoder() -> None:
    total = forward_flops(in_letters(card("GPT-2").config, **CLASSIC), b, s).total
    source = (24 * b * s * d**2 + 4 * b * s**2 * d) * L + 2 * b * s * d * V
    assert sympy.expand(total - source) == 0


def test_two_times_the_weights_and_attention() -> None:
    """Forward is 2 FLOPs for each weight and token, the head's included, and attention's pairs."""
    c = in_letters(card("LLaMA-7B").config, n_kv_heads=LETTERS["n_kv_heads"])
    weights = parameters(c)
    in_products = weights["attention"] + weights["feed_forward"] + weights["head"]
    pairs = 4 * b * s**2 * L * LETTERS["n_heads"] * LETTERS["head_dim"]
    assert sympy.expand(forward_flops(c, b, s).total - 2 * b * s * in_products - pairs) == 0


@pytest.mark.parametrize(("pairs", "widths"), [("all", 6), ("visible", 12)])
def test_where_attention_costs_as_much_as_the_rest(pairs: Any, widths: int) -> None:
    counts = forward_flops(in_letters(card("GPT-2").config, **CLASSIC), b, s, pairs=pairs)
    over_pairs = counts["attention.scores"] + counts["attention.average"]
    rest = counts["attention"] - over_pairs + counts["feed_forward"]
    (found,) = sympy.solve(sympy.Eq(over_pairs, rest), s)
    # Half the square has s (s + 1) / 2 pairs, so 12 d - 1.
    assert sympy.expand(found - widths * d) == (0 if pairs == "all" else -1)


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"batch": 0}, ValueError, "batch"),
        ({"seq": -3}, ValueError, "-3"),
        ({"seq": 2.5}, TypeError, "seq"),
        ({"past": -1}, ValueError, "past"),
        ({"pairs": "half"}, ValueError, "'half'"),
        ({"logits": "first"}, ValueError, "'first'"),
        ({"order": "reversed"}, ValueError, "'reversed'"),
    ],
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], named: str) -> None:
    arguments = {"batch": 2, "seq": 8} | options
    with pytest.raises(error, match=named):
        forward_flops(config(), **arguments)


@pytest.mark.bad_input
def test_bad_configurations() -> None:
    with pytest.raises(TypeError, match="dict"):
        forward_flops({"dim": 24}, 2, 8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="source_seq"):
        forward_flops(card("T5-small").config, 2, 8, source_seq=0)
