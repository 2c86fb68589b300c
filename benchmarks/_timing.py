"""How all benchmarks time: side by side, in turns."""

import statistics
import time
from collections.abc import Callable


def median_seconds(
    runs: dict[str, Callable[[], object]], repeat: int, warm_up: int = 1, pause: float = 0.0
) -> dict[str, float]:
    """The median time of each run; the runs take turns, so that a busy machine hits all alike.

    Args:
        runs: what to time.
        repeat: how often.
        warm_up: runs before those that count.
        pause: seconds before each run. OpenMP's threads spin for a while after their work, on cores
            that the next run wants.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for step in range(warm_up + repeat):
        for name, run in runs.items():
            time.sleep(pause)
            start = time.perf_counter()
            run()
            if step >= warm_up:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}
