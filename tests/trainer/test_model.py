from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from dataset.chat import ChatFormat
from sandbox.errors import InputError
from trainer.arguments import parse_config
from trainer.batches import IGNORED, Order
from trainer.config import TrainConfig
from trainer.export import check_model, export
from trainer.fresh import read_init
from trainer.model import Learner, build_learner, load_weights, new_weights, pretrained_weights, read_model_config
from trainer.preflight import measure, step_flops
from trainer.render import Rendered, find_train_files, render
from trainer.self_check import prove
from trainer.step import learning_rate, make_optimizer, take_step
from trainer.tokenizer import TEMPLATE, load_tokenizer
from trainer.world import World


def tiny(architecture: str = "llama", *, tied: bool = False, layers: int = 2, hidden: int = 32) -> Any:
    return AutoConfig.for_model(
        architecture,
        vocab_size=400,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=hidden // 4,
        tie_word_embeddings=tied,
    )


def make_learner(config: Any, world: World, **options: Any) -> Learner:
    learner = build_learner(config, world, precision=options.pop("precision", torch.float32), **options)
    load_weights(learner, new_weights(config, 0))
    return learner


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_gradients(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: whole(p.grad) for name, p in learner.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize(("architecture", "tied"), [("llama", False), ("llama", True), ("qwen3", False)])
def test_loss_and_gradients_of_the_sharded_model_equal_plain_transformers(
    architecture: str, tied: bool, recompute: Any, world: World, data: Rendered
) -> None:
    config = tiny(architecture, tied=tied)
    learner = make_learner(config, world, recompute=recompute).train()
    order = Order(data, steps=1, batch_rows=2, row_tokens=256)
    targets = int(order.targets[0])
    total = 0.0
    for batch in order.micro_batches(0):
        losses = learner(batch, 256)
        (losses.sum() / targets).backward()
        total += float(losses.detach().sum()) / targets
    # The same examples one by one, through transformers' own model, attention and loss.
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    expected = 0.0
    for index in [int(i) for r in range(2) for i in order.plans[0].row(r)]:
        tokens, learned = (torch.from_numpy(array.astype("int64")) for array in data.example(index))
        labels = torch.where(learned.bool(), tokens, IGNORED)
        logits = plain(input_ids=tokens[None]).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, labels[1:], ignore_index=IGNORED, reduction="sum") / targets
        loss.backward()
        expected += float(loss.detach())
    assert total == pytest.approx(expected, rel=1e-5)
    found = whole_gradients(learner)
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_weights_stay_fp32_where_the_computation_is_bf16(world: World, data: Rendered) -> None:
    learner = make_learner(tiny(), world, precision=torch.bfloat16, shard_alone=True).train()
    order = Order(data, steps=1, batch_rows=1, row_tokens=256)
    losses = learner(next(order.micro_batches(0)), 256)
    losses.sum().backward()
    assert losses.dtype == torch.float32
    assert {p.dtype for p in learner.parameters()} == {p.grad.dtype for p in learner.parameters()} == {torch.float32}


def test_the_self_check_passes_on_this_device_and_catches_a_kernel_that_leaks(
    world: World, data: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order(data, steps=1, batch_rows=4, row_tokens=256)
    learner = make_learner(tiny(), world)
    for rows in (1, 3):
        assert prove(learner, order, world, torch.float32, micro_rows=rows) < 1e-5
    rounded = make_learner(tiny(), world, precision=torch.bfloat16)
    assert prove(rounded, order, world, torch.bfloat16, micro_rows=1) < 0.03

    def leaky(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **_: Any) -> Any:
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
        return out.transpose(1, 2), None

    monkeypatch.setitem(type(transformers_functions())._global_mapping, "documents", leaky)
    with pytest.raises(RuntimeError, match="looks across examples"):
        prove(learner, order, world, torch.float32, micro_rows=1)


def transformers_functions() -> Any:
    from transformers import AttentionInterface

    return AttentionInterface()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("architecture", "tied"), [("llama", True), ("llama", False), ("qwen2", True), ("qwen3", False), ("mistral", False)]
)
def test_an_export_reads_back_equal_and_says_its_format_and_its_one_end_of_turn(
    architecture: str, tied: bool, dtype: torch.dtype, world: World, tokenizer_folder: Path, tmp_path: Path
) -> None:
    config = tiny(architecture, tied=tied)
    learner = make_learner(config, world)
    export(tmp_path, learner, load_tokenizer(str(tokenizer_folder)), world, dtype)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.dtype == dtype
    options = StateDictOptions(full_state_dict=True)
    trained = get_model_state_dict(learner.model, options=options)
    assert set(trained) == set(loaded.state_dict())
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, trained[name].to(dtype)), name
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ends = {loaded.config.eos_token_id, loaded.generation_config.eos_token_id, tokenizer.eos_token_id}
    assert ends == {ChatFormat(tokenizer).end_of_turn}
    assert tokenizer.chat_template == TEMPLATE
    # What is exported can be the start of the next run.
    again = pretrained_weights(str(tmp_path))
    assert all(torch.equal(again[name], trained[name].to(dtype).float()) for name in again)


def test_a_damaged_export_is_not_reported_as_done(world: World, tokenizer_folder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(tokenizer_folder))
    learner = make_learner(tiny(), world)
    export(tmp_path, learner, tokenizer, world, torch.float32)
    weights = {name: value.clone() for name, value in pretrained_weights(str(tmp_path)).items()}
    check_model(tmp_path, weights, tokenizer)
    weights["model.norm.weight"][0] += 1
    with pytest.raises(RuntimeError, match=r"model\.norm\.weight"):
        check_model(tmp_path, weights, tokenizer)
    weights["model.norm.weight"][0] -= 1
    generation = tmp_path / "generation_config.json"
    generation.write_text(generation.read_text().replace('"eos_token_id": 1', '"eos_token_id": 0'))
    with pytest.raises(RuntimeError, match="end of turn 0 in generation_config"):
        check_model(tmp_path, weights, tokenizer)


def test_a_model_of_another_end_of_turn_than_its_eos_is_exported_with_one(
    world: World, tokenizer_folder: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(str(tokenizer_folder))
    tokenizer.chat_template = TEMPLATE.replace("eos_token", "'<pad>'")  # as ChatML models end turns by <|im_end|>
    export(tmp_path, make_learner(tiny(), world), tokenizer, world, torch.bfloat16)
    assert AutoTokenizer.from_pretrained(tmp_path).eos_token == "<pad>"
    assert AutoConfig.from_pretrained(tmp_path).eos_token_id == 0


def test_twenty_examples_are_learned_until_greedy_decoding_makes_the_tool_call(
    world: World, sums: Any, write: Any, tokenizer_folder: Path, tmp_path: Path
) -> None:
    rows = [row for row in sums(60, 5) if row["style"] == "tir"]
    data = render(find_train_files(write(tmp_path / "data", rows)), tokenizer_folder, tmp_path / "cache", quiet=True)
    shape: Any = {"steps": 80, "batch_rows": 2, "row_tokens": 512, "repeat": True}
    rate: Any = {"learning_rate": 5e-3, "warmup_steps": 10, "schedule": "linear", "weight_decay": 0.0}
    config = TrainConfig(data=tmp_path, out=tmp_path, init="-", micro_rows=2, **shape, **rate)
    order = Order(data, **shape)
    config_of_model = tiny("qwen3", hidden=96, layers=1, tied=True)
    config_of_model.initializer_range = 0.05
    learner = make_learner(config_of_model, world).train()
    optimizer = make_optimizer(learner, config)
    for step in range(config.steps):
        take_step(learner, optimizer, order, step, config, world, stop=False)
    tokenizer = load_tokenizer(str(tokenizer_folder))
    export(tmp_path / "out", learner, tokenizer, world, torch.float32)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    format_ = ChatFormat(tokenizer)
    prompts = [format_.prompt(row["messages"][:1]) for row in rows]
    longest = max(map(len, prompts))
    padded = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    written = model.generate(padded, attention_mask=mask, max_new_tokens=60, do_sample=False)[:, longest:].tolist()
    for row, ids in zip(rows, written, strict=True):
        answer = " " + row["messages"][1]["content"]
        call = answer[: answer.index("```output") + len("```output")]
        assert tokenizer.decode(ids).startswith(call)


# On the mixture of conftest.py. A change of data, tokenizer, order or library would shift both sides of the comparison
# below alike, and these would show it.
GOLDEN_LOSSES = [
    5.9945, 5.9221, 5.8540, 5.7021, 5.5901, 5.4654, 5.3915, 5.2706, 5.2246, 5.1351,
    5.0523, 4.9462, 4.8882, 4.8297, 4.7382, 4.7370, 4.7022, 4.6398, 4.6525, 4.6722,
]  # fmt: skip


def test_twenty_steps_lose_what_an_unpacked_loop_of_plain_transformers_loses(
    world: World, data: Rendered, tmp_path: Path
) -> None:
    shape: Any = {"steps": 20, "batch_rows": 3, "row_tokens": 256, "repeat": True}
    rate: Any = {"learning_rate": 3e-3, "warmup_steps": 3, "schedule": "linear"}
    config = TrainConfig(data=tmp_path, out=tmp_path, init="-", micro_rows=2, **shape, **rate)
    order = Order(data, **shape)
    model_config = tiny(tied=True)
    learner = make_learner(model_config, world).train()
    optimizer = make_optimizer(learner, config)
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(model_config, dtype=torch.float32, attn_implementation="sdpa")
    matrices, others = ([p for p in plain.parameters() if (p.dim() >= 2) == wanted] for wanted in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95), foreach=False)
    rows = [row for plan in order.plans for row in (plan.row(i) for i in range(plan.rows))]
    losses: list[float] = []
    for step in range(20):
        result = take_step(learner, optimizer, order, step, config, world, stop=False)
        examples = [data.example(int(i)) for row in rows[3 * step : 3 * step + 3] for i in row]
        targets = sum(int(learned[1:].sum()) for _, learned in examples)
        expected = 0.0
        for tokens, learned in examples:
            labels = np.where(learned, tokens.astype(np.int64), IGNORED)[None]
            ids = torch.from_numpy(tokens.astype(np.int64))[None]
            loss = plain(input_ids=ids, labels=torch.from_numpy(labels), num_items_in_batch=targets).loss
            loss.backward()
            expected += float(loss.detach())
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        for group in reference.param_groups:
            group["lr"] = 3e-3 * ((step + 1) / 3 if step < 3 else 1 - (step - 3) / 17)
        reference.step()
        reference.zero_grad()
        assert result.losses.sum() / order.targets[step] == pytest.approx(expected, rel=1e-4)
        assert result.gradient_norm == pytest.approx(float(norm), rel=1e-3)
        losses.append(float(result.losses.sum() / order.targets[step]))
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=1e-3)


def test_a_step_that_is_not_finite_changes_no_weight(world: World, data: Rendered, tmp_path: Path) -> None:
    config = TrainConfig(data=tmp_path, out=tmp_path, init="-", steps=2, batch_rows=1, row_tokens=256)
    order = Order(data, steps=2, batch_rows=1, row_tokens=256)
    learner = make_learner(tiny(), world)
    optimizer = make_optimizer(learner, config)
    with torch.no_grad():
        learner.model.model.norm.weight.fill_(float("inf"))
    before = {name: whole(p).clone() for name, p in learner.named_parameters()}
    assert take_step(learner, optimizer, order, 0, config, world, stop=False).skipped
    for name, parameter in learner.named_parameters():
        assert torch.equal(whole(parameter), before[name])
        assert parameter.grad is None


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.775, 0.55, 0.325]),
        ("cosine", [0.5, 1.0, 1.0, 0.868, 0.55, 0.232]),
    ],
)
def test_the_learning_rate_warms_up_and_falls_to_its_share(schedule: Any, expected: list[float]) -> None:
    config = TrainConfig(
        data=Path(), out=Path(), init="-", steps=6, warmup_steps=2, schedule=schedule, final_rate=0.1, learning_rate=1.0
    )
    assert [learning_rate(config, step) for step in range(6)] == pytest.approx(expected, abs=1e-3)


def test_the_defaults_are_the_published_recipe() -> None:
    config = parse_config(["--model", "m", "--data", "d", "--out", "o"])
    recipe = (config.steps, config.batch_rows, config.row_tokens, config.learning_rate, config.schedule)
    assert recipe == (500, 256, 4096, 5e-5, "constant")
    assert learning_rate(config, 0) == learning_rate(config, 499) == 5e-5


def test_the_arithmetic_of_a_7b_step_is_the_published_figure() -> None:
    config = AutoConfig.for_model(
        "llama", vocab_size=102_400, hidden_size=4096, intermediate_size=11_008, num_hidden_layers=30,
        num_attention_heads=32, num_key_value_heads=32,
    )  # fmt: skip
    size = measure(config)
    assert size.parameters == pytest.approx(6.910e9, rel=1e-3)
    assert size.body + size.head == pytest.approx(6.491e9, rel=1e-3)
    # One 4,096-token example a row, head on every token: 42.0 GFLOP a token.
    flops = step_flops(size, tokens=4096, targets=4096, squares={None: 4096**2})
    assert flops / 4096 == pytest.approx(42.0e9, rel=2e-3)


def test_models_that_cannot_be_trained_here_are_refused(tmp_path: Path, tokenizer_folder: Path) -> None:
    with pytest.raises(InputError, match="no model can be loaded"):
        read_model_config(str(tmp_path))
    with pytest.raises(InputError, match="holds no tokenizer"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(InputError, match="no weights can be loaded"):
        pretrained_weights(str(tmp_path))
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = TEMPLATE.replace("+ eos_token", "")
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="would never stop"):
        load_tokenizer(str(tmp_path))
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no end-of-sequence token"):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_without_a_chat_template_gets_ours(tmp_path: Path, tokenizer_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    prompt = ChatFormat(load_tokenizer(str(tmp_path))).prompt([{"role": "user", "content": "7 + 5?"}])
    assert tokenizer.decode(prompt) == "User: 7 + 5?\n\nAssistant:"


def test_a_tokenizer_with_more_tokens_than_the_model_is_another_models(
    mixture: Path, tokenizer_folder: Path, small_run: list[str], run_trainer: Any, world: World, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    export(model, make_learner(tiny(), world), load_tokenizer(str(tokenizer_folder)), world, torch.float32)
    text = (model / "config.json").read_text().replace('"vocab_size": 400', '"vocab_size": 300')
    (model / "config.json").write_text(text)
    flags = ["--model", str(model), *small_run[2:], "--out", str(tmp_path / "out")]
    printed = run_trainer(flags, code=2)
    assert "the tokenizer has 400 tokens and the model 300: the tokenizer is not this model's" in printed
    assert "step 1" not in printed


def test_the_built_in_small_model_has_about_a_million_parameters() -> None:
    init = read_init("demo")
    config = AutoConfig.for_model(init["architecture"], **init["model"], vocab_size=init["tokenizer"]["vocabulary"])
    assert 0.5e6 < measure(config).parameters < 2e6
