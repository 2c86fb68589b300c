"""Times training and encoding beside tokenizers, tiktoken and a recount at each merge, in one run.

    python benchmarks/tokenization.py [--repeat 5] [--threads 1 2]

Text: the King James Bible, whole and verse by verse, and source code of the standard library.
tokenizers and tiktoken use threads for a batch of texts only; llmlib has one thread. Every run of
llmlib starts with an empty cache of pieces. Prints ratios.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from _timing import median_seconds

from llmlib.formats.packaged import gpt2_encoder_json, gpt2_vocab_bpe, kjv_text
from llmlib.tokenization import GPT2_PATTERN, ByteLevelBPETokenizer, merge_pair

VOCAB_SIZE = 4096


def python_code() -> str:
    """Two megabytes of source code."""
    files = sorted(Path(os.__file__).parent.glob("*.py"))
    return "".join(f.read_text(encoding="utf-8", errors="replace") for f in files)[:2_000_000]


def train_with_tokenizers(text: list[str]) -> object:
    """The same vocabulary from the package tokenizers."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"vocab_size": VOCAB_SIZE, "initial_alphabet": alphabet, "show_progress": False}
    tokenizer.train_from_iterator(text, trainers.BpeTrainer(**options))
    return tokenizer


def recount_seconds(text: str) -> float:
    """Time of a recount at each merge, as minbpe does over all pieces of the text.

    Estimated: the mean of one step on bytes and one on finished tokens, times the merges.
    """
    tokenizer = ByteLevelBPETokenizer.train(text, VOCAB_SIZE)
    pieces = tokenizer.pieces(text)
    seconds = []
    for spell in (lambda piece: piece.encode(), tokenizer._cache.__getitem__):
        symbols = [tuple(spell(piece)) for piece in pieces]
        start = time.perf_counter()
        counts: dict[tuple[int, int], int] = {}
        for piece in symbols:
            for pair in pairwise(piece):
                counts[pair] = counts.get(pair, 0) + 1
        best = max(counts, key=counts.__getitem__)
        symbols = [merge_pair(piece, best, VOCAB_SIZE) for piece in symbols]
        seconds.append(time.perf_counter() - start)
    return statistics.mean(seconds) * len(tokenizer.merges)


def bench_training(repeat: int) -> None:
    """One line: time / that of tokenizers, in its faster form of two."""
    text = kjv_text()
    verses = text.splitlines(keepends=True)
    seconds = median_seconds(
        {
            "llmlib": lambda: ByteLevelBPETokenizer.train(text, VOCAB_SIZE),
            "one text": lambda: train_with_tokenizers([text]),
            "verses": lambda: train_with_tokenizers(verses),
        },
        repeat,
    )
    mine, theirs = seconds["llmlib"], min(seconds["one text"], seconds["verses"])
    print(f"  train V={VOCAB_SIZE}  time / tokenizers {mine / theirs:.2f}  (bar 1.3, aim 1.0)")
    print(
        f"                time of a recount / llmlib {recount_seconds(text) / mine:.0f}, estimated"
    )


def bench_encoding(repeat: int, threads: int) -> None:
    """A line for each text: MB/s / that of the two packages."""
    import tiktoken
    from tokenizers import Tokenizer, models, pre_tokenizers

    mine = ByteLevelBPETokenizer.from_gpt2_files(gpt2_encoder_json(), gpt2_vocab_bpe())
    ranks = {token: i for i, token in enumerate(mine.tokens[:-1])}
    tik = tiktoken.Encoding(
        "gpt2", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=mine.special_tokens
    )
    hugging = Tokenizer(models.BPE.from_file(str(gpt2_encoder_json()), str(gpt2_vocab_bpe())))
    hugging.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)

    def llmlib(texts: list[str]) -> None:
        mine._cache.clear()
        for text in texts:
            mine.encode(text)

    code, kjv = python_code(), kjv_text()
    for name, texts in {"KJV": [kjv], "code": [code], "verses": kjv.splitlines()}.items():
        assert (
            mine.encode(texts[0]) == tik.encode_ordinary(texts[0]) == hugging.encode(texts[0]).ids
        )
        batch = {
            "llmlib": lambda texts=texts: llmlib(texts),
            "tokenizers": lambda texts=texts: hugging.encode_batch_fast(texts),
            "tiktoken": lambda texts=texts: tik.encode_ordinary_batch(texts, num_threads=threads),
        }
        seconds = median_seconds(batch, repeat)
        hf, tk = (seconds[peer] / seconds["llmlib"] for peer in ("tokenizers", "tiktoken"))
        size = sum(len(text.encode()) for text in texts) / 1e6
        print(
            f"  encode {name:<7} MB/s / tokenizers {hf:.2f} (bar 1.2, aim 1.5), "
            f"/ tiktoken {tk:.2f} (aim 0.45); {size / seconds['llmlib']:.1f} MB/s"
        )


def main() -> None:
    """One process for each number of threads: the packages read it once, when they start."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    if len(options.threads) == 1:
        threads = options.threads[0]
        print(
            f"{threads} thread{'s' if threads > 1 else ''} for tokenizers and tiktoken", flush=True
        )
        bench_training(options.repeat)
        bench_encoding(options.repeat, threads)
        return
    for threads in options.threads:
        variables = {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
        command = [
            sys.executable,
            __file__,
            "--repeat",
            str(options.repeat),
            "--threads",
            str(threads),
        ]
        subprocess.run(command, env={**os.environ, **variables}, check=True)


if __name__ == "__main__":
    main()
