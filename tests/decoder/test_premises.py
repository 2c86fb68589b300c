"""The step that is written for speed gives what the model gives, or steps aside.

Every field of the configuration, every module and everything around the model is changed in turn.
What must hold is not that the step runs, but that the ids are those without it.
"""

import copy
import inspect
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import llmlib.architecture as arch
from llmlib.decoder import Decoder, DecoderConfig, generate, step_report
from llmlib.decoder.premises import Watch, why_not
from llmlib.decoder.single_step import SingleStep
from llmlib.kv_cache import KVCache, LatentKVCache
from llmlib.quantization import Int8Linear, int8_weights
from llmlib.sampling import Sampler

PROMPT = [5, 80, 3, 41, 7]
BASE = {"vocab_size": 97, "dim": 24, "n_layers": 2, "n_heads": 6, "n_kv_heads": 2, "context": 32,
        "ffn_dim": 20}  # fmt: skip


class OwnCache(KVCache):
    """A kind of cache that the step does not know: `generate` then calls the model."""


def model(dtype=torch.float64, kind=Decoder, engine="auto", config=None, **changes):
    torch.manual_seed(3)
    config = DecoderConfig(**{**BASE, **changes}) if config is None else config
    made = kind(config, engine).to(dtype).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.4)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return made


def text(decoder, n=6, **options):
    """A sampled text, and the logits that each token was drawn from."""
    seen, sampler = [], Sampler(2.0, seed=0)

    def choose(logits):
        seen.append(logits[0].double())
        return sampler(logits)

    return list(generate(decoder, PROMPT, n, sampler=choose, **options)), torch.stack(seen)


def equal(found, expected, tolerance=1e-9):
    """Ids, and to rounding the logits: equal ids alone would tell little."""
    assert found[0] == expected[0]
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=tolerance)


def same_with_and_without(decoder, tolerance=1e-9):
    found = text(decoder)
    equal(found, text(decoder, use_cache=False), tolerance)
    return found


def reason(decoder):
    """The first reason against the step, of the model or of one of its blocks."""
    return next((why for why in step_report(decoder).values() if why is not None), None)


def differs(found, plain):
    return (found[1][0] - plain[1][0]).abs().max() > 1e-3 or found[0] != plain[0]


def new_angles(decoder):
    for block in decoder.blocks:
        block.angles = block.angles._replace(frequencies=block.angles.frequencies * 3)


# --- the configuration ------------------------------------------------------------------------

LATENT = arch.Latent(6, kv_rank=10, rope_dim=4, plain_dim=6, value_dim=5)
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12}
FIELDS = {
    "vocab_size": [101],
    "dim": [36],
    "n_layers": [1, 3],
    "n_heads": [2],
    "n_kv_heads": [1, 6, 3],
    "head_dim": [10],
    "ffn_dim": [33],
    "context": [12],
    "norm": ["layer"],
    "norm_position": ["post"],
    "norm_eps": [0.5, 1e-40],
    "activation": ["silu", "gelu", "relu", "sigmoid", "identity"],
    "gated": [False],
    "bias": [True],
    "qkv_bias": [True],
    "out_bias": [True],
    "ffn_bias": [True],
    "qk_norm": [True],
    "position": ["learned", "alibi", "none"],
    "rope_base": [50.0],
    "rope_scaling": [YARN, {"rope_type": "linear", "factor": 2.0}],
    "rope_layout": ["interleaved"],
    "window": [1, 3, 20],
    "latent": [LATENT],
    "tied": [False],
    "embedding_norm": [True],
}


def test_every_field_of_the_configuration_is_changed_below():
    assert set(FIELDS) == set(inspect.signature(DecoderConfig).parameters)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in FIELDS.items() for value in values]
)
def test_a_field_of_the_configuration(name, value):
    changes = {name: value} | ({"n_kv_heads": None} if name == "latent" else {})
    same_with_and_without(model(**changes))


# Other values of the fields of each part, and more where one alone cannot be.
NORM = arch.Norm(eps=1e-5)
OTHERS = {
    arch.Attention: {
        "n_heads": [2], "n_kv_heads": [6], "head_dim": [10], "rope": [None], "window": [3],
        "alibi": [True], "value_dim": [2], "qkv_bias": [True], "out_bias": [True],
        "qk_norm": [NORM, arch.Norm("layer", bias=True)], "scale": [0.7], "softcap": [0.5],
        "qk_norm_over": ["all heads"], "sinks": [True], "gate": [True],
    },
    arch.FeedForward: {
        "ffn_dim": [33], "activation": ["gelu"], "gated": [False], "bias": [True], "clamp": [],
    },
    arch.Block: {
        "mixer": [LATENT], "feed_forward": [None],
        "norm": [arch.LAYER, arch.Norm(gain="1 + weight")],
        "norms": ["post", "output", "sandwich"], "order": ["parallel", "parallel, one norm"],
        "cross": [], "mixer_norm": [False], "residual_scale": [0.4],
    },
    arch.Rope: {"base": [50.0], "share": [0.5], "scaling": [arch.Scaling("linear", 2.0)],
                "layout": ["interleaved"]},
    arch.Stack: {
        "runs": [], "last_norm": [None, arch.LAYER], "causal": [],
        "positions": [arch.Learned(32), arch.Sinusoidal(), arch.Buckets(6)],
        "first_norm": [arch.RMS],
    },
    arch.ModelConfig: {
        "dim": [36], "vocab_size": [101], "context": [12], "stack": [], "source": [],
        "tied": [False], "segments": [], "embedding_scale": [3.0], "head": [], "softcap": [2.0],
        "output_scale": [0.3],
        # A decoder with one of these is refused.
        "transform": [], "head_bias": [], "pooler": [],
    },
}  # fmt: skip
CHANGES = [
    (kind, name, value)
    for kind, fields in OTHERS.items() for name, values in fields.items() for value in values
]  # fmt: skip


def test_every_field_of_the_description_is_changed_below():
    for kind, fields in OTHERS.items():
        assert set(fields) == set(inspect.signature(kind).parameters)


@pytest.mark.parametrize(("kind", "name", "value"), CHANGES)
def test_a_field_of_the_description(kind, name, value):
    """In all layers, and in one of them: by the step or not, the ids are the model's."""
    base, beside = DecoderConfig(**BASE), {}
    if name in ("qk_norm", "qk_norm_over"):
        beside["qk_norm"] = NORM if name == "qk_norm_over" else value
    whole = arch.changed(base, kind, **{name: value} | beside)
    same_with_and_without(model(config=whole))
    if kind in (arch.Stack, arch.ModelConfig):
        return
    block = arch.changed(base.block, kind, **{name: value} | beside)
    stack = arch.Stack(arch.runs_of([base.block, block, base.block]), base.stack.last_norm)
    decoder = model(config=arch.changed(base, arch.ModelConfig, stack=stack))
    assert why_not(decoder) is None
    same_with_and_without(decoder)


def test_the_report_names_what_the_step_does_not_know():
    base = DecoderConfig(**BASE)
    capped = arch.changed(base.block, arch.Attention, softcap=3.0)
    stack = arch.Stack(arch.runs_of([base.block, capped]), base.stack.last_norm)
    found = step_report(model(config=arch.changed(base, arch.ModelConfig, stack=stack)))
    assert found["model"] is None
    assert found["blocks.0"] is None
    assert found["blocks.1"].startswith("blocks.1: softcap is not as the step knows it")


@pytest.mark.parametrize("engine", ["blocked", "sdpa", "reference"])
def test_an_engine_of_the_model(engine):
    decoder = model(engine=engine)
    assert (reason(decoder) is None) == (engine == "blocked")
    same_with_and_without(decoder)


def test_a_description_that_was_replaced_over_the_modules():
    decoder = model()
    block = decoder.blocks[1]
    block.block = arch.changed(block.block, arch.Attention, window=2)
    assert "window" in reason(decoder)
    decoder = model(activation="gelu")
    block = decoder.blocks[1]
    block.block = arch.changed(block.block, arch.FeedForward, activation="swish")
    assert "activation" in reason(decoder)
    same_with_and_without(decoder)


@pytest.mark.parametrize(
    ("name", "value"),
    [("causal", False), ("window", 2), ("engine", "reference"), ("rope_layout", "interleaved")],
)
def test_a_setting_of_one_layer(name, value):
    decoder = model()
    setattr(decoder.blocks[1].mixer, name, value)
    assert f"blocks.1.{name}" in reason(decoder)
    if name != "causal":  # then later tokens change earlier ones: a cache is not exact
        same_with_and_without(decoder)


def test_a_norm_with_an_eps_of_its_own():
    for place in ("norm", "blocks.0.norms.mixer_input", "blocks.1.norms.feed_forward_input"):
        decoder = model()
        decoder.get_submodule(place).eps = 3.0
        assert "eps" in reason(decoder)
        same_with_and_without(decoder)


def test_an_activation_and_angles_of_its_own():
    decoder = model()
    decoder.blocks[0].feed_forward.activation = torch.tanh
    assert "activation" in reason(decoder)
    same_with_and_without(decoder)
    decoder = model()
    new_angles(decoder)  # still whole heads: the step reads them
    assert reason(decoder) is None
    same_with_and_without(decoder)


# --- modules ----------------------------------------------------------------------------------


def turned(x):
    return -1.5 * x if torch.is_tensor(x) else x


def hook(decoder, name):
    decoder.get_submodule(name).register_forward_hook(lambda _, i, out: turned(out))


def pre_hook(decoder, name):
    decoder.get_submodule(name).register_forward_pre_hook(lambda _, i: (turned(i[0]), *i[1:]))


def replaced_forward(decoder, name):
    module = decoder.get_submodule(name)
    before = module.forward
    module.forward = lambda *given, **options: turned(before(*given, **options))


def subclass(decoder, name):
    module = decoder.get_submodule(name)
    kind = type(module)

    def forward(self, *given, **options):
        return turned(kind.forward(self, *given, **options))

    module.__class__ = type("Own", (kind,), {"forward": forward})


class Wrapper(nn.Module):
    """As an adapter's: the layer inside, its attributes shown outside."""

    def __init__(self, base):
        super().__init__()
        self.base = base

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)

    def forward(self, *given, **options):
        return turned(self.base(*given, **options))


def wrapper(decoder, name):
    decoder.set_submodule(name, Wrapper(decoder.get_submodule(name)))


EVERYTHING = {"qk_norm": True, "tied": False, "head_dim": 6}
HOLDERS = (nn.ModuleList, nn.ModuleDict)  # they compute nothing themselves
NAMES = [name for name, module in model(**EVERYTHING).named_modules()
         if not isinstance(module, HOLDERS) and "blocks.0" not in name]  # fmt: skip
INNER = [name for name in NAMES if name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", [hook, pre_hook, replaced_forward, subclass, wrapper])
def test_a_module_that_is_more_than_its_class(change, name):
    if (change is pre_hook and name in ("", "embedding")) or (change is wrapper and not name):
        return  # ids have no sign, and a wrapped model is no Decoder
    decoder = model(**EVERYTHING)
    plain = text(decoder)
    change(decoder, name)
    assert reason(decoder).startswith(f"{name or 'model'}: ")
    if change is not hook or name:  # the model's own hook turns its logits
        assert differs(same_with_and_without(decoder), plain)


LINEARS = [name for name, m in model(**EVERYTHING).named_modules() if isinstance(m, nn.Linear)]


class Doubled(nn.Module):
    def forward(self, weight):
        return -2 * weight


@pytest.mark.parametrize("name", [name for name in LINEARS if "blocks.0" not in name])
def test_a_linear_layer_with_a_parametrization_a_mask_or_a_bias(name):
    decoder = model(**EVERYTHING)
    plain = text(decoder)
    parametrize.register_parametrization(decoder.get_submodule(name), "weight", Doubled())
    assert "ParametrizedLinear" in reason(decoder)
    same_with_and_without(decoder)
    decoder = model(**EVERYTHING)
    prune.l1_unstructured(decoder.get_submodule(name), "weight", 0.7)
    assert "hook" in reason(decoder)
    same_with_and_without(decoder)
    decoder = model(**EVERYTHING)
    layer = decoder.get_submodule(name)
    layer.bias = nn.Parameter(torch.randn(layer.out_features, dtype=torch.float64))
    assert why_not(decoder) is None
    assert differs(same_with_and_without(decoder), plain)


@pytest.mark.parametrize("method", ["head", "embed", "enter"])
def test_a_method_of_a_subclass_or_an_instance(method):
    def own(self, *given, **options):
        return turned(getattr(Decoder, method)(self, *given, **options))

    decoder = model(kind=type("Own", (Decoder,), {method: own}))
    assert "it is a Own" in why_not(decoder)
    same_with_and_without(decoder)
    decoder = model()
    setattr(decoder, method, own.__get__(decoder))
    assert why_not(decoder) == f"model: its {method} was replaced"
    same_with_and_without(decoder)


@pytest.mark.unchecked
def test_compiled_and_exchanged_blocks():
    decoder = model()
    decoder.blocks[0] = torch.compile(decoder.blocks[0], backend="eager")
    assert "blocks.0: it is a OptimizedModule" in reason(decoder)
    same_with_and_without(decoder)
    decoder = model()
    decoder.blocks[1].compile(backend="eager")
    assert "blocks.1: its _compiled_call_impl was replaced" in reason(decoder)
    same_with_and_without(decoder)
    decoder = model()
    decoder.blocks = nn.ModuleList([decoder.blocks[1], decoder.blocks[1], decoder.blocks[0]])
    assert why_not(decoder) is None  # blocks that share weights, in another order
    same_with_and_without(decoder)


def test_a_class_of_which_a_method_was_replaced(monkeypatch):
    decoder, forward = model(), nn.Linear.forward
    plain = text(decoder)
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: -forward(self, x))
    assert why_not(decoder) == "Linear.forward was replaced"
    assert differs(same_with_and_without(decoder), plain)


def test_an_embedding_that_shortens_its_rows():
    decoder = model(tied=False)
    decoder.embedding.max_norm = 0.1
    assert "embedding" in why_not(decoder)
    same_with_and_without(decoder)


def test_copies_and_other_types_of_weights():
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        decoder = copy.deepcopy(model(dtype))
        assert why_not(decoder) is None
        with torch.no_grad():
            one, other, prompt = KVCache(), KVCache(), torch.tensor([PROMPT])
            decoder(prompt, one), decoder(prompt, other)
            found = SingleStep(decoder)(prompt[:, :1], one).double()
            expected = decoder(prompt[:, :1], other).double()
        tolerance = {2: 0.1, 4: 1e-4, 8: 1e-10}[dtype.itemsize] * expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    mixed = model(torch.float32)
    mixed.blocks[0].mixer.query.double()
    assert "query.weight is torch.float64 beside weights in torch.float32" in reason(mixed)


def test_integer_weights_beside_others():
    decoder = int8_weights(model(torch.float32))
    assert "has rows of 24 integers" in reason(decoder)  # the kernel takes 32 at once
    assert why_not(int8_weights(model(torch.float32, dim=96, ffn_dim=64))) is None
    decoder = model(torch.float32)
    layer = decoder.blocks[0].mixer
    layer.query = Int8Linear(layer.query.weight)
    assert "holds integers beside weights in torch.float32" in reason(decoder)
    same_with_and_without(decoder, 1e-3)
    hook(decoder, "blocks.0.mixer.query")
    same_with_and_without(decoder, 1e-3)


def test_heads_that_were_cut_out_of_the_weights():
    decoder = model()
    layer = decoder.blocks[0].mixer
    layer.query.weight = nn.Parameter(layer.query.weight[:16].detach())  # 4 of 6 heads of width 4
    layer.output.weight = nn.Parameter(layer.output.weight[:, :16].detach())
    assert "query.rows" in reason(decoder)
    same_with_and_without(decoder)


def test_weights_that_are_tensors_of_another_class():
    class Stored(torch.Tensor):
        pass

    decoder = model()
    layer = decoder.blocks[0].feed_forward.down
    weight = layer.weight.detach().as_subclass(Stored)
    del layer.weight
    layer.register_buffer("weight", weight)
    assert "Stored" in reason(decoder)
    same_with_and_without(decoder)


# --- around the model -------------------------------------------------------------------------


def test_autocast_takes_the_way_of_the_modules():
    for window in (None, 3):
        decoder = model(torch.float32, window=window)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert why_not(decoder) == "autocast is on"
            equal(text(decoder), text(decoder, cache=OwnCache()))
        assert why_not(decoder) is None


def test_a_hook_for_all_modules():
    decoder = model()
    for register in ("register_module_forward_hook", "register_module_forward_pre_hook"):
        seen = []
        handle = getattr(nn.modules.module, register)(lambda *given, seen=seen: seen.append(1))
        try:
            assert why_not(decoder) == "there is a hook for all modules"
            text(decoder, 3)
            assert len(seen) == 3 * sum(
                type(m) not in (nn.ModuleList, nn.ModuleDict) for m in decoder.modules()
            )
        finally:
            handle.remove()


def test_modes_see_the_operations_of_the_modules():
    decoder = model()

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            return operation(*args, **(kwargs or {}))

    class Calls(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            return 2 * out if function is nn.functional.linear else out

    for mode in (Operations(), Calls()):
        with mode:
            assert why_not(decoder) == "a mode watches all operations"
            same_with_and_without(decoder)
    with FlopCounterMode(display=False) as fast:
        text(decoder)
    with FlopCounterMode(display=False) as whole:
        text(decoder, cache=OwnCache())
    assert fast.get_total_flops() == whole.get_total_flops()
    with torch.device("cpu"):
        assert why_not(decoder) is None
    with torch.device("meta"):
        assert why_not(decoder) is not None


def test_caches_that_are_not_known():
    decoder = model()
    assert why_not(decoder, 1, OwnCache()) == "the cache is a OwnCache"
    equal(text(decoder, cache=OwnCache()), text(decoder))


# --- between two tokens -----------------------------------------------------------------------


def halved(decoder):
    with torch.no_grad():
        decoder.blocks[0].mixer.query.weight.mul_(-0.5)


def new_weights(decoder):
    layer = decoder.blocks[0].feed_forward.up
    layer.weight = nn.Parameter(-layer.weight.detach())


def new_data(decoder):
    layer = decoder.blocks[0].feed_forward.up
    layer.weight.data = -layer.weight.data


def loaded(decoder):
    state = {name: -x for name, x in decoder.state_dict().items()}
    decoder.load_state_dict(state, assign=True)


def new_block(decoder):
    decoder.blocks[0] = copy.deepcopy(decoder.blocks[1])


def new_bias(decoder):
    layer = decoder.blocks[0].mixer.output
    layer.bias = nn.Parameter(torch.ones(24, dtype=torch.float64))


def new_engine(decoder):
    decoder.blocks[0].mixer.engine = "reference"


def new_eps(decoder):
    decoder.norm.eps = 4.0


BETWEEN = [
    lambda decoder: hook(decoder, "blocks.1"),
    lambda decoder: hook(decoder, "blocks.0.mixer.key"),
    lambda decoder: pre_hook(decoder, "norm"),
    lambda decoder: subclass(decoder, "blocks.0.feed_forward.gate"),
    lambda decoder: wrapper(decoder, "blocks.0.mixer.value"),
    lambda decoder: replaced_forward(decoder, "blocks.0.feed_forward"),
    halved, new_weights, new_data, loaded, new_block, new_bias, new_engine, new_eps, new_angles,
]  # fmt: skip


@pytest.mark.parametrize("change", BETWEEN)
def test_what_is_changed_between_two_tokens_counts_from_the_next_one(change):
    texts = []
    for options in ({}, {"cache": OwnCache()}):
        decoder, seen, sampler = model(), [], Sampler(2.0, seed=1)

        def choose(logits, decoder=decoder, seen=seen, sampler=sampler):
            if len(seen) == 3:
                change(decoder)
            seen.append(logits[0])
            return sampler(logits)

        ids = list(generate(decoder, PROMPT, 9, sampler=choose, **options))
        texts.append((ids, torch.stack(seen)))
    equal(*texts)
    unchanged = text(model(), 9)
    assert change is new_engine or differs((ids, texts[0][1][4:]), (ids, unchanged[1][4:]))


def test_a_hook_that_is_taken_away_again():
    decoder = model()
    watch = Watch(decoder)
    assert watch.unchanged()
    handle = decoder.blocks[0].register_forward_hook(lambda *_: None)
    assert not watch.unchanged()
    handle.remove()
    assert watch.unchanged()


def test_autocast_that_begins_between_two_tokens_is_an_error_that_names_types():
    """Its keys would be of another type than those that the cache holds."""
    stream = generate(model(torch.float32), PROMPT, 5)
    next(stream)
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(ValueError, match=r"in torch.float32 on cpu, got .* in torch.bfloat16"),
    ):
        next(stream)


# --- latents taken out of their layers --------------------------------------------------------


@pytest.mark.parametrize("name", ["key_up", "value_up"])
@pytest.mark.parametrize("change", [hook, subclass, wrapper, replaced_forward])
def test_absorbed_attention_steps_aside_for_layers_that_are_more_than_a_matrix(name, change):
    decoder = model(latent=LATENT, n_kv_heads=None)
    change(decoder, f"blocks.0.mixer.{name}")
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        cache = LatentKVCache()
        found = torch.cat([decoder(piece, cache) for piece in ids.split(1, 1)], 1)
        torch.testing.assert_close(found, decoder(ids))
    layer = decoder.blocks[0].mixer
    assert name in layer.why_not_absorbed()
    with pytest.raises(ValueError, match=f"absorbed=True .* {name}"):
        layer(torch.randn(1, 3, 24, dtype=torch.float64), absorbed=True)


def test_eps_of_nothing_is_refused():
    """Python divides by zero where a tensor's root gives infinity."""
    decoder = model(norm_eps=0.0)
    with torch.no_grad():
        decoder.embedding.weight[PROMPT[0]] = 0
    assert "of eps 0.0" in why_not(decoder)
    assert math.isnan(decoder(torch.tensor([[PROMPT[0]]]))[0, 0, 0].item())


def test_a_method_that_another_library_adds_to_a_class_is_no_reason(monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "added_by_others", lambda self: None, raising=False)
    assert why_not(model()) is None
    monkeypatch.setattr(torch.nn.Linear, "__call__", lambda self, x: x, raising=False)
    assert "Linear.__call__ was replaced" in why_not(model())
