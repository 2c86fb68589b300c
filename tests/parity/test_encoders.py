"""Encoders against transformers: through `load`, with padding, segments, heads and poolers."""

import json

import pytest
import torch
import transformers

from llmlib.accounting import in_letters, parameters
from llmlib.encoder import Encoder
from llmlib.pretrained import load
from tests.accounting.numbers import numbers_of
from tests.parity.hf_models import FAMILIES, WINDOW, _model
from tests.parity.two_sided import ENCODERS, batch, save


@pytest.fixture(scope="module", params=ENCODERS)
def pair(request, tmp_path_factory):
    """transformers' model and ours from one folder."""
    folder = tmp_path_factory.mktemp("encoder")
    theirs = save(ENCODERS[request.param], folder)
    return theirs, load(folder)


def expected_of(theirs, ids, mask, segments):
    """The last stream, and logits and pooled vectors where there are such."""
    more = {} if segments is None else {"token_type_ids": segments}
    out = theirs(input_ids=ids, attention_mask=mask, output_hidden_states=True, **more)
    logits = getattr(out, "prediction_logits", getattr(out, "logits", None))
    hidden = out.last_hidden_state if logits is None else None
    return hidden, logits, getattr(out, "pooler_output", None)


@torch.no_grad()
def test_states_and_logits_equal_transformers(pair):
    theirs, ours = pair
    ids, mask = batch()
    segments = None
    if ours.config.segments:
        generator = torch.Generator().manual_seed(1)
        segments = torch.randint(0, ours.config.segments, ids.shape, generator=generator)
    hidden, logits, pooled = expected_of(theirs, ids, mask, segments)
    found, real = ours(ids, mask, segments), mask.bool()
    assert isinstance(ours, Encoder)
    if hidden is not None:
        torch.testing.assert_close(found[real], hidden[real], rtol=0, atol=1e-4)
    if logits is not None:
        assert logits.std() > 0.3
        torch.testing.assert_close(ours.head(found)[real], logits[real], rtol=0, atol=1e-4)
    if pooled is not None:
        torch.testing.assert_close(ours.pooled(found), pooled, rtol=0, atol=1e-4)


@torch.no_grad()
def test_without_a_mask_every_token_is_seen(pair):
    theirs, ours = pair
    ids, _ = batch()
    ids = ids.where(ids > 4, 7)  # RoBERTa looks for padding in the ids themselves
    hidden, logits, _ = expected_of(theirs, ids, None, None)
    found = ours(ids)
    if hidden is None:
        found, hidden = ours.head(found), logits
    torch.testing.assert_close(found, hidden, rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_row_gives_what_it_gives_alone(pair, side):
    _, ours = pair
    ids, mask = batch()
    if side == "left":
        ids, mask = ids.flip(1), mask.flip(1)
    found = ours(ids, mask)
    for row, real in enumerate(mask.bool()):
        alone = ours(ids[row : row + 1, real])
        torch.testing.assert_close(found[row, real], alone[0], rtol=0, atol=1e-4)


def test_what_is_counted_is_what_was_built(pair):
    """The parameters, in numbers and in letters."""
    _, ours = pair
    built = sum(x.numel() for x in ours.parameters())
    assert parameters(ours.config).total == built
    formula = parameters(in_letters(ours.config)).total
    assert formula.subs(numbers_of(ours.config)) == built


# --- decoders without a causal mask -----------------------------------------------------------

TWO_WAY = [kind for kind in FAMILIES if kind not in ("gpt2", "falcon", "mpt", "bloom", "gemma3")]


def embedding_model(kind, folder, **changes):
    """A decoder whose configuration says that it looks both ways."""
    torch.manual_seed(0)
    theirs = _model(kind, **changes)().eval()
    if not changes:
        theirs.config.is_causal = False
    theirs.save_pretrained(folder)
    return theirs, load(folder)


@pytest.mark.parametrize("kind", TWO_WAY)
@torch.no_grad()
def test_a_decoder_without_its_causal_mask_is_an_encoder(kind, tmp_path):
    theirs, ours = embedding_model(kind, tmp_path)
    ids, mask = batch()
    expected, real = theirs(input_ids=ids, attention_mask=mask).logits, mask.bool()
    found = ours.head(ours(ids, mask))
    assert isinstance(ours, Encoder)
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-4)
    theirs.config.is_causal = True  # with the mask the numbers are others
    causal = theirs(input_ids=ids, attention_mask=mask).logits
    assert (causal - expected)[real].abs().max() > 0.1


@pytest.mark.parametrize("window", [WINDOW, WINDOW - 1])
@torch.no_grad()
def test_embedding_gemma_halves_its_window(window, tmp_path):
    settings = {"use_bidirectional_attention": True, "sliding_window": window}
    theirs, ours = embedding_model("gemma3_text", tmp_path, **settings)
    ids, mask = batch()
    expected, real = theirs(input_ids=ids, attention_mask=mask).logits, mask.bool()
    found = ours.head(ours(ids, mask))
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-4)


@torch.no_grad()
def test_an_embedding_model_may_come_without_a_head(tmp_path):
    """As sentence encoders made of Llamas are stored."""
    torch.manual_seed(0)
    theirs = transformers.LlamaModel(_model("llama")().config).eval()
    theirs.config.is_causal = False
    theirs.save_pretrained(tmp_path)
    ours, (ids, mask) = load(tmp_path), batch()
    expected, real = theirs(input_ids=ids, attention_mask=mask).last_hidden_state, mask.bool()
    torch.testing.assert_close(ours(ids, mask)[real], expected[real], rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="head is 'none', expected 'tokens'"):
        ours.head(ours(ids))


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", ["gpt2", "bloom", "falcon", "mpt"])
def test_families_that_cannot_look_both_ways_say_so(kind, tmp_path):
    _model(kind)().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "is_causal": False}))
    with pytest.raises(ValueError, match="is_causal is false, expected true"):
        load(tmp_path)
