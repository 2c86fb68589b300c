"""Decoding of SmolLM2-135M, one text, against transformers with the same weights, in one run.

    python benchmarks/decode.py [--threads 1 2] [--tokens 32] [--repeat 5] [--no-compile]

Prints the time of a token relative to transformers' `generate` in the same type, and the bytes of
weights read in a second relative to a probe: matrix-vector products with the same matrices and
nothing else. The runs take turns, so that a busy machine hits all alike; medians are compared. A
token's time is the difference between a long and a short continuation: the prompt is left out.
Compiling takes some ten seconds for each type, before the clock runs.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import transformers

from llmlib.decoder import Decoder, generate
from llmlib.pretrained import smollm2
from llmlib.quantization import int8_weights

PROMPT = "The Shawshank Redemption is a film about hope, and the first thing to know about it is"
SHORT = 2


def reference(model: Decoder) -> transformers.LlamaForCausalLM:
    """transformers' model over the same memory."""
    c, block = model.config, model.config.block
    config = transformers.LlamaConfig(
        vocab_size=c.vocab_size, hidden_size=c.dim, intermediate_size=block.feed_forward.ffn_dim,
        num_hidden_layers=c.n_layers, num_attention_heads=block.mixer.n_heads,
        num_key_value_heads=block.mixer.n_kv_heads, max_position_embeddings=c.context,
        rms_norm_eps=block.norm.eps, tie_word_embeddings=True, eos_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": block.mixer.rope.base},
    )  # fmt: skip
    with torch.device("meta"):
        theirs = transformers.LlamaForCausalLM(config)
    names = {"query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj",
             "output": "self_attn.o_proj", "gate": "mlp.gate_proj", "up": "mlp.up_proj",
             "down": "mlp.down_proj"}  # fmt: skip
    weights = {
        "model.embed_tokens.weight": model.embedding.weight,
        "lm_head.weight": model.embedding.weight,
        "model.norm.weight": model.norm.weight,
    }
    for i, block in enumerate(model.blocks):
        layer = f"model.layers.{i}"
        weights[f"{layer}.input_layernorm.weight"] = block.norms.mixer_input.weight
        weights[f"{layer}.post_attention_layernorm.weight"] = block.norms.feed_forward_input.weight
        for part in (block.mixer, block.feed_forward):
            for name, linear in part.named_children():
                weights[f"{layer}.{names[name]}.weight"] = linear.weight
    theirs.load_state_dict({n: w.detach() for n, w in weights.items()}, assign=True)
    theirs.tie_weights()
    theirs.model.rotary_emb = type(theirs.model.rotary_emb)(config)
    return theirs.eval()


def probe(model: Decoder) -> tuple[Callable[[], None], int]:
    """A run over all matrices that a token needs, and their bytes."""
    matrices = [p.detach() for p in model.parameters() if p.ndim == 2]
    vectors = {m.shape[1]: torch.randn(m.shape[1], dtype=m.dtype) for m in matrices}

    def run() -> None:
        for matrix in matrices:
            torch.mv(matrix, vectors[matrix.shape[1]])

    return run, sum(m.nbytes for m in matrices)


def interleaved(runs: dict[str, Callable[[int], object]], tokens: int, repeat: int) -> dict:
    """Median seconds of a token; the runs take turns, the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for step in range(repeat + 1):
        for name, run in runs.items():
            seconds = []
            for n in (SHORT, SHORT + tokens):
                start = time.perf_counter()
                run(n)
                seconds.append(time.perf_counter() - start)
            if step:
                times[name].append((seconds[1] - seconds[0]) / tokens)
    return {name: statistics.median(values) for name, values in times.items()}


def runs_of(model: Decoder, ids: list[int], compiled: bool) -> dict[str, Callable[[int], object]]:
    """transformers, and ours eager and compiled."""
    theirs, prompt = reference(model), torch.tensor([ids])
    runs: dict[str, Callable[[int], object]] = {
        "transformers": lambda n: theirs.generate(
            prompt, max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=0
        ),
        "llmlib": lambda n: list(generate(model, ids, n)),
    }
    if compiled:
        runs["llmlib compiled"] = lambda n: list(generate(model, ids, n, compile=True))
    return runs


@torch.no_grad()
def measure(options: argparse.Namespace, threads: int) -> None:
    """One table for a number of threads."""
    torch.set_num_threads(threads)
    runs: dict[str, Callable[[int], object]] = {}
    n_bytes: dict[str, int] = {}
    for dtype in (torch.float32, torch.bfloat16):
        model, tokenizer = smollm2(dtype=dtype)
        ids, label = tokenizer.encode(PROMPT), str(dtype).removeprefix("torch.")
        run, size = probe(model)
        added = runs_of(model, ids, options.compile)
        added["probe"] = lambda n, run=run: [run() for _ in range(n)]
        runs |= {f"{label} {name}": run for name, run in added.items()}
        n_bytes |= {f"{label} {name}": size for name in added}
    small = int8_weights(smollm2(dtype=torch.bfloat16)[0])
    size = sum(b.nbytes for name, b in small.named_buffers() if name.endswith("weight"))
    added = {"int8 llmlib": lambda n: list(generate(small, ids, n))}
    if options.compile:
        added["int8 llmlib compiled"] = lambda n: list(generate(small, ids, n, compile=True))
    runs |= added
    n_bytes |= dict.fromkeys(added, size)
    report(interleaved(runs, options.tokens, options.repeat), n_bytes, threads)


def report(seconds: dict[str, float], n_bytes: dict[str, int], threads: int) -> None:
    """Tokens a second, ratios, bytes a second."""
    print(f"\n{threads} threads, {torch.__version__}; speed relative to transformers' generate")
    print(f"{'':<28}{'tokens/s':>9}{'same type':>11}{'float32':>9}{'GB/s':>7}{'of probe':>10}")
    for name, one in seconds.items():
        kind = name.split()[0]
        same = seconds.get(f"{kind} transformers")
        speed, of_probe = n_bytes[name] / one / 1e9, seconds.get(f"{kind} probe")
        print(
            f"{name:<28}{1 / one:>9.1f}{'' if same is None else f'{same / one:.2f}':>11}"
            f"{seconds['float32 transformers'] / one:>9.2f}{speed:>7.1f}"
            f"{'' if of_probe is None else f'{of_probe / one:.2f}':>10}",
            flush=True,
        )


def main() -> None:
    """Reads the options and measures for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    options = parser.parse_args()
    for threads in options.threads:
        measure(options, threads)


if __name__ == "__main__":
    main()
