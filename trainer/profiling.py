"""Where the time of a step goes, by torch's profiler: a table and a trace, of the first process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile


@contextmanager
def profiled(out: Path, step: int, *, on: bool) -> Iterator[None]:
    """Profile the block, if `on`, into OUT/profile.txt (operations by time) and OUT/profile.json (a trace)."""
    if not on:
        yield
        return
    cuda = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as found:
        yield
    found.export_chrome_trace(str(out / "profile.json"))
    order = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    (out / "profile.txt").write_text(found.key_averages().table(sort_by=order, row_limit=40), encoding="utf-8")
    print(f"profile of step {step}: {out / 'profile.txt'}, and {out / 'profile.json'} for ui.perfetto.dev", flush=True)
