"""The decoder and its loader against transformers, on tiny random models in folders."""

import json
from dataclasses import replace

import pytest
import torch

import llmlib.architecture as arch
from llmlib.decoder import Decoder, generate
from llmlib.kv_cache import KVCache
from llmlib.pretrained import load
from tests.parity.hf_models import FAMILIES, MODELS, VARIANTS, WINDOW, save

LENGTH = 28  # more than three windows


@pytest.fixture(scope="module")
def pair(request, tmp_path_factory):
    """transformers' model and ours, read from the same folder, and a batch of texts."""
    folder = tmp_path_factory.mktemp("model")
    theirs = save(request.param, folder)
    ids = torch.randint(0, 97, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    return theirs, load(folder), ids


every_model = pytest.mark.parametrize("pair", MODELS, indirect=True)
with_windows = pytest.mark.parametrize(
    "pair",
    [
        *(kind for kind, settings in FAMILIES.items() if settings.get("sliding_window")),
        *(name for name, settings in VARIANTS.items() if settings.get("sliding_window")),
    ],
    indirect=True,
)


def in_chunks(model, ids, cache, chunks):
    """The logits of a text that is fed piece by piece."""
    found = [model(piece, cache) for piece in ids.split(chunks, dim=1)]
    return torch.cat(found, dim=1)


@every_model
@torch.no_grad()
def test_logits_equal_transformers(pair):
    theirs, ours, ids = pair
    expected = theirs(ids).logits
    assert expected.std() > 0.3  # a model that tells tokens apart
    torch.testing.assert_close(ours(ids), expected, rtol=0, atol=1e-4)


@every_model
@pytest.mark.parametrize("chunks", [1, [3, 1, 9, 1, 1, 8, 5]])
@torch.no_grad()
def test_cached_equals_transformers_uncached(pair, chunks):
    theirs, ours, ids = pair
    found = in_chunks(ours, ids, ours.new_cache(), chunks)
    torch.testing.assert_close(found, theirs(ids).logits, rtol=0, atol=1e-4)


@with_windows
@torch.no_grad()
def test_window_counts_the_query_itself(pair):
    """sliding_window = W is W keys with the query's own, as here; off by one would show."""
    theirs, ours, ids = pair
    found = {block.mixer.window for block in arch.layers(ours.config.stack.runs)}
    assert found - {None} == {WINDOW}
    full = in_chunks(ours, ids, KVCache(), 1)
    torch.testing.assert_close(full, theirs(ids).logits, rtol=0, atol=1e-4)
    wider = Decoder(widened(ours.config)).eval()
    wider.load_state_dict(ours.state_dict())
    off_by_one = (wider(ids) - theirs(ids).logits).abs().amax((0, 2))
    assert off_by_one[:WINDOW].max() < 1e-4 < 1e-3 < off_by_one[WINDOW:].min()


def widened(config):
    """The model whose windows are wider by one."""
    blocks = [
        arch.changed(block, arch.Attention, window=block.mixer.window + 1)
        if block.mixer.window
        else block
        for block in arch.layers(config.stack.runs)
    ]
    return replace(config, stack=replace(config.stack, runs=arch.runs_of(blocks)))


@every_model
@torch.no_grad()
def test_left_padded_batch_equals_each_text_alone(pair):
    """Positions count tokens and not slots, whatever stands in the padding."""
    theirs, ours, ids = pair
    short, pad = ids[:1, :15], LENGTH - 15
    padded = torch.cat([torch.full((1, pad), 96), short], dim=1)
    batch = torch.cat([padded, ids[1:]])
    mask = torch.ones_like(batch)
    mask[0, :pad] = 0
    found = ours(batch, attention_mask=mask)
    torch.testing.assert_close(found[:1, pad:], theirs(short).logits, rtol=0, atol=1e-4)
    torch.testing.assert_close(found[1:], theirs(ids[1:]).logits, rtol=0, atol=1e-4)
    cache, seen = ours.new_cache(), []
    for at in range(0, LENGTH, 4):
        piece = batch[:, at : at + 4]
        seen.append(ours(piece, cache, attention_mask=mask[:, : at + 4]))
    torch.testing.assert_close(torch.cat(seen, 1)[:1, pad:], found[:1, pad:], rtol=0, atol=1e-4)


@every_model
@torch.no_grad()
def test_greedy_continuation_equals_transformers(pair):
    theirs, ours, ids = pair
    prompt = ids[:1, :20]
    expected = theirs.generate(
        prompt, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0
    )[0, 20:]
    assert list(generate(ours, prompt[0].tolist(), 8)) == expected.tolist()


# --- folders as older and newer versions write them ------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("llama, rope llama3", "rope_type"),
        ("llama, rope linear", "rope_type"),
        ("llama, rope linear", "type"),
        ("llama, rope yarn", "rope_type"),
        ("llama, rope yarn", "type"),
    ],
)
@torch.no_grad()
def test_config_of_transformers_4(name, key, tmp_path):
    """rope_theta and rope_scaling instead of rope_parameters; before 4.43 "type"."""
    theirs = save(name, tmp_path)
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text())
    scaling = dict(settings.pop("rope_parameters"))
    settings["rope_theta"] = scaling.pop("rope_theta")
    scaling[key] = scaling.pop("rope_type")
    settings |= {"rope_scaling": scaling, "transformers_version": "4.40.0"}
    path.write_text(json.dumps(settings))
    ids = torch.arange(60)[None]
    torch.testing.assert_close(load(tmp_path)(ids), theirs(ids).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama", "bloom", "phi3", "gemma3_text"])
@torch.no_grad()
def test_sharded_folder(name, tmp_path):
    theirs = save(name, tmp_path, max_shard_size="60KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    ids = torch.arange(30)[None]
    torch.testing.assert_close(load(tmp_path)(ids), theirs(ids).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["gpt2", "bloom", "llama, tied", "gpt_neox, tied", "falcon", "mpt"]
)
@torch.no_grad()
def test_folder_of_the_model_without_its_head(name, tmp_path):
    """The first GPT-2's names have no prefix."""
    theirs = save(name, tmp_path)
    getattr(theirs, theirs.base_model_prefix).save_pretrained(tmp_path)
    ids = torch.arange(30)[None]
    torch.testing.assert_close(load(tmp_path)(ids), theirs(ids).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_16_bit_folder_is_read_exactly(dtype, tmp_path):
    narrow = save("qwen3", tmp_path).to(dtype)
    narrow.save_pretrained(tmp_path)
    theirs = MODELS["qwen3"]().eval()  # not narrow.float(): its RoPE angles were rounded too
    theirs.load_state_dict(narrow.state_dict())
    ids = torch.arange(30)[None]
    torch.testing.assert_close(load(tmp_path)(ids), theirs(ids).logits, rtol=0, atol=1e-4)
    assert load(tmp_path, dtype=dtype).embedding.weight.dtype == dtype


@torch.no_grad()
def test_rope_phases_survive_16_bit_weights(tmp_path):
    """The angles are no buffer, so model.to(bfloat16) leaves them alone.

    At position 4,096 an angle rounded to 8 bits is off by whole turns: such a model's logits have
    nothing to do with the right ones.
    """
    save("llama", tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["max_position_embeddings"] = 5000
    (tmp_path / "config.json").write_text(json.dumps(settings))
    narrow, wide = load(tmp_path).to(torch.bfloat16), load(tmp_path)
    at = torch.arange(4096, 4104)
    for a, b in zip(narrow.rotation(at), wide.rotation(at), strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)
