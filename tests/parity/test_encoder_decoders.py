"""T5 and BART against transformers: logits, caches, generation, and what the two stacks store."""

import pytest
import torch

from llmlib.accounting import in_letters, kv_cache_bytes, parameters
from llmlib.encoder_decoder import EncoderDecoder, generate
from llmlib.pretrained import load
from tests.accounting.numbers import numbers_of
from tests.parity.two_sided import ENCODER_DECODERS, VOCAB, batch, save

TARGET = torch.randint(5, VOCAB, (3, 11), generator=torch.Generator().manual_seed(3))
START = 0


@pytest.fixture(scope="module", params=ENCODER_DECODERS)
def pair(request, tmp_path_factory):
    """transformers' model and ours from one folder."""
    folder = tmp_path_factory.mktemp("encoder_decoder")
    theirs = save(ENCODER_DECODERS[request.param], folder)
    return theirs, load(folder)


def logits_of(theirs, ids, mask, target, **more):
    """Of a model with a head; of BART alone the embedding serves as one."""
    out = theirs(input_ids=ids, attention_mask=mask, decoder_input_ids=target, **more)
    if hasattr(out, "logits"):
        return out.logits
    return out.last_hidden_state @ theirs.get_input_embeddings().weight.t()


@torch.no_grad()
def test_logits_equal_transformers(pair):
    theirs, ours = pair
    ids, mask = batch()
    expected = logits_of(theirs, ids, mask, TARGET)
    assert isinstance(ours, EncoderDecoder)
    assert expected.std() > 0.3
    found = ours(ids, TARGET, source_mask=mask)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_targets_may_be_padded_too(pair):
    theirs, ours = pair
    ids, mask = batch()
    target, target_mask = batch(11, seed=4)
    expected = logits_of(theirs, ids, mask, target, decoder_attention_mask=target_mask)
    found, real = ours(ids, target, source_mask=mask, attention_mask=target_mask), target_mask > 0
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("chunks", [1, [4, 1, 6]])
def test_cached_equals_transformers_uncached(pair, chunks):
    theirs, ours = pair
    ids, mask = batch()
    source, cache = ours.encode(ids, mask), ours.new_cache()
    found = torch.cat([ours(source, piece, cache) for piece in TARGET.split(chunks, 1)], dim=1)
    torch.testing.assert_close(found, logits_of(theirs, ids, mask, TARGET), rtol=0, atol=1e-4)
    expected = kv_cache_bytes(ours.config, *TARGET.shape, "float32", source_seq=ids.shape[1])
    assert cache.n_bytes + source.n_bytes == expected


@torch.no_grad()
def test_generation_equals_transformers_with_and_without_a_cache(pair):
    theirs, ours = pair
    ids, mask = batch()
    options = {"start_ids": (START,), "source_mask": mask}
    cached = torch.stack(list(generate(ours, ids, 9, **options)), 1)
    whole = torch.stack(list(generate(ours, ids, 9, use_cache=False, **options)), 1)
    assert torch.equal(cached, whole)
    if not hasattr(theirs, "generate"):
        return
    expected = theirs.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=9, min_new_tokens=9, do_sample=False,
        num_beams=1, decoder_start_token_id=START, eos_token_id=None, forced_eos_token_id=None,
    )  # fmt: skip
    assert torch.equal(cached, expected[:, 1:])


@torch.no_grad()
def test_a_padded_source_is_written_about_as_if_alone(pair):
    _, ours = pair
    ids, mask = batch()
    together = torch.stack(
        list(generate(ours, ids, 9, start_ids=(START,), source_mask=mask)), dim=1
    ).tolist()
    for row, real in enumerate(mask.bool()):
        alone = list(generate(ours, ids[row, real].tolist(), 9, start_ids=(START,)))
        assert alone == together[row]


def test_what_is_counted_is_what_was_built(pair):
    """The parameters, in numbers and in letters."""
    _, ours = pair
    built = sum(x.numel() for x in ours.parameters())
    assert parameters(ours.config).total == built
    formula = parameters(in_letters(ours.config)).total
    assert formula.subs(numbers_of(ours.config)) == built


@torch.no_grad()
def test_cross_maps_equal_transformers(pair):
    theirs, ours = pair
    theirs.set_attn_implementation("eager")
    ids, mask = batch()
    out = theirs(
        input_ids=ids, attention_mask=mask, decoder_input_ids=TARGET, output_attentions=True
    )
    found = ours.cross_maps(ids, TARGET, mask)
    assert len(found) == ours.config.n_layers == len(out.cross_attentions)
    for mine, other in zip(found, out.cross_attentions, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-4)
