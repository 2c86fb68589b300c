"""The Triton kernels of flash attention in the interpreter: values, gradients, planted bugs.

The cases run in a process of their own (`tests.kernels.worker`), two at a time, while pytest waits
for the first; each is a test here. What this cannot show is speed and races between warps: for that
it takes a GPU (benchmarks/flash_attention_gpu.py checks before it times). Bugs are planted anew
when the sources are not those for which every one was seen (tests/kernels/verified.py).
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
import torch

from llmlib.flash_attention.engines import why_no_triton
from llmlib.flash_attention.tiles import TABLE, block, candidates
from tests.conftest import ROOT
from tests.kernels.cases import AXES, GRID, LENGTHS, WIDTHS, grid, pairs
from tests.kernels.mutants import MUTANTS
from tests.kernels.named import OnCuda
from tests.kernels.verified import holds

HAS_TRITON = platform.system() == "Linux" and platform.machine() == "x86_64"
needs_triton = pytest.mark.skipif(
    not HAS_TRITON, reason="Triton is published for Linux on x86_64 only"
)
NAMED = [
    *("scores_of_ten_thousand", "all_scores_very_negative", "one_hot_rows"),
    *("rows_that_see_nothing_give_zero", "what_nobody_sees_does_not_leak"),
    *("a_key_that_some_see_spoils_only_them", "a_visible_value_counts_feature_by_feature"),
    *("a_query_with_nan_spoils_only_its_row", "packed_texts_do_not_see_each_other"),
    *("empty_sequences", "the_operator_and_its_gradient", "the_operator_obeys_pytorch"),
    *("only_the_lse_is_used", "decoding_splits_the_cache", "parts_without_a_visible_key"),
    *("decoding_hides_nan", "the_fastest_tiles_that_fit_are_kept"),
    *("bfloat16_is_rounded_as_torch_rounds", "a_bfloat16_product_is_exact"),
]
FULL = os.environ.get("LLMLIB_FULL") == "1"
PLANTED = list(MUTANTS) if FULL or not holds("planted") else []
LONGEST = 1800  # seconds for all cases of a run, on a busy machine


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest) -> Callable[[str], dict[str, Any]]:
    """Runs the cases of all chosen tests of this file; gives the result of one by its name."""
    chosen = [
        item.callspec.params["case"]
        for item in request.session.items
        if item.path == request.path
        and hasattr(item, "callspec")
        and "case" in item.callspec.params
    ]
    jobs = "".join(json.dumps({"name": name}) + "\n" for name in dict.fromkeys(chosen))
    found = subprocess.run(
        [sys.executable, "-m", "tests.kernels.worker"], input=jobs, cwd=ROOT, text=True,
        capture_output=True, timeout=LONGEST, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    results = {line["name"]: line for line in map(json.loads, found.stdout.splitlines())}

    def of(name: str) -> dict[str, Any]:
        assert name in results, f"no result; the worker said:\n{found.stderr[-2000:]}"
        return results[name]

    return of


@needs_triton
@pytest.mark.parametrize("case", GRID)
def test_values_and_gradients_follow_the_rule(case: str, outcome: Any) -> None:
    """At most 2 times (gradients: 3 times) the error of naive attention in the same type + 1e-5."""
    result = outcome(case)
    assert result["problem"] is None
    assert result["worst"] > 0, "an error of exactly 0 everywhere: nothing was compared"


@needs_triton
@pytest.mark.parametrize("case", NAMED)
def test_named(case: str, outcome: Any) -> None:
    assert outcome(case)["problem"] is None


@needs_triton
@pytest.mark.parametrize("case", ["unchanged"])
def test_the_kernels_as_they_are_pass_what_mutants_must_fail(case: str, outcome: Any) -> None:
    assert outcome(case)["problem"] is None


if PLANTED:

    @needs_triton
    @pytest.mark.parametrize("case", PLANTED)
    def test_planted_bug_is_seen(case: str, outcome: Any) -> None:
        problem = outcome(case)["problem"]
        assert problem is not None, "no case of the small set sees this bug"
        assert "occurs" not in problem, problem  # the source to replace was not there once

else:

    def test_every_planted_bug_was_seen_in_these_sources() -> None:
        assert holds("planted")


# --- what needs no Triton ---------------------------------------------------------------------


def test_the_grid_covers_all_pairs() -> None:
    cases = grid()
    covered = set().union(*(pairs(case) for case in cases))
    names = list(AXES)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            if {a, b} != {"lengths", "widths"}:
                assert {((a, x), (b, y)) for x in AXES[a] for y in AXES[b]} <= covered
    assert len(cases) <= 80
    differences = {seq_k - seq_q for seq_q, seq_k in LENGTHS}
    assert any(d > 1 and d % 32 == 1 for d in differences)
    assert any(d > 1 and d % 32 == 30 for d in differences)
    assert any(d < 0 and d % 32 for d in differences)
    assert any(d != dv for d, dv in WIDTHS)
    assert len(GRID) == len(cases) + 12


def test_importing_the_package_imports_no_triton() -> None:
    code = (
        "import sys, llmlib.flash_attention, llmlib.flash_attention.engines as e; e.why_no_triton"
    )
    ended = f"{code}; sys.exit('triton' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert (
        subprocess.run([sys.executable, "-c", ended], env=environment, check=False).returncode == 0
    )


@pytest.mark.parametrize(
    ("width", "value_dim", "dtype", "words"),
    [
        (64, None, torch.float64, "float64"),
        (64, None, torch.int64, "int64"),
        (257, None, torch.float32, "257 wide"),
        (64, 512, torch.float16, "512 wide"),
        (64, None, torch.bfloat16, "'cpu'"),
    ],
)
def test_why_triton_cannot_run(
    width: int, value_dim: int | None, dtype: torch.dtype, words: str
) -> None:
    reason = why_no_triton(torch.zeros(1, 1, 2, width, dtype=dtype), value_dim)
    assert reason is not None
    assert words in reason


@pytest.mark.parametrize(
    ("installed", "capability", "words"),
    [
        (False, (9, 0), "pip install triton==3.7.1"),
        (True, (7, 5), "this GPU has 7.5"),
        (True, (8, 0), None),
        (True, (12, 0), None),
    ],
)
def test_why_triton_cannot_run_on_a_gpu(
    installed: bool, capability: tuple[int, int], words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ModuleType("triton")
    found.__spec__ = ModuleSpec("triton", None)
    monkeypatch.setitem(sys.modules, "triton", found if installed else None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    reason = why_no_triton(torch.zeros(1, 1, 2, 64).as_subclass(OnCuda))
    assert reason is None if words is None else words in str(reason)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("capability", "chip"),
    [((8, 0), (8, 0)), ((8, 6), (8, 0)), ((9, 0), (9, 0)), ((10, 0), (10, 0)), ((12, 0), (10, 0))],
)
def test_every_width_has_tiles(
    capability: tuple[int, int], chip: tuple[int, int], dtype: torch.dtype
) -> None:
    for kernel in ("forward", "dq", "dk_dv", "decode"):
        for width in (16, 40, 64, 65, 128, 192, 256):
            tiles = candidates(kernel, capability, width, dtype)
            assert tiles
            assert tiles == candidates(kernel, chip, max(64, block(width)), dtype)
            assert len(set(tiles)) == len(tiles)
    assert chip in TABLE
