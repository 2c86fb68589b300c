"""The search of the chapter on decoding, and the two tables that it shows."""

import math

import pytest
import torch

from llmlib.book.labs.decoding import LOOPS, PATHS, PROMPTS, RULES, SEEDS, fresh, read, search
from llmlib.decoder import Decoder, DecoderConfig, generate
from llmlib.sampling import greedy


def small():
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(7, 16, 1, 2, context=8)).double()
    model.embedding.weight.data *= 8  # else all tokens are equally likely
    return model


@torch.no_grad()
def test_a_search_of_width_1_is_greedy_and_of_full_width_finds_the_likeliest():
    model = small()
    [(text, log_p)] = search(model, [1, 2], 3, 1)
    assert text == list(generate(model, [1, 2], 3, sampler=greedy))
    texts = torch.cartesian_prod(*[torch.arange(7)] * 3)
    whole = torch.cat([torch.tensor([[1, 2]]).expand(len(texts), 2), texts], 1)
    chances = model(whole[:, :-1])[:, 1:].log_softmax(-1).gather(-1, texts[..., None]).sum((1, 2))
    best, best_log_p = max((item for item in search(model, [1, 2], 3, 7)), key=lambda item: item[1])
    assert best_log_p >= log_p
    assert best_log_p <= float(chances.max()) + 1e-9
    assert math.isclose(best_log_p, float(chances[texts.tolist().index(best)]), rel_tol=1e-9)


def test_new_pairs():
    assert fresh([1, 2, 3, 4]) == 1
    assert fresh([1, 2, 1, 2, 1]) == pytest.approx(0.5)


def test_the_tables_hold_every_prompt_and_rule():
    paths, loops = read(PATHS), read(LOOPS)
    assert [row["prompt"] for row in paths] == list(PROMPTS)
    assert all(float(row["search_p"]) >= 0.99 * float(row["greedy_p"]) for row in paths)
    assert len(loops) == len(PROMPTS) * (1 + len(RULES) * len(SEEDS))
    assert {row["rule"] for row in loops} == {"greedy", *RULES}
