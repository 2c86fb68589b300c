"""One test for each repair of the printed flash attention.

A test takes the namespace of a version and says whether it does what the repair is for; each fails
on every version before its repair.
"""

import math
import textwrap
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from llmlib.attention import reference_attention
from llmlib.book.labs.flash_attention.traffic import Traffic
from llmlib.book.labs.flash_listing.listing import NAMES, Repair, execute, run, version

Space = dict[str, Any]
SRAM = 100 * 1024


def random_qkv(
    seq_q: int, seq_k: int | None = None, width: int = 16, *, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Queries, keys and values of one text and two heads, the same at every call."""
    sizes = [seq_q, seq_k or seq_q, seq_k or seq_q]
    draws = [torch.Generator().manual_seed(seed) for seed in range(3)]
    return [
        torch.randn(1, 2, n, width, generator=g, dtype=torch.float64).to(dtype)
        for n, g in zip(sizes, draws, strict=True)
    ]


def row_of_scores(scores: list[float]) -> list[Tensor]:
    """q, k, v of one query whose scores are these, and whose output is the weights."""
    n = len(scores)
    q, k = torch.zeros(1, 1, 1, n), torch.zeros(1, 1, n, n)
    q[..., 0], k[0, 0, :, 0] = n**0.5, torch.tensor(scores)
    return [q.repeat(1, 1, n, 1), k, torch.eye(n)[None, None]]


def gap(space: Space, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> float:
    """The largest difference from attention in float64; NaN where the version gives NaN."""
    out = space["flash_attention"](q, k, v, **options)
    exact = reference_attention(q.double(), k.double(), v.double(), **options)
    if out.shape != exact.shape:
        raise ValueError(f"the output has shape {tuple(out.shape)}, not {tuple(exact.shape)}")
    return float((out.double() - exact).abs().max())


def imports(space: Space) -> bool:
    """The model of the listing runs, with and without checkpointing."""
    config = SimpleNamespace(num_layers=2, dim=16, n_heads=2, ffn_dim=32)
    model = space["MemoryEfficientTransformer"](config).eval()
    x = torch.ones(1, 4, 16)
    with warnings.catch_warnings():  # the listing does not say which kind of checkpoint it wants
        warnings.simplefilter("ignore")
        return torch.allclose(model(x), model(x, use_checkpointing=False), atol=1e-5)


def shape(space: Space) -> bool:
    """The output is attention, for one block of keys and for two."""
    return all(gap(space, *random_qkv(n)) < 1e-5 for n in (8, 300))


def start(space: Space) -> bool:
    """Weights are right however negative a row's scores are."""
    rows = ([-c, -c - 1.0, -c - 2, -c - 3] for c in (100.0, 104.0, 1e4))
    return all(gap(space, *row_of_scores(row)) < 1e-6 for row in rows)


def mask(space: Space) -> bool:
    """Causal, also with fewer queries than keys."""
    return all(gap(space, *random_qkv(n, 300), causal=True) < 1e-5 for n in (300, 7))


def guard(space: Space) -> bool:
    """A window whose first block is empty, and queries before the first key."""
    window = gap(space, *random_qkv(600), causal=True, window=64)
    return window < 1e-5 and gap(space, *random_qkv(5, 3), causal=True) < 1e-5


def dtype(space: Space) -> bool:
    """16-bit inputs give what exact attention gives, rounded once."""
    kinds = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
    return all(gap(space, *random_qkv(300, dtype=kind)) < eps for kind, eps in kinds.items())


def products(space: Space, *given: Tensor, **options: Any) -> list[tuple[int, int, int]]:
    """Bytes of operands and result, of each product that a version computes.

    The meta device suffices, since the sizes do not depend on the numbers.
    """
    with Traffic() as counter:
        space["flash_attention"](*(x.to("meta") for x in given), **options)
    return counter.matmuls


def working_set(space: Space, *given: Tensor, **options: Any) -> int:
    """The most bytes that one tile needs at a time: q, k, scores, v and out, of one head."""
    found = products(space, *(x[:, :1] for x in given), **options)
    pairs = zip(found[::2], found[1::2], strict=True)
    return max(sum(first) + sum(second[1:]) for first, second in pairs)


def queries(space: Space) -> bool:
    """The tile of a long text is as large as that of a short one; no tile lies in the future."""
    short, long = random_qkv(512), random_qkv(1024)
    if working_set(space, *long) != working_set(space, *short):
        return False
    side = math.isqrt(len(products(space, *long)) // 2)  # tiles in a row of tiles
    return len(products(space, *long, causal=True)) == side * (side + 1)


def sram(space: Space) -> bool:
    """Every tile fits in 100 KiB, for each width of a head."""
    sizes = [working_set(space, *random_qkv(128, width=d)) for d in (32, 64, 128, 256)]
    return max(sizes) <= SRAM and gap(space, *random_qkv(300), causal=True) < 1e-5


CHECKS: tuple[Callable[[Space], bool], ...] = (
    *(imports, shape, start, mask),
    *(guard, dtype, queries, sram),
)


def judge(text: str, check: Callable[[Space], bool]) -> str:
    """Whether a text runs and does what the check asks for: "passes", or how it fails."""
    try:
        done = check(execute(text))
        return "passes" if done else "fails: it runs, and does not do what is asked"
    except (NameError, RuntimeError, TypeError, ValueError) as error:
        return f"fails: {type(error).__name__}: {str(error).splitlines()[0]}"


def passes(version: str, check: Callable[[Space], bool]) -> bool:
    """Whether a version runs and does what the check asks for."""
    try:
        return check(run(version))
    except (NameError, RuntimeError, TypeError, ValueError):
        return False


def attempt(name: str, *changes: tuple[str, str]) -> None:
    """Prints how the version before a repair fares in the repair's test, with your changes made.

    Args:
        name: the repair whose place your changes take.
        changes: (old text, new text); each old text stands in the version exactly once.

    Raises:
        ValueError: no such repair, or a change that does not fit.
    """
    tests = {check.__name__: check for check in CHECKS}
    if name not in tests:
        raise ValueError(f"no repair {name!r}; expected one of {', '.join(tests)}")
    before = NAMES[NAMES.index(name) - 1]
    text = Repair(name, "yours", changes).apply(version(before))
    what = f"with {len(changes)} of your changes" if changes else "as it stands"
    print(f"version {before}, {what}: test {name}")
    print(
        textwrap.fill(judge(text, tests[name]), 80, initial_indent="  ", subsequent_indent="    ")
    )
