"""A run and what is around it: nodes, signals, memory, disks, other programs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoConfig

from sandbox.errors import InputError
from trainer import checkpoint
from trainer.config import TrainConfig
from trainer.preflight import check_host, measure
from trainer.stop import Stop

Run = Callable[..., str]

ELSEWHERE = """
import os
from trainer import nodes
nodes.PATIENCE_SECONDS = 0.3
if os.environ["RANK"] == "1":
    os.chdir("{other}")
else:
    os.chdir("{here}")
"""


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders that stand for the disks of two nodes."""
    for name in ("here", "other"):
        (tmp_path / name).mkdir()
    return tmp_path / "here", tmp_path / "other"


def test_a_folder_that_the_nodes_do_not_share_is_said_at_the_start(
    places: tuple[Path, Path], small_run: list[str], run_trainer: Run
) -> None:
    first = ELSEWHERE.format(here=places[0], other=places[1])
    printed = run_trainer([*small_run, "--out", "out"], processes=2, code=2, first=first)
    lines = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(lines) == 2, "each process says it"
    assert "--out out is not the same folder on" in lines[0]
    assert "(process 1) as on" in lines[0]
    assert "a file system that all nodes share" in lines[0]
    assert "Traceback" not in printed
    assert not list(places[0].rglob(".seen*"))


def test_other_training_files_on_another_node_are_said_at_the_start(
    places: tuple[Path, Path], mixture: Path, small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    for place in places:
        shutil.copytree(mixture, place / "mix")
    with (places[1] / "mix" / "train-00000.jsonl").open("a") as file:
        file.write("\n")
    (places[1] / "mix" / "manifest.json").write_text('{"stage": "mix", "rows_in": 120, "rows_out": 120}')
    at = small_run.index("--data")
    flags = [*small_run[:at], "--data", "mix", *small_run[at + 2 :], "--out", str(tmp_path / "out")]
    first = ELSEWHERE.format(here=places[0], other=places[1])
    printed = run_trainer(flags, processes=2, code=2, first=first)
    assert printed.count("--data holds other training files on") == 2
    assert "Traceback" not in printed


# From step 3 on a micro-batch takes a second, and a step 100: torchrun, which waits 30, would kill it in the middle.
SLOW = """
import sys, time
from trainer import train
from trainer.model import Learner
def take_step(learner, optimizer, order, step, *rest, take_step=train.take_step, **named):
    slow.append(step) if step >= 2 else None
    return take_step(learner, optimizer, order, step, *rest, **named)
def forward(self, *arguments, forward=Learner.forward, **named):
    if slow and self.training:
        print("SLOW", flush=True)
        time.sleep(1)
    return forward(self, *arguments, **named)
slow = []
train.take_step, Learner.forward = take_step, forward
from sandbox.command import run_command
from trainer.__main__ import main
raise SystemExit(run_command(main))
"""


@pytest.mark.slow
def test_under_torchrun_sigterm_in_a_step_of_minutes_saves_before_the_processes_are_killed(
    small_run: list[str], tmp_path: Path
) -> None:
    script, out = tmp_path / "slow.py", tmp_path / "out"
    script.write_text(SLOW)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    flags = [*small_run, "--batch-rows", "200", "--micro-rows", "1", "--checkpoint-every", "1000", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    printed = []
    with subprocess.Popen(
        [*torchrun, str(script), *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line)
            if line == "SLOW\n":
                process.send_signal(signal.SIGTERM)
                break
        printed += process.stdout.readlines()
    assert process.returncode != 0
    assert "stopped after step 2; run the same command again to go on" in "".join(printed), printed
    (saved,) = checkpoint.complete(out / "checkpoints")
    assert checkpoint.notes(saved)["step"] == 2


def test_a_file_named_stop_ends_a_run_with_a_checkpoint_and_is_gone_afterwards(
    small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ask = f"""
from trainer.log import Log
def write(self, record, write=Log.write):
    write(self, record)
    if record.step == 3: open({str(out / "stop")!r}, "w").close()
Log.write = write
"""
    flags = [*small_run, "--out", str(out), "--checkpoint-every", "1000"]
    printed = run_trainer(flags, processes=2, code=128 + signal.SIGTERM, first=ask)
    assert "stopped after step 3; run the same command again to go on" in printed
    assert not (out / "stop").exists()
    (out / "stop").touch()  # one that was left from before the start is not meant for this run
    printed = run_trainer(flags)
    assert "going on after step 3" in printed
    assert "trained: loss" in printed


def test_a_checkpoint_too_slow_for_torchrun_is_said_once_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop = Stop(tmp_path)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert stop.warn_of_slow_save(100.0) is None, "nobody kills it"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert stop.warn_of_slow_save(10.0) is None
    said = stop.warn_of_slow_save(41.0)
    assert said is not None
    assert said.startswith("a checkpoint took 41 s, and torchrun kills this run 30 s after SIGTERM")
    assert f"`touch {tmp_path / 'stop'}` and wait" in said
    assert stop.warn_of_slow_save(41.0) is None


# What an allocator raises in the third step, and what the line says.
SHORT = [
    (
        "raise RuntimeError('compiled') from torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. "
        "GPU 0 has a total capacity of 79.1 GiB. If reserved but unallocated memory is large try setting X')",
        "out of memory on the device (CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "
        "79.1 GiB.): lower --micro-rows (now 2), --recompute selective or full, more processes (torchrun), --state sr",
    ),
    ("raise MemoryError", "out of memory on this process's host memory: lower --micro-rows (now 2)"),
    ("import numpy; numpy.empty(1 << 50)", "out of memory on this process's host memory (Unable to allocate 8.00 PiB"),
]


@pytest.mark.parametrize(("fails", "message"), SHORT, ids=["device", "host", "a real one"])
def test_memory_that_runs_out_in_a_step_is_one_line_that_names_the_flags(
    fails: str, message: str, small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    first = f"""
import torch
from trainer import train
def take_step(learner, optimizer, order, step, *rest, take_step=train.take_step, **named):
    if step == 2:
        {fails}
    return take_step(learner, optimizer, order, step, *rest, **named)
train.take_step = take_step
"""
    printed = run_trainer([*small_run, "--out", str(tmp_path / "out")], code=2, first=first)
    line = printed.strip().splitlines()[-1]
    assert message in line
    assert line.startswith("error: ")
    assert line.endswith("run the same command again, it goes on from its last checkpoint")
    assert "Traceback" not in printed


def test_a_host_too_small_for_the_whole_model_is_refused_before_the_weights_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = AutoConfig.for_model(
        "llama", vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    size = measure(config)
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("trainer.preflight._LIMITS", (limit,))
    settings = TrainConfig(data=tmp_path, out=tmp_path, model="m", export="fp32")
    limit.write_text(str(4 * size.parameters))
    check_host(size, settings)
    with pytest.raises(InputError, match="holds the whole model in host memory when it starts and when it exports"):
        check_host(size, TrainConfig(data=tmp_path, out=tmp_path, model="m", export="bf16"))
    limit.write_text(str(4 * size.parameters - 1))
    with pytest.raises(InputError, match="start it on a machine with more"):
        check_host(size, settings)
