"""What a run may do besides the recipe: less memory, adapters, held-out examples, viewers, compiled layers."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from sandbox.errors import InputError
from trainer import checkpoint
from trainer.architecture import meta_model
from trainer.batches import Order
from trainer.config import TrainConfig
from trainer.export import export, gather_weights
from trainer.heldout import read_heldout
from trainer.log import StepRecord, console_line
from trainer.lora import adapted
from trainer.model import (
    Head,
    Learner,
    build_learner,
    load_weights,
    new_weights,
    pretrained_weights,
    target_losses,
    target_losses_in_pieces,
)
from trainer.preflight import check_resources, measure, memory_bytes, states_bytes
from trainer.render import Rendered
from trainer.rounded import RoundedAdamW, rounded_
from trainer.self_check import expect_seconds, prove
from trainer.step import make_optimizer, take_step
from trainer.tokenizer import load_tokenizer
from trainer.trackers import open_tracker
from trainer.world import World

Run = Callable[..., str]


def tiny(layers: int = 2) -> Any:
    return AutoConfig.for_model(
        "llama", vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip


def settings(tmp_path: Path, **changes: Any) -> TrainConfig:
    shape = {"steps": 4, "batch_rows": 2, "row_tokens": 256, "micro_rows": 1}
    return TrainConfig(data=tmp_path, out=tmp_path, init="-", **{**shape, **changes})


def learner_of(world: World, **options: Any) -> Learner:
    learner = build_learner(tiny(), world, precision=torch.float32, **options)
    load_weights(learner, new_weights(tiny(), 0))
    return learner.train()


def run_steps(learner: Learner, data: Rendered, world: World, config: TrainConfig) -> list[float]:
    order = Order(data, steps=config.steps, batch_rows=config.batch_rows, row_tokens=config.row_tokens, repeat=True)
    optimizer = make_optimizer(learner, config)
    results = [take_step(learner, optimizer, order, s, config, world, stop=False) for s in range(config.steps)]
    return [float(r.losses.sum() / order.targets[s]) for s, r in enumerate(results)]


# --state


def test_rounding_at_random_is_right_on_average_and_leaves_alone_what_bf16_can_hold() -> None:
    draw = torch.Generator().manual_seed(0)
    value = torch.full((200_000,), 1 + 1 / 512)  # a quarter of the way from 1 to its neighbour, 1 + 1/128
    target = torch.empty_like(value, dtype=torch.bfloat16)
    rounded_(target, value, draw)
    assert set(target.tolist()) == {1.0, 1 + 1 / 128}
    assert float(target.float().mean()) == pytest.approx(1 + 1 / 512, abs=1e-4)
    exact = torch.tensor([0.0, -1.0, 3.140625, float("inf"), -float("inf"), 2.0**-130])
    kept = torch.empty_like(exact, dtype=torch.bfloat16)
    rounded_(kept, exact, draw)
    assert torch.equal(kept.float(), exact)


@pytest.mark.parametrize("state", ["bf16", "sr"])
def test_small_updates_move_bf16_weights_only_if_rounded_at_random(state: str) -> None:
    first = torch.full((100_000,), 0.02, dtype=torch.bfloat16)
    weight = torch.nn.Parameter(first.clone())
    options: dict[str, Any] = {"lr": 1e-5, "betas": (0.9, 0.95), "weight_decay": 0.0}
    optimizer: torch.optim.Optimizer
    if state == "sr":
        options.pop("weight_decay")
        optimizer = RoundedAdamW([weight], seed=0, rank=0, **options)
    else:
        optimizer = torch.optim.AdamW([weight], fused=True, **options)
    for _ in range(40):  # 40 steps of 1e-5, all down
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    moved = float((first.float() - weight.detach().float()).mean())
    if state == "bf16":
        assert moved == 0.0
    else:
        assert moved == pytest.approx(40 * 1e-5, rel=0.02)


def test_adamw_that_rounds_at_random_is_adamw_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.rounded._PIECE", 7000)  # several pieces, the last one shorter
    torch.manual_seed(0)
    copies = 20_000  # of each of eight weights: what is random differs between them
    first = torch.randn(8, 1).to(torch.bfloat16)
    exact, rounded = torch.nn.Parameter(first.float()), torch.nn.Parameter(first.repeat(1, copies))
    reference = torch.optim.AdamW([exact], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    group = {"params": [rounded], "weight_decay": 0.1}
    ours = RoundedAdamW([group], lr=0.01, betas=(0.9, 0.95), seed=0, rank=0)
    for _ in range(20):
        gradient = torch.randn(8, 1).to(torch.bfloat16)
        exact.grad, rounded.grad = gradient.float(), gradient.repeat(1, copies)
        reference.step()
        ours.step()
    moved = (rounded.detach().float().mean(dim=1, keepdim=True) - first.float()).abs()
    torch.testing.assert_close(rounded.detach().float().mean(dim=1, keepdim=True), exact.detach(), rtol=0, atol=1e-3)
    assert float(moved.max()) > 0.03


def test_a_run_in_bf16_rounded_at_random_goes_on_bit_for_bit_and_needs_half_the_memory(
    world: World, data: Rendered, tmp_path: Path
) -> None:
    config = settings(tmp_path, state="sr", learning_rate=1e-3, steps=4)
    order = Order(data, steps=4, batch_rows=2, row_tokens=256)
    learner = learner_of(world, state="sr")
    assert {p.dtype for p in learner.parameters()} == {torch.bfloat16}
    optimizer = make_optimizer(learner, config)
    for step in range(2):
        take_step(learner, optimizer, order, step, config, world, stop=False)
    checkpoint.save(tmp_path / "c", 2, learner, optimizer, world, keep=1, notes={})
    after = [take_step(learner, optimizer, order, step, config, world, stop=False).losses.sum() for step in (2, 3)]
    again = learner_of(world, state="sr")
    resumed = make_optimizer(again, config)
    checkpoint.restore(tmp_path / "c" / "step-000002", again, resumed)
    assert [take_step(again, resumed, order, s, config, world, stop=False).losses.sum() for s in (2, 3)] == after
    size = measure(tiny())
    assert states_bytes(tiny(), size, config) == 8 * size.parameters
    assert states_bytes(tiny(), size, settings(tmp_path)) == 16 * size.parameters


# --lora-rank


def test_adapters_alone_learn_and_the_export_is_the_whole_model_with_them_added(
    world: World, data: Rendered, tokenizer_folder: Path, tmp_path: Path
) -> None:
    config = settings(tmp_path, lora_rank=4, learning_rate=1e-2, steps=12)
    learner = learner_of(world, lora_rank=4)
    plain = new_weights(tiny(), 0)
    assert all(torch.equal(gather_weights(learner, torch.float32)[n], v) for n, v in plain.items()), "starts as it was"
    losses = run_steps(learner, data, world, config)
    assert losses[-1] < losses[0] - 0.1
    export(tmp_path / "out", learner, load_tokenizer(str(tokenizer_folder)), world, torch.float32)
    saved = load_file(tmp_path / "out" / "model.safetensors")
    changed = {name for name, value in saved.items() if not torch.equal(value, plain[name])}
    assert changed == {name for name in plain if name.removesuffix(".weight") in adapted(meta_model(tiny()))}
    # What the adapters computed is what the merged matrices compute.
    merged = build_learner(tiny(), world, precision=torch.float32)
    load_weights(merged, pretrained_weights(str(tmp_path / "out")))
    batch = next(Order(data, steps=1, batch_rows=1, row_tokens=256).micro_batches(0))
    with torch.no_grad():
        torch.testing.assert_close(learner(batch, 256), merged(batch, 256), rtol=1e-4, atol=1e-4)


def test_a_run_with_adapters_goes_on_bit_for_bit(world: World, data: Rendered, tmp_path: Path) -> None:
    config = settings(tmp_path, lora_rank=4, learning_rate=1e-2, steps=4)
    order = Order(data, steps=4, batch_rows=2, row_tokens=256)
    learner = learner_of(world, lora_rank=4)
    optimizer = make_optimizer(learner, config)
    for step in range(2):
        take_step(learner, optimizer, order, step, config, world, stop=False)
    checkpoint.save(tmp_path / "c", 2, learner, optimizer, world, keep=1, notes={})
    after = [take_step(learner, optimizer, order, step, config, world, stop=False).losses.sum() for step in (2, 3)]
    again = build_learner(tiny(), world, precision=torch.float32, lora_rank=4).train()
    resumed = make_optimizer(again, config)
    checkpoint.restore(tmp_path / "c" / "step-000002", again, resumed)
    assert [take_step(again, resumed, order, s, config, world, stop=False).losses.sum() for s in (2, 3)] == after


def test_adapters_without_peft_are_refused_in_one_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match="--lora-rank needs peft: pip install"):
        build_learner(tiny(), world, precision=torch.float32, lora_rank=4)


# --heldout


def test_held_out_loss_is_the_loss_of_those_examples_and_changes_nothing(
    world: World, data: Rendered, sums: Any, write: Any, tokenizer_folder: Path, tmp_path: Path
) -> None:
    rows = sums(20, 9)
    path = write(tmp_path / "other", rows) / "train-00000.jsonl"
    config = settings(tmp_path, heldout=path)
    heldout = read_heldout(config, tokenizer_folder, tmp_path / "cache")
    assert heldout is not None
    learner = learner_of(world)
    before = {name: value.clone() for name, value in gather_weights(learner, torch.float32).items()}
    loss, by = heldout.losses(learner, world, micro_rows=2)
    assert learner.training
    assert all(torch.equal(value, before[name]) for name, value in gather_weights(learner, torch.float32).items())
    # One by one through plain transformers.
    plain = AutoModelForCausalLM.from_config(tiny(), dtype=torch.float32)
    plain.load_state_dict(new_weights(tiny(), 0))
    found: dict[str, list[float]] = {}
    examples = heldout.order.data
    assert len(examples.lengths) == 20
    for index, row in enumerate(rows):
        tokens, learned = (torch.from_numpy(array.astype("int64")) for array in examples.example(index))
        with torch.no_grad():
            logits = plain(input_ids=tokens[None]).logits[0, :-1]
        losses = torch.nn.functional.cross_entropy(logits, tokens[1:], reduction="none")[learned[1:].bool()]
        found.setdefault("/".join((row["source"], row["style"], row["language"])), []).extend(losses.tolist())
    every = [value for values in found.values() for value in values]
    assert loss == pytest.approx(sum(every) / len(every), rel=1e-5)
    assert by == pytest.approx({name: sum(values) / len(values) for name, values in found.items()}, rel=1e-5)


def test_a_run_logs_its_held_out_loss_and_may_be_watched_in_tensorboard(
    small_run: list[str], run_trainer: Run, sums: Any, write: Any, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    path = write(tmp_path / "other", sums(20, 9)) / "train-00000.jsonl"
    out = tmp_path / "out"
    extra = ["--heldout", str(path), "--heldout-every", "3", "--report", "tensorboard"]
    printed = run_trainer([*small_run, "--out", str(out), *extra], processes=2)
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    looked = {record["step"]: record["heldout_loss"] for record in records if record["heldout_loss"] is not None}
    assert list(looked) == [3, 6, 8]
    assert looked[8] < looked[3]
    assert f"held-out {looked[8]:.4f}" in printed
    before, _, _ = printed.partition("step 1/8")
    known = ("48 rows; ", "targets a step", "% waste; seen: sums ", "GiB in each", "s a step, ", "sample ")
    assert [part for part in (*known, "held out: 20 examples, every 3 steps") if part not in before] == []
    assert {"sums/tir/zh", "sums/cot/en"} <= set(records[2]["heldout_by"])
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    drawn = {event.step: event.value for event in events.Scalars("heldout_loss")}
    assert drawn == pytest.approx(looked, rel=1e-6)
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([r["loss"] for r in records], rel=1e-6)


@pytest.mark.parametrize("flags", ["--lora-rank 4", "--state sr", "--recompute full --precision bf16"])
def test_two_processes_train_and_export_with_each_option(
    flags: str, small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_trainer([*small_run, "--out", str(out), *flags.split()], processes=2)
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert len(records) == 8
    assert records[-1]["loss"] < records[0]["loss"]
    names = set(load_file(out / "model.safetensors"))
    assert names == set(AutoModelForCausalLM.from_pretrained(out).state_dict()) - {"lm_head.weight"}, "tied, and plain"


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_viewer_that_is_not_installed_is_refused_in_one_line(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=f"--report {name} needs the package {name}: pip install {name}"):
        open_tracker(name, tmp_path, {})


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_viewers_get_every_number_of_a_step(name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Any]] = []

    class Library:  # stands in for the package: it would ask for an account, or start a server
        def init(self, **options: Any) -> None:
            calls.append(("init", options["config"]))

        def log(self, values: dict[str, float], step: int) -> None:
            calls.append(("log", (step, values)))

        def finish(self) -> None:
            calls.append(("finish", None))

    monkeypatch.setitem(sys.modules, name, Library())
    tracker = open_tracker(name, tmp_path, {"steps": 3})
    tracker.write(1, RECORD.numbers)
    tracker.close()
    assert [call for call, _ in calls] == ["init", "log", "finish"]
    step, values = calls[1][1]
    assert step == 1
    assert values["loss/gsm8k/tir/en"] == 0.5
    assert values["tokens_per_second"] == 1000.0
    assert values["mfu"] == 0.4


RECORD = StepRecord(
    step=1, loss=0.75, loss_by={"gsm8k/tir/en": 0.5, "math/cot/en": 1.0}, gradient_norm=2.0, learning_rate=5e-5,
    tokens=4000, targets=2000, waste=0.006, seconds=4.0, data_seconds=0.02, peak_memory_bytes=3 << 30, mfu=0.4,
    peak_flops=989e12, skipped=False, heldout_loss=0.9,
)  # fmt: skip


def test_the_console_says_loss_by_group_speed_waste_data_wait_memory_and_mfu() -> None:
    lines = console_line(RECORD, 500).splitlines()
    expected = (
        "step 1/500  loss 0.7500  held-out 0.9000  gradient 2.000  rate 5.00e-05  1,000 tok/s  500 targets/s  "
        "waste 0.6%  data 0.5%  3.0 GiB  mfu 40.0%  33.3 min left"
    )
    assert lines == [expected, "     gsm8k/tir/en 0.5000  math/cot/en 1.0000"]


# Memory and speed


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("scale", "cap"), [(1.0, None), (0.5, None), (1.0, 3.0), (2.0, 3.0)])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_head_in_pieces_loses_and_learns_what_the_whole_one_does(
    bias: bool, scale: float, cap: float | None, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.model.HEAD_CHUNK", 256)  # three pieces, the last one shorter
    torch.manual_seed(0)
    hidden, head, shift = torch.randn(600, 64), torch.randn(1000, 64) * 0.05, torch.randn(1000)
    labels = torch.randint(0, 1000, (600,))
    results = []
    for losses in (target_losses, target_losses_in_pieces):
        inputs = [x.clone().requires_grad_() for x in (hidden, head, *([shift] if bias else []))]
        found = losses(inputs[0], Head(inputs[1], inputs[2] if bias else None, scale, cap, temperature), labels)
        (found.sum() / 13).backward()
        results.append((found.detach(), *(x.grad for x in inputs)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_without_a_compiler_compile_is_one_line(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"--compile needs a C\+\+ compiler, and no-such-compiler is not here"):
        check_resources(tiny(1), measure(tiny(1)), settings(tmp_path, compile=True), world, 4)
    check_resources(tiny(1), measure(tiny(1)), settings(tmp_path), world, 4)


# torch's own: it looks whether what it wraps has a gradient.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("recompute", ["none", "full"])
def test_a_compiled_layer_learns_what_an_eager_one_does(
    recompute: Any, world: World, data: Rendered, tmp_path: Path
) -> None:
    config = settings(tmp_path, steps=2, batch_rows=1, learning_rate=1e-3)
    losses = []
    for compile in (False, True):
        learner = build_learner(tiny(1), world, precision=torch.float32, compile=compile, recompute=recompute)
        load_weights(learner, new_weights(tiny(1), 0))
        losses.append(run_steps(learner.train(), data, world, config))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compiled_layers_see_one_shape_from_the_proof_to_the_last_micro_batch(
    world: World, data: Rendered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    sizes: list[Any] = []

    def note(graph: Any, inputs: list[Any]) -> Any:
        sizes.extend(inputs)
        return graph.forward

    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled(module, backend=note))
    config = settings(tmp_path, steps=2, batch_rows=3, micro_rows=2, learning_rate=1e-3)  # the last one has one row
    learner = build_learner(tiny(), world, precision=torch.float32, compile=True)
    load_weights(learner, new_weights(tiny(), 0))
    order = Order(data, steps=2, batch_rows=3, row_tokens=256)
    prove(learner, order, world, torch.float32, micro_rows=2)
    expect_seconds(learner, order, world, config)
    run_steps(learner.train(), data, world, config)
    assert any(512 in one.shape for one in sizes if isinstance(one, torch.Tensor))
    assert not [one for one in sizes if not isinstance(one, torch.Tensor)], "sizes that are not known"


def test_what_is_computed_again_is_not_kept(world: World, data: Rendered) -> None:
    batch = next(Order(data, steps=1, batch_rows=2, row_tokens=256).micro_batches(0, micro_rows=2))
    kept = {}
    for recompute in ("none", "selective", "full"):
        sizes: dict[int, int] = {}

        def note(tensor: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        learner = learner_of(world, recompute=recompute)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            learner(batch, 256).sum().backward()
        kept[recompute] = sum(sizes.values())
    assert kept["full"] < 0.5 * kept["none"]


def test_the_estimate_says_what_helps_where_memory_is_short(tmp_path: Path) -> None:
    config = AutoConfig.for_model(
        "llama", vocab_size=102_400, hidden_size=4096, intermediate_size=11_008, num_hidden_layers=30,
        num_attention_heads=32, num_key_value_heads=32,
    )  # fmt: skip
    size = measure(config)

    def gib(**changes: Any) -> float:
        changed = settings(tmp_path, row_tokens=4096, **changes)
        return memory_bytes(config, size, changed, processes=1, number_bytes=2) / 2**30

    # The recipe in fp32 on one H200 (139 GiB): 103 GiB of states, and what the activations take.
    assert 103 < gib(recompute="full") < gib(recompute="selective") < 139
    assert 51 < gib(state="sr", recompute="full") < 60
    assert gib(lora_rank=16, recompute="full") < 40


def test_the_limit_of_a_container_counts_where_it_is_below_the_machines_memory(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = measure(tiny())
    limits = (tmp_path / "none", tmp_path / "memory.max")
    monkeypatch.setattr("trainer.preflight._LIMITS", limits)
    limits[1].write_text("max\n")
    need = check_resources(tiny(), size, settings(tmp_path), world, 4)
    limits[1].write_text(f"{need}\n")
    assert check_resources(tiny(), size, settings(tmp_path), world, 4) == need
    limits[1].write_text(f"{need - 1}\n")
    with pytest.raises(InputError, match="GiB are needed in each process"):
        check_resources(tiny(), size, settings(tmp_path), world, 4)
