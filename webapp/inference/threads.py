"""How many threads multiply fastest here, by trying: more are often slower on small models and busy machines."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch

SECONDS_EACH = 0.05
WORTH_IT = 1.1  # a further thread must be that much faster


def n_usable_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pick_threads(step: Callable[[], object], limit: int | None = None) -> int:
    """The number of threads, a power of two up to `limit` (all CPUs), at which `step` is fastest.

    Leaves the calling thread with that number. Stops at the first doubling that is not worth it.
    """
    limit = limit or n_usable_cpus()
    chosen, best = 1, _seconds(step, 1)
    while 2 * chosen <= limit:
        seconds = _seconds(step, 2 * chosen)
        if seconds * WORTH_IT > best:
            break
        chosen, best = 2 * chosen, seconds
    torch.set_num_threads(chosen)
    return chosen


def _seconds(step: Callable[[], object], n_threads: int) -> float:
    """The shortest time of a step with so many threads: of all that fit into `SECONDS_EACH`, at least two."""
    torch.set_num_threads(n_threads)
    step()
    times: list[float] = []
    end = time.perf_counter() + SECONDS_EACH
    while len(times) < 2 or time.perf_counter() < end:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return min(times)
