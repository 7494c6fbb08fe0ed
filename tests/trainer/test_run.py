"""Whole runs of `python -m trainer`: processes, kills, resumption, mistakes of the user's."""

from __future__ import annotations

import json
import math
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dataset.files import read_manifest
from sandbox.errors import InputError
from trainer import checkpoint, train

Run = Callable[..., str]


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def learned(out: Path) -> list[tuple[float, float, dict[str, float]]]:
    """What must be equal for two runs to have learned the same."""
    return [(record["loss"], record["gradient_norm"], record["loss_by"]) for record in log(out)]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, small_run: list[str]) -> Path:
    """The same run, never interrupted, in one process."""
    from trainer.__main__ import main

    out = tmp_path_factory.mktemp("reference") / "out"
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    assert main([*small_run, "--out", str(out)]) == 0
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return out


def test_a_run_leaves_a_model_a_log_a_plot_and_its_manifest_last(reference: Path) -> None:
    records = log(reference)
    assert [record["step"] for record in records] == list(range(1, 9))
    assert records[-1]["loss"] < records[0]["loss"]
    assert records[0]["loss"] == pytest.approx(math.log(400), rel=0.05), "a new model knows nothing: ln of vocabulary"
    assert {"sums/tir/zh", "sums/cot/en"} <= set(records[0]["loss_by"])
    manifest = read_manifest(reference)
    assert manifest is not None
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(manifest.outputs)
    assert manifest.summary["parameters"] == sum(
        math.prod(shape) for shape in tensor_shapes(reference / "model.safetensors").values()
    )
    assert (reference / "loss.png").stat().st_size > 1000


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    header = path.read_bytes()
    length = int.from_bytes(header[:8], "little")
    entries = json.loads(header[8 : 8 + length])
    return {name: entry["shape"] for name, entry in entries.items() if name != "__metadata__"}


def test_the_total_loss_is_the_mean_over_targets_of_the_groups_losses(reference: Path) -> None:
    for record in log(reference):
        losses = record["loss_by"].values()
        assert min(losses) <= record["loss"] <= max(losses)


@pytest.mark.parametrize("processes", [2, 4])
def test_more_processes_have_the_same_losses_and_gradient_norms(
    processes: int, reference: Path, small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_trainer([*small_run, "--out", str(out)], processes=processes)
    for one, other in zip(log(reference), log(out), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-5)
        assert other["loss_by"] == pytest.approx(one["loss_by"], rel=1e-5)


ONE_ORDER = """
import torch
from trainer import train
def take_step(*arguments, take_step=train.take_step, **named):
    assert torch.are_deterministic_algorithms_enabled() is {deterministic}
    return take_step(*arguments, **named)
train.take_step = take_step
"""


@pytest.mark.parametrize("flags", [[], ["--deterministic"]], ids=["as it comes", "deterministic"])
def test_a_gpu_is_held_to_one_order_when_asked_and_every_sum_has_one(
    flags: list[str], reference: Path, small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    """Operations of which torch has no deterministic form raise then, on a CPU too."""
    out = tmp_path / "out"
    run_trainer([*small_run, *flags, "--out", str(out)], first=ONE_ORDER.format(deterministic=bool(flags)))
    assert learned(out) == learned(reference)


# At a step of its own choosing the process is gone, as by `kill -9`: not by a clock, which a busy machine would shift.
DIE = "import os, signal\ndef die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
KILLS = {
    "after step {step}": """
from trainer.log import Log
def write(self, record, write=Log.write):
    write(self, record)
    if record.step == {step}: die()
Log.write = write
""",
    "in the line of step {step}": """
import trainer.log
def write_line(file, value, write_line=trainer.log.write_line):
    if value["step"] < {step} or file.mode != "a": return write_line(file, value)
    file.write('{{"step": {step}, "loss"')
    file.flush()
    die()
trainer.log.write_line = write_line
""",
    "in the save after step {step}": """
from trainer import checkpoint
def flush(folder, flush=checkpoint._flush):
    if folder.name == "step-{step:06d}.partial": die()
    flush(folder)
checkpoint._flush = flush
""",
    "between the save after step {step} and its mark": """
from trainer import checkpoint
def flush(folder, flush=checkpoint._flush):
    if (folder / "step-{step:06d}").exists(): die()
    flush(folder)
checkpoint._flush = flush
""",
    "before the export": "from trainer import train\ntrain.export = die",
    "between the export and the manifest": "from trainer import train\ntrain.finish = die",
}


@pytest.mark.parametrize(
    ("when", "step"),
    [
        *((when, step) for when in list(KILLS)[:2] for step in (1, 4, 7)),
        *((when, step) for when in list(KILLS)[2:4] for step in (2, 8)),
        *((when, 8) for when in list(KILLS)[4:]),
    ],
    ids=lambda value: str(value).replace(" {step}", ""),
)
def test_killed_anywhere_and_started_again_it_learns_bit_for_bit_the_same(
    when: str, step: int, reference: Path, small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_trainer([*small_run, "--out", str(out)], code=-signal.SIGKILL, first=DIE + KILLS[when].format(step=step))
    assert (out / "log.jsonl").exists()
    assert not (out / "manifest.json").exists()
    run_trainer([*small_run, "--out", str(out)])
    assert learned(out) == learned(reference)
    assert (out / "model.safetensors").read_bytes() == (reference / "model.safetensors").read_bytes()


def cut(out: Path, *, keep_steps: int) -> None:
    """Put a finished run back to its checkpoint after `keep_steps` steps."""
    (out / "manifest.json").unlink()
    for path in (out / "checkpoints").iterdir():
        if path.name != f"step-{keep_steps:06d}":
            shutil.rmtree(path)


def test_a_run_of_one_process_goes_on_in_two(
    reference: Path, small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(reference, out)
    cut(out, keep_steps=6)
    printed = run_trainer([*small_run, "--out", str(out)], processes=2)
    assert "going on after step 6" in printed
    for one, other in zip(log(reference), log(out), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-5)


@pytest.mark.parametrize("damage", ["no mark", "truncated shard", "missing shard", "garbage mark"])
def test_a_torn_checkpoint_is_passed_over(damage: str, reference: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    shutil.copytree(reference / "checkpoints", folder)
    assert [path.name for path in checkpoint.complete(folder)] == ["step-000006", "step-000008"]
    last = folder / "step-000008"
    shard = next(last.glob("*.distcp"))
    if damage == "no mark":
        (last / "COMPLETE").unlink()
    elif damage == "truncated shard":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif damage == "missing shard":
        shard.unlink()
    else:
        (last / "COMPLETE").write_text("{}")
    assert [path.name for path in checkpoint.complete(folder)] == ["step-000006"]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_full_disk_is_said_in_one_line_and_the_run_goes_on_from_the_last_whole_checkpoint(
    processes: int, reference: Path, small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(reference, out)
    cut(out, keep_steps=6)
    # Enough for a log, not for a checkpoint: its first write beyond fails as on a disk that is full.
    printed = run_trainer([*small_run, "--out", str(out)], processes=processes, code=2, file_bytes=50_000)
    assert printed.count("cannot be written any more: the disk is full") == processes
    assert "step-000006 is whole, and the run goes on from it" in printed
    assert "Traceback" not in printed
    assert [path.name for path in checkpoint.complete(out / "checkpoints")] == ["step-000006"]
    run_trainer([*small_run, "--out", str(out)])
    assert learned(out) == learned(reference)


def test_a_disk_that_is_full_before_the_first_step_is_said_as_well(
    small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    printed = run_trainer([*small_run, "--out", str(tmp_path / "out")], code=2, file_bytes=3000)
    assert "the disk is full" in printed
    assert "no checkpoint was written yet" in printed
    assert "Traceback" not in printed


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[str]], int]]:
    """The command in this process, which keeps its signal handlers."""
    from trainer.__main__ import main

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield main
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_steps_that_are_not_finite_are_skipped_counted_and_end_the_run(
    run_here: Callable[[list[str]], int], small_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = train.take_step

    def poisoned(learner: Any, optimizer: Any, order: Any, step: int, *rest: Any, **named: Any) -> Any:
        if step == 3:
            with torch.no_grad():
                learner.model.model.norm.weight.fill_(float("inf"))
        return taken(learner, optimizer, order, step, *rest, **named)

    monkeypatch.setattr(train, "take_step", poisoned)
    out = tmp_path / "out"
    with pytest.raises(InputError, match="not finite in 3 steps in a row, the last step 6: lower --learning-rate"):
        run_here([*small_run, "--out", str(out), "--checkpoint-every", "3"])
    assert [record["skipped"] for record in log(out)] == [False] * 3 + [True] * 3
    assert "NaN" not in (out / "log.jsonl").read_text(), "JSON has no such number"
    assert log(out)[-1]["loss"] is None
    assert [path.name for path in checkpoint.complete(out / "checkpoints")] == ["step-000003"]


def test_weights_that_are_not_finite_are_said_before_the_first_step(
    run_here: Callable[[list[str]], int], reference: Path, small_run: list[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(reference, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"].fill_(float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="the loss is not finite before the first step"):
        run_here(["--model", str(broken), *small_run[2:], "--out", str(tmp_path / "out")])


@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_ends_a_run_before_the_next_micro_batch_with_a_checkpoint(
    processes: int, small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    flags = [*small_run, "--out", str(out), "--checkpoint-every", "1000"]
    ask = KILLS["after step {step}"].replace("die()", "os.kill(os.getpid(), signal.SIGTERM)").format(step=3)
    printed = run_trainer(flags, processes=processes, code=128 + signal.SIGTERM, first=DIE + ask)
    assert "stopped after step 3; run the same command again to go on" in printed
    (saved,) = checkpoint.complete(out / "checkpoints")
    assert checkpoint.notes(saved)["step"] == len(log(out)) == 3


def test_a_finished_run_does_no_work_again(reference: Path, small_run: list[str], run_trainer: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in reference.rglob("*")}
    assert "already trained" in run_trainer([*small_run, "--out", str(reference)])
    assert {path: path.stat().st_mtime_ns for path in reference.rglob("*")} == before


def test_a_constant_rate_may_go_on_further_and_a_decaying_one_may_not(
    reference: Path, small_run: list[str], run_trainer: Run
) -> None:
    printed = run_trainer([*small_run, "--out", str(reference), "--steps", "9"], code=2)
    assert "other settings (steps 8 -> 9)" in printed


# What the user gave, and a part of the one line they get.
MISTAKES: list[tuple[list[str], str]] = [
    (["--init", "{moving}"], "beyond 64 positions its dynamic rope depends on the longest example in a row"),
    (["--init", "{other_tokenizer}"], "with qwen2, transformers loads a new tokenizer as Qwen2Tokenizer, of"),
    (["--data", "nowhere"], "--data nowhere is not a folder"),
    (["--data", "{empty}"], "manifest.json is missing"),
    (["--data", "{no_files}"], "holds no train-*.jsonl"),
    (["--data", "{malformed}"], "train-00000.jsonl:2: not JSON"),
    (["--init", "nothing"], "--init nothing: no such file; expected a TOML or JSON file, or one of: demo"),
    (["--init", "{bad_init}"], "architecture is 'gpt7'"),
    (["--init", "{no_layers}"], "'gpt2' cannot be trained: its decoder has no list of `layers`"),
    (["--init", "{bad_model}"], "does not know: hidden"),
    (["--model", "x"], "give one of --model and --init"),
    (["--steps", "0", "--seed", "-1"], "--steps is 0, expected at least 1; --warmup-steps is 2"),
    (["--steps", "many"], "invalid int value: 'many'"),
    (["--learnrate", "1"], "unrecognized arguments: --learnrate 1"),
    (["--row-tokens", "2000"], "an example has"),
    (["--row-tokens", "100", "--overlong", "error"], "examples are longer than 100 tokens, the first at"),
    (["--row-tokens", "4"], "no example fits a row of 4 tokens"),
    (["--micro-rows", "10000000"], "GiB are needed in each process"),
]


@pytest.mark.parametrize(("flags", "message"), MISTAKES, ids=[" ".join(flags) for flags, _ in MISTAKES])
def test_a_mistake_ends_in_one_line_and_exit_code_2(
    flags: list[str],
    message: str,
    small_run: list[str],
    run_trainer: Run,
    sums: Callable[[int], list[dict[str, Any]]],
    write: Callable[..., Path],
    tmp_path: Path,
) -> None:
    for name in ("empty", "no_files"):
        (tmp_path / name).mkdir()
    (tmp_path / "no_files" / "manifest.json").write_text('{"stage": "mix", "rows_in": 0, "rows_out": 0}')
    write(tmp_path / "malformed", sums(1))
    with (tmp_path / "malformed" / "train-00000.jsonl").open("a") as file:
        file.write("{oops\n")
    (tmp_path / "malformed" / "manifest.json").write_text('{"stage": "mix", "rows_in": 2, "rows_out": 2}')
    (tmp_path / "bad_init.json").write_text('{"architecture": "gpt7", "tokenizer": {"vocabulary": 300}, "model": {}}')
    (tmp_path / "no_layers.json").write_text('{"architecture": "gpt2", "tokenizer": {"vocabulary": 300}, "model": {}}')
    (tmp_path / "moving.toml").write_text(
        'architecture = "llama"\ntokenizer.vocabulary = 300\nmodel.max_position_embeddings = 64\n'
        'model.rope_parameters = {rope_type = "dynamic", factor = 4.0, rope_theta = 10000.0}\n'
    )
    (tmp_path / "other_tokenizer.toml").write_text(
        'architecture = "qwen2"\ntokenizer.vocabulary = 300\nmodel.hidden_size = 32\n'
    )
    (tmp_path / "bad_model.toml").write_text('architecture = "llama"\ntokenizer.vocabulary = 300\nmodel.hidden = 1\n')
    if flags[0] == "--row-tokens" and flags[1] == "2000":
        row = sums(1)[0]
        row["messages"][1]["content"] = "1 2 3 4 5 " * 57
        write(tmp_path / "long", [row])
        flags = [*flags, "--data", str(tmp_path / "long")]
    names = {p.stem: str(p) for p in tmp_path.iterdir()}
    filled = [flag.format(**names) if "{" in flag else flag for flag in flags]
    printed = run_trainer([*small_run, "--out", str(tmp_path / "out"), *filled], code=2)
    line = printed.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert message in line
    assert "Traceback" not in printed


def test_more_steps_than_data_are_refused_before_the_first_step(
    small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    flags = [flag for flag in small_run if flag != "--repeat"]
    printed = run_trainer([*flags, "--out", str(tmp_path / "out"), "--steps", "50"], code=2)
    assert "50 steps need 300. Pass --repeat" in printed
    assert not (tmp_path / "out" / "log.jsonl").exists()


def test_a_folder_of_other_settings_is_left_alone(reference: Path, small_run: list[str], run_trainer: Run) -> None:
    printed = run_trainer([*small_run, "--out", str(reference), "--learning-rate", "1e-4", "--seed", "3"], code=2)
    assert "learning_rate 0.003 -> 0.0001; seed 0 -> 3" in printed
