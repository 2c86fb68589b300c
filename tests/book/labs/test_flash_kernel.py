import pytest
import torch

from llmlib.book.labs.flash_kernel.stand_in import tl, triton


@triton.jit
def row_lse(scores_ptr, lse_ptr, n, TILE):
    row, m, ell = tl.program_id(0), -float("inf"), 0.0
    for begin in range(0, n, TILE):
        at = begin + tl.arange(0, TILE)
        s = tl.load(scores_ptr + row * n + at, at < n, -float("inf"))
        m_new = tl.maximum(m, tl.max(s, 0))
        ell = ell * tl.exp(m - m_new) + tl.sum(tl.exp(s - m_new), 0)
        m = m_new
    tl.store(lse_ptr + row, m + tl.log(ell))


@pytest.mark.parametrize("n", [1, 31, 32, 50])
def test_a_kernel_runs_without_triton(n: int) -> None:
    scores = 100 * torch.randn(6, n, generator=torch.Generator().manual_seed(n))
    lse = torch.zeros(7)
    row_lse[(6,)](scores, lse, n, TILE=32)
    assert torch.allclose(lse[:6], scores.logsumexp(-1))
    assert lse[6] == 0
