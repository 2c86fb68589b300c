"""The chapter on tokenization: its experiments' parts, and facts that its page no longer shows."""

import math
import re
from collections import Counter
from pathlib import Path

import pytest
import regex
import torch

from llmlib.book.labs import tokenization as lab
from llmlib.decoder import Decoder
from llmlib.formats.packaged import kjv_text
from llmlib.tokenization import (
    GPT2_PATTERN,
    BPETokenizer,
    ByteLevelBPETokenizer,
    learn_merges,
    merge_steps,
)

WORDS = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
TINY = ByteLevelBPETokenizer.train(kjv_text()[:20_000], 400)


def test_a_nested_vocabulary_is_one_that_training_passed_through():
    small = lab.nested(TINY, 300)
    assert small.merges == ByteLevelBPETokenizer.train(kjv_text()[:20_000], 300).merges
    assert small.vocab_size == 300


@pytest.mark.bad_input
def test_a_nested_vocabulary_of_impossible_size():
    for size in (255, 401):
        with pytest.raises(ValueError, match=f"vocab_size is {size}, expected 256 to 400"):
            lab.nested(TINY, size)


def test_bits_per_byte_of_a_model_that_knows_nothing():
    """Equal odds: log2 V for each token, over the bytes of a token."""
    model = Decoder(lab.small_config(TINY.vocab_size, 8))
    with torch.no_grad():
        model.embedding.weight.zero_()
    ids = torch.tensor(TINY.encode(kjv_text()[:3_000]))
    rows = ids[: len(ids) // 9 * 9].reshape(-1, 9)[:, 1:].flatten().tolist()
    sizes = [len(token) for token in TINY.tokens]
    expected = len(rows) * math.log2(400) / sum(sizes[i] for i in rows)
    assert lab.bits_per_byte(model, ids, sizes, 8) == pytest.approx(expected, rel=1e-5)


@pytest.mark.bad_input
def test_bits_per_byte_of_too_short_a_text():
    model = Decoder(lab.small_config(TINY.vocab_size, 8))
    with pytest.raises(ValueError, match="5 tokens, expected at least seq"):
        lab.bits_per_byte(model, torch.arange(5), [1] * 400, 8)


def test_the_stored_runs_are_whole_and_survive_the_file(tmp_path: Path):
    runs = lab.stored()
    plans = Counter((run.plan, run.vocab_size) for run in runs if run.lr == 0.004)
    assert set(plans.values()) == {3}
    assert len(plans) == 4
    lab.save(runs, tmp_path / "again.tsv")
    assert lab.stored(tmp_path / "again.tsv") == runs
    for run in runs:
        per_byte = run.nats_per_token / math.log(2) / (run.megabytes * 1e6 / run.tokens)
        assert per_byte == pytest.approx(run.bits_per_byte, rel=3e-3)


def test_twice_the_learning_rate_keeps_the_order():
    best = {}
    for lr in (0.004, 0.008):
        chosen = [r for r in lab.stored() if (r.seed, r.lr) == (0, lr)]
        best[lr] = sorted(chosen, key=lambda r: r.bits_per_byte)
    order = [[(r.plan, r.vocab_size) for r in best[lr]] for lr in best]
    assert order[0] == order[1]


def test_equal_compute_is_equal():
    plans = {"equal text": 256, "equal compute": 2048}
    flops = {r.vocab_size: r.flops for r in lab.stored() if plans.get(r.plan) == r.vocab_size}
    assert flops[256] == pytest.approx(flops[2048], rel=0.02)


def test_the_pattern_of_o200k_is_tiktoken_s():
    """Word for word what the package states, read as text: its vocabulary would be downloaded."""
    source = Path(pytest.importorskip("tiktoken_ext.openai_public").__file__).read_text()
    stated = re.findall(r'r"""(.*?)""",\n', source[source.index("def o200k_base") :])[:7]
    assert "|".join(stated) == lab.O200K_PATTERN
    assert regex.findall(lab.O200K_PATTERN, "HelloWorld DON'T") == ["Hello", "World", " DON'T"]


def test_a_probe_reads_letters_that_are_there_and_none_that_are_not():
    generator = torch.Generator().manual_seed(0)
    words = ["".join(chr(97 + int(i)) for i in torch.randint(26, (5,), generator=generator))
             for _ in range(1_500)]  # fmt: skip
    spelled = torch.tensor([[float(c in w) for c in map(chr, range(97, 123))] for w in words])
    noise = torch.randn(1_500, 26, generator=generator)
    assert lab.letter_probe(spelled, words, "r", 0)["rows"] > 0.99
    nothing = lab.letter_probe(noise, words, "r", 0)
    assert nothing["rows"] <= nothing["always the same"] + 0.03


def test_what_training_makes_of_the_four_words():
    steps = list(merge_steps(WORDS))
    assert [" ".join(word) for word in steps[9].words] == ["low", "low e r", "newest", "widest"]
    assert learn_merges({"ab": 3}, 50) == [("a", "b")], "it ends when nothing is left to join"
    assert learn_merges({**WORDS, "low": 50}, 1) == [("l", "o")], "counts decide"


def test_bytes_need_no_more_tokens_than_256():
    names = "\n".join(map(lab.names_of, lab.LANGUAGES.values()))
    least = ByteLevelBPETokenizer.train(names, 300)
    assert least.decode(least.encode(names)) == names
    with pytest.raises(ValueError, match="vocab_size"):
        BPETokenizer.train(names, 300, GPT2_PATTERN)
    control = "".join(map(chr, range(32)))
    assert least.decode(least.encode(control)) == control
    assert [len(text.encode()) for text in ("天地玄黄宇宙洪", "😊😊")] == [21, 8]


def test_cuts_that_the_page_speaks_of():
    gpt2, smol, fair = (v.tokenizer for v in lab.typing_vocabularies())
    assert gpt2.tokens[gpt2.encode(" kindness")[0]] == b" kind"
    assert smol.decode(smol.encode(" Redemption")) == " Redemption"
    assert fair is lab.fair_tokenizer()
    text = "<|endoftext|>"
    assert gpt2.decode(gpt2.encode(text)) == text
