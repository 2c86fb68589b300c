"""Who works: one Python thread a core, each with tasks of its own."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

Task = Callable[[], None]


def run_all(tasks: Iterable[Task], on_cpu: bool = True) -> None:
    """Run the tasks on as many Python threads as PyTorch has threads, one core each.

    Products release Python's lock. Tasks of their own are several times faster on a busy machine
    than many small operations that all cores share, since each of those waits for the slowest core.
    Whoever counts operations (a dispatch mode, such as PyTorch's FLOP counter) sees those of its
    own thread only, so then that thread does all.
    """
    waiting, n_threads = list(tasks), torch.get_num_threads()
    counted = torch._C._len_torch_dispatch_stack() > 0
    if n_threads == 1 or len(waiting) < n_threads or not on_cpu or counted:
        for task in waiting:
            task()
        return
    inference, left = torch.is_inference_mode_enabled(), iter(waiting)
    torch.set_num_threads(1)
    try:
        _share_out(functools.partial(_work, left, inference), n_threads)
    finally:
        torch.set_num_threads(n_threads)


def _share_out(work: Task, n_threads: int) -> None:
    """Start work on each thread, and wait for it.

    A thread that outlives the main one, or a function that runs at the interpreter's exit, cannot
    start others any more; nor can a process that has reached its limit. Then it works itself.
    """
    workers: list[Future[None]] = []
    try:
        for _ in range(n_threads):
            workers.append(_pool(n_threads).submit(work))
    except RuntimeError:
        work()
        workers = [worker for worker in workers if not worker.cancel()]
    for worker in workers:
        worker.result()


@functools.cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    """Threads that stay: to start them anew would cost a short call as much as its work."""
    return ThreadPoolExecutor(n_threads)


if hasattr(os, "register_at_fork"):  # threads do not come along into a process that is forked
    os.register_at_fork(after_in_child=_pool.cache_clear)


def _work(left: Iterator[Task], inference: bool) -> None:
    """Tasks until none is left; a thread does not know its caller's mode of gradients."""
    with torch.inference_mode() if inference else torch.no_grad():
        for task in left:
            task()
