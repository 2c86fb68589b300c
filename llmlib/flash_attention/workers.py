"""Who works: one Python thread a core, each with a task of its own."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import torch


def run_all(tasks: Iterable[Callable[[], None]], on_cpu: bool = True) -> None:
    """Run the tasks on as many Python threads as PyTorch has threads, one core each.

    Products release Python's lock. Tasks of their own are several times faster on a busy machine
    than many small operations that all cores share, since each of those waits for the slowest core.
    The threads end with the call: a process that is forked inherits none. Whoever counts operations
    (a dispatch mode, such as PyTorch's FLOP counter) sees those of its own thread only, so then
    that thread does all.
    """
    waiting, n_threads = list(tasks), torch.get_num_threads()
    counted = torch._C._len_torch_dispatch_stack() > 0
    inference = torch.is_inference_mode_enabled()
    if n_threads == 1 or len(waiting) < n_threads or not on_cpu or counted:
        for task in waiting:
            task()
        return
    torch.set_num_threads(1)  # threads that start from now on take this over
    try:
        with ThreadPoolExecutor(n_threads) as pool:
            for done in [pool.submit(_without_graph, task, inference) for task in waiting]:
                done.result()
    finally:
        torch.set_num_threads(n_threads)


def _without_graph(task: Callable[[], None], inference: bool) -> None:
    """A thread starts with gradients recorded, and outside its caller's inference mode."""
    with torch.inference_mode() if inference else torch.no_grad():
        task()
