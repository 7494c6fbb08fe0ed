"""What a run shows besides its loss: samples, exams, a profile; and adapters and revisions on request."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from dataset.chat import ChatFormat
from dataset.files import hub_commit
from sandbox.errors import InputError
from trainer.config import TrainConfig
from trainer.export import export, gather
from trainer.lora import write_adapter
from trainer.model import Learner, build_learner, load_weights, new_weights, pretrained_weights, read_model_config
from trainer.render import Rendered
from trainer.samples import Sample, keep_samples, write_samples
from trainer.tokenizer import load_tokenizer
from trainer.world import World

Run = Callable[..., str]


def tiny(**changes: Any) -> Any:
    return AutoConfig.for_model(
        "llama", vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=False, **changes,
    )  # fmt: skip


def learner_of(world: World, **options: Any) -> Learner:
    learner = build_learner(tiny(), world, precision=torch.float32, **options)
    load_weights(learner, new_weights(tiny(), 0))
    return learner.train()


@pytest.mark.parametrize("shard_alone", [False, True])
def test_samples_are_what_the_model_itself_generates_greedily(
    shard_alone: bool, world: World, data: Rendered, tokenizer_folder: Path
) -> None:
    tokenizer = load_tokenizer(str(tokenizer_folder))
    end = ChatFormat(tokenizer).end_of_turn
    learner = learner_of(world, shard_alone=shard_alone)
    samples = write_samples(learner, data, tokenizer, end, world, count=3, new_tokens=12)
    assert learner.training
    plain = AutoModelForCausalLM.from_config(tiny(), dtype=torch.float32)
    plain.load_state_dict(new_weights(tiny(), 0))
    assert len(samples) == 3
    for index, sample in zip((0, 59, 119), samples, strict=True):
        tokens, learned = data.example(index)
        prompt = tokens[: int(learned.argmax())].tolist()
        assert (sample.place, sample.prompt) == (data.place(index), tokenizer.decode(prompt))
        assert (sample.prompt + sample.expected) in tokenizer.decode(tokens.tolist())
        found = plain.generate(
            torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=end, pad_token_id=0
        )
        assert sample.text == tokenizer.decode(found[0, len(prompt) :])


def test_samples_of_steps_that_are_done_again_are_replaced(tmp_path: Path) -> None:
    sample = Sample("f:1", "p", "t", "e")
    for step in (5, 10, 5):
        said = keep_samples(tmp_path, step, [sample])
    assert said == "sample after step 5, f:1:\nt"
    assert [json.loads(line)["step"] for line in (tmp_path / "samples.jsonl").read_text().splitlines()] == [5]


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    command = [sys.executable, "-m", "dataset", "build", "demo", "--problems", "9", "--test-problems", "4", "--quiet"]
    subprocess.run([*command, "--out", str(tmp_path / "demo")], check=True, capture_output=True)
    return tmp_path / "demo" / "test.jsonl"


LOSE_THE_FILE = """
import os
os.environ["OMP_NUM_THREADS"] = "1"
from pathlib import Path
from trainer.log import Log
def write(self, record, write=Log.write):
    write(self, record)
    if record.step == 4: Path({file!r}).unlink()
Log.write = write
"""


@pytest.mark.slow
def test_an_exam_is_sat_during_the_run_and_one_that_fails_is_a_line_and_the_run_goes_on(
    problems: Path, small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    exam = f"--no-tools --limit 2 --backend transformers --new-tokens 4 --file {problems}"
    flags = ["--score-every", "8", "--score-with", "demo", "--score-flags", exam, "--sample-every", "8", "--profile"]
    flags += ["--sample-tokens", "4", "--out", str(out)]
    printed = run_trainer([*small_run, *flags], processes=2, first=LOSE_THE_FILE.format(file=str(problems)))
    assert "exam after step 0: demo-none 0 of 2 right" in printed
    assert "exam after step 8: FAILED, the run goes on: exit code 2, error: " in printed
    assert "trained: loss" in printed
    assert "Traceback" not in printed
    exams = [json.loads(line) for line in (out / "exams.jsonl").read_text().splitlines()]
    assert [(e["step"], e["scores"], e["failure"] is None) for e in exams] == [
        (0, {"demo-none": {"correct": 0, "of": 2}}, True),
        (8, {}, False),
    ]
    assert not list((out / "exams").glob("*/model"))
    assert printed.count("sample after step 8") == 2
    assert "profile of step 3: " in printed
    assert "aten::" in (out / "profile.txt").read_text()
    assert json.loads((out / "profile.json").read_text())["traceEvents"]


def test_an_exam_that_cannot_be_sat_is_said_before_the_first_step(
    small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    flags = ["--score-every", "4", "--score-with", "nothing", "--out", str(tmp_path / "out")]
    printed = run_trainer([*small_run, *flags], code=2)
    line = printed.strip().splitlines()[-1]
    assert line.startswith("error: --score-with nothing fails before the first step: exit code 2, error: ")
    assert "step 1/8" not in printed
    assert "Traceback" not in printed


# What does not go together, and a part of the one line.
APART = [
    ({"score_every": 5}, "give --score-every and --score-with together"),
    ({"adapters": True}, "--adapters needs --lora-rank"),
    ({"revision": "main"}, "--revision main is of a model on the hub, and --model is none"),
    ({"sample_every": 0}, "--sample-every is 0, expected at least 1"),
]


@pytest.mark.parametrize(("changes", "message"), APART, ids=[message for _, message in APART])
def test_flags_that_mean_nothing_together_are_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        TrainConfig(data=Path(), out=Path(), init="-", **changes)
    assert message in str(error.value)


def test_adapters_alone_are_loaded_by_peft_and_give_what_the_merged_model_gives(
    world: World, tokenizer_folder: Path, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    learner = learner_of(world, lora_rank=4, lora_alpha=8.0)
    base = tmp_path / "base"
    export(base, learner, load_tokenizer(str(tokenizer_folder)), world, torch.float32)  # adapters are zero: the model
    with torch.no_grad():
        for name, parameter in learner.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    config = TrainConfig(data=tmp_path, out=tmp_path, model=str(base), lora_rank=4, lora_alpha=8.0, adapters=True)
    write_adapter(tmp_path / "adapter", gather(learner), config, torch.float32)
    export(tmp_path / "merged", learner, load_tokenizer(str(tokenizer_folder)), world, torch.float32)
    tokens = torch.arange(20)[None] + 7
    plain = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        before = plain(tokens).logits
        after = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter")(tokens).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(tokens).logits
    torch.testing.assert_close(after, merged, rtol=1e-4, atol=1e-5)
    assert float((after - before).abs().max()) > 0.01


def test_a_revision_of_the_hub_is_the_one_that_is_read(
    tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's cache as a download leaves it, with two revisions; nothing is asked of the network."""
    from huggingface_hub import constants

    cache = tmp_path / "models--some--model"
    for number, (name, commit) in enumerate((("main", "a" * 40), ("v2", "b" * 40))):
        folder = cache / "snapshots" / commit
        tiny(max_position_embeddings=512 + number).save_pretrained(folder)
        weights = {n: v.clone() for n, v in new_weights(tiny(), number).items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        load_tokenizer(str(tokenizer_folder)).save_pretrained(folder)
        (cache / "refs").mkdir(exist_ok=True)
        (cache / "refs" / name).write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path))
    for revision, number, commit in ((None, 0, "a"), ("v2", 1, "b"), ("b" * 40, 1, "b")):
        config = read_model_config("some/model", revision)
        assert config.max_position_embeddings == 512 + number
        assert hub_commit("some/model", revision) == commit * 40
        name = "model.layers.0.self_attn.q_proj.weight"
        assert torch.equal(pretrained_weights("some/model", revision)[name], new_weights(tiny(), number)[name])
        assert load_tokenizer("some/model", revision).eos_token_id is not None
    with pytest.raises(InputError, match="no model can be loaded from 'some/model'"):
        read_model_config("some/model", "v3")
    assert hub_commit(str(tmp_path), None) is None
