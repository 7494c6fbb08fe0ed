"""What a user asks for: flags, a file of them, passes and weights instead of steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset.files import read_manifest
from sandbox.errors import InputError
from trainer.arguments import parse_config
from trainer.batches import Order
from trainer.config import TrainConfig, read_weights
from trainer.plan import times_in_pass
from trainer.render import Rendered

Run = Callable[..., str]


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


# --config


def test_a_file_sets_what_flags_set_and_flags_win(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        'model = "m"\ndata = "d"\nout = "o"\nsteps = 7\nlearning-rate = 1\nbeta1 = 0.8\ncompile = true\nrepeat = true\n'
        'state = "sr"\nheldout = "h.jsonl"\n'
    )
    plain = "--model m --data d --steps 9 --learning-rate 1 --beta1 0.8 --repeat --state sr --heldout h.jsonl --out p"
    found = parse_config(f"--config {file} --steps 9 --no-compile --out p".split())
    assert found == parse_config(plain.split())
    assert isinstance(found.learning_rate, float)
    assert parse_config(["--config", str(file), "--init", "demo"]).model is None, (
        "a flag sets its rival in the file aside"
    )
    assert parse_config(["--config", str(file), "--epochs", "2"]).epochs == 2.0


# What a file says, and a part of the one line that answers.
WRONG = [
    ("learning-rat = 1e-5", "unknown key 'learning-rat' (is 'learning_rate' meant?)"),
    ("zzz = 1\nsteps = 1.5", "unknown key 'zzz'; steps is 1.5, expected a whole number"),
    ("steps = true", "steps is True, expected a whole number"),
    ("compile = 1", "compile is 1, expected true or false"),
    ("clip = '1'", "clip is '1', expected a number"),
    ("data = 3", "data is 3, expected a string"),
    ("state = 'fp8'", "state is 'fp8', expected one of fp32, bf16, sr"),
    ("state = ['fp8']", "state is ['fp8'], expected one of fp32"),
    ("steps = 2\nepochs = 2", "both --steps and --epochs are given in"),
    ("batch-rows = 1\nbatch_rows = 1", "'batch_rows' is there twice"),
    ("[optimizer]\nbeta1 = 0.9", "unknown key 'optimizer'"),
    ("steps = ", "cannot be read: Invalid value"),
    ("steps = 0", "--steps is 0, expected at least 1"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[text for text, _ in WRONG])
def test_a_mistake_in_a_file_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(InputError) as error:
        parse_config(["--config", str(tmp_path / "run.toml"), "--model", "m", "--data", "d", "--out", "o"])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_files_and_flags_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        parse_config(["--config", str(tmp_path / "none.toml")])
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(InputError, match="expected settings by name, found a list"):
        parse_config(["--config", str(tmp_path / "run.json")])
    with pytest.raises(InputError, match="arguments are required: --data, --out"):
        parse_config(["--model", "m"])
    with pytest.raises(InputError, match="both --steps and --epochs are given on the command line"):
        parse_config(["--model", "m", "--data", "d", "--out", "o", "--steps", "3", "--epochs", "1"])


def test_a_run_repeats_another_by_its_own_record_and_not_over_other_data(
    small_run: list[str], run_trainer: Run, mixture: Path, sums: Any, write: Any, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    at = small_run.index("--steps")
    flags = [*small_run[:at], "--epochs", "0.5", *small_run[at + 2 :], "--source-weights", "sums/pot=2,sums/cot=0.5"]
    run_trainer([*flags, "--out", str(first)])
    run_trainer(["--config", str(first / "run.json"), "--out", str(second)])
    assert losses(second) == losses(first)
    assert (second / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()
    manifest = read_manifest(second)
    assert manifest is not None
    assert (manifest.config["epochs"], manifest.summary["steps"]) == (0.5, len(losses(first)))
    assert "already trained" in run_trainer(["--config", str(first / "run.json")])
    recorded = json.loads((first / "run.json").read_text())
    other = write(tmp_path / "mix", sums(60))
    (tmp_path / "run.json").write_text(json.dumps({**recorded, "data": str(other)}))
    with pytest.raises(InputError, match="is of a run that learned other data than"):
        parse_config(["--config", str(tmp_path / "run.json")])
    assert parse_config(["--config", str(tmp_path / "run.json"), "--data", str(other)]).data == other


# --epochs


def test_epochs_show_each_example_so_often_and_fill_the_last_step_up(data: Rendered) -> None:
    order = Order(data, epochs=2, batch_rows=4, row_tokens=256)
    rows = [p.rows for p in order.plans]
    assert order.steps == -(-sum(rows[:2]) // 4)
    assert order.times_seen()["sums"] == pytest.approx(2, abs=3 * 4 / rows[0])
    seen = np.concatenate([p.documents for p in order.plans[:2]])
    assert np.bincount(seen, minlength=120).tolist() == [2] * 120
    assert Order(data, epochs=0.5, batch_rows=1, row_tokens=256).steps == -(-rows[0] // 2)
    assert Order(data, epochs=1e-6, batch_rows=1000, row_tokens=256).steps == 1
    same = Order(data, steps=order.steps, batch_rows=4, row_tokens=256, repeat=True)
    assert [a.row(0).tolist() for a in order.plans] == [a.row(0).tolist() for a in same.plans]


def test_a_run_of_one_epoch_goes_on_to_two_and_learns_what_a_run_of_two_does(
    small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    at = small_run.index("--steps")
    flags = [
        flag for flag in [*small_run[:at], *small_run[at + 2 :]] if flag not in ("--schedule", "cosine", "--repeat")
    ]
    flags += ["--batch-rows", "20", "--micro-rows", "4"]
    run_trainer([*flags, "--epochs", "1", "--out", str(tmp_path / "a")])
    steps = len(losses(tmp_path / "a"))
    assert "going on after step" in run_trainer([*flags, "--epochs", "2", "--out", str(tmp_path / "a")])
    run_trainer([*flags, "--epochs", "2", "--out", str(tmp_path / "b")])
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert len(losses(tmp_path / "a")) > steps
    assert "other settings (epochs 2.0 -> 1.0)" in run_trainer(
        [*flags, "--epochs", "1", "--out", str(tmp_path / "a")], code=2
    )


def test_a_warm_up_longer_than_the_epochs_is_refused(small_run: list[str], run_trainer: Run, tmp_path: Path) -> None:
    at = small_run.index("--steps")
    flags = [*small_run[:at], *small_run[at + 2 :], "--epochs", "0.1", "--warmup-steps", "400"]
    printed = run_trainer([*flags, "--out", str(tmp_path / "out")], code=2)
    assert "--warmup-steps is 400, expected 0 to the 1 steps of --epochs" in printed


# --source-weights


def test_weights_are_kept_in_every_pass_and_exactly_over_several() -> None:
    weights = np.repeat([1.0, 0.25, 2.5, 0.0], 1000)
    passes = np.stack([times_in_pass(weights, seed=3, epoch=epoch) for epoch in range(4)])
    for part, weight in zip(np.split(passes, 4, axis=1), (1.0, 0.25, 2.5, 0.0), strict=True):
        assert part.sum(axis=1) == pytest.approx([1000 * weight] * 4, abs=1)
        assert set(part.sum(axis=0)) == {4 * weight}, "after four passes each example was shown as often as every other"
        assert set(np.unique(part)) <= {int(weight), int(np.ceil(weight))}
    assert (passes[0][1000:2000] != passes[1][1000:2000]).any()


def test_a_run_sees_sources_by_their_weights_and_without_any_as_before(data: Rendered) -> None:
    plain = Order(data, steps=20, batch_rows=2, row_tokens=256, repeat=True)
    ones = Order(data, steps=20, batch_rows=2, row_tokens=256, repeat=True, weights={"sums": 1.0})
    assert plain.targets.sum() == pytest.approx(ones.targets.sum(), rel=0.1)
    order = Order(data, epochs=4, batch_rows=1, row_tokens=256, weights={"sums": 0.5, "sums/pot": 2, "sums/tir/zh": 0})
    seen = np.concatenate([p.documents for p in order.plans[:4]])
    times = np.bincount(seen, minlength=120)
    expected = {"cot": {2}, "pot": {8}, "tir": {2}}
    for number, name in enumerate(data.names):
        assert set(times[data.groups == number]) == ({0} if name[1:] == ("tir", "zh") else expected[name[1]]), name


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("sums", "has 'sums', expected NAME=NUMBER"),
        ("sums=two", "has 'sums=two', expected NAME=NUMBER"),
        ("sums=-1", "numbers from 0 to 1000"),
        ("sums=nan", "numbers from 0 to 1000"),
        ("", "has '', expected NAME=NUMBER"),
        ("gsm8k=2", "names gsm8k, which the data do not hold; they hold sums/cot/en, sums/cot/zh"),
        ("sums=0", "leaves out every example"),
    ],
)
def test_weights_that_mean_nothing_are_one_line(weights: str, message: str, data: Rendered) -> None:
    def ask() -> None:
        TrainConfig(data=Path(), out=Path(), init="-", source_weights=weights)
        Order(data, steps=1, batch_rows=1, row_tokens=256, weights=read_weights(weights))

    with pytest.raises(InputError, match="--source-weights") as error:
        ask()
    assert message in str(error.value)


# --no-last-checkpoint


def test_a_run_may_keep_no_checkpoint_and_then_refuses_to_be_made_longer(
    small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    flags = [flag for flag in small_run if flag not in ("--schedule", "cosine")]
    run_trainer([*flags, "--out", str(out), "--no-last-checkpoint"])
    assert not (out / "checkpoints").exists()
    assert (out / "model.safetensors").exists()
    printed = run_trainer([*flags, "--out", str(out), "--steps", "9"], code=2)
    assert "is done and kept no checkpoint (--no-last-checkpoint), so it cannot go on" in printed
    assert "already trained" in run_trainer([*flags, "--out", str(out)]), "the refusal left it as it was"
