"""The engine's own options, several engines as one, and adapters: passed on, spread by load, refused in one line."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel, Field, ValidationError

from dataset.transcript import STOP
from evaluator.asked import SPEED_ONLY, deciding, named_values
from evaluator.models import BACKENDS, check_model, why_no_vllm
from evaluator.models.adapter import adapter_rank
from evaluator.models.replicas import Replicas
from evaluator.models.types import Generation, ModelDied, ModelOptions, Sampling
from evaluator.models.vllm import _first_line
from evaluator.results import read_results
from sandbox.errors import InputError
from tests.evaluator.scripted import Scripted

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        (
            "tensor_parallel_size=8,gpu_memory_utilization=0.9",
            {"tensor_parallel_size": 8, "gpu_memory_utilization": 0.9},
        ),
        ("quantization=fp8, enforce-eager=true", {"quantization": "fp8", "enforce_eager": True}),
        ('hf_overrides={"a": 1, "b": [2, 3]},seed=None', {"hf_overrides": {"a": 1, "b": [2, 3]}, "seed": None}),
        ('date="26 Jul, 2024"', {"date": "26 Jul, 2024"}),
    ],
)
def test_options_are_read_as_they_are_meant(text: str, values: dict[str, Any]) -> None:
    assert named_values("--engine", text) == values


@pytest.mark.parametrize("text", ["eager", "=1", "a b=1", "x=1,x=2"])
def test_options_that_say_nothing_clear_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--engine"):
        named_values("--engine", text)


def test_what_only_speeds_up_is_not_in_the_key_and_all_else_is() -> None:
    options = ModelOptions(engine={"gpu_memory_utilization": 0.9, "quantization": "fp8", "kv_cache_dtype": "fp8"})
    assert deciding(options) == {"engine": {"quantization": "fp8", "kv_cache_dtype": "fp8"}}


@pytest.mark.engine
@pytest.mark.skipif(why_no_vllm() is not None, reason=str(why_no_vllm()))
def test_every_option_that_is_left_out_of_the_key_is_one_of_vllms() -> None:
    names = "from vllm.engine.arg_utils import AsyncEngineArgs as a; print(*a.__dataclass_fields__)"
    done = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True, check=True)
    known = done.stdout.splitlines()[-1].split()
    assert set(SPEED_ONLY) - set(known) <= {
        "swap_space"
    }  # until vLLM 0.31; one that it does not know is refused anyway


def test_conversations_stay_with_their_engine_and_new_ones_go_where_the_fewest_are() -> None:
    class Slow(Scripted):
        async def generate(self, key: str, tokens: Any, **rest: Any) -> Any:
            await asyncio.sleep(0.002 * (int(key) % 7))
            return await super().generate(key, tokens, **rest)

    several = [Slow([f"```python\n1\n```\n{STOP}", f"```python\n2\n```\n{STOP}", "end"]) for _ in range(3)]
    one = Replicas(several)

    async def talk(key: str) -> None:
        for _ in range(3):
            await one.generate(key, [0], max_tokens=1000, tools=True, sampling=Sampling())

    async def all_of_them() -> None:
        await asyncio.gather(*(talk(str(number)) for number in range(60)))
        await one.close()

    asyncio.run(all_of_them())
    homes = [key for model in several for key, calls in model.fed.items() if len(calls) == 3]
    assert sorted(homes, key=int) == [str(number) for number in range(60)]
    assert Counter(len(model.fed) for model in several) == Counter({20: 3})
    assert all(model.closed for model in several)
    assert (one._running, one._homes) == ([0, 0, 0], {})


def test_an_engine_that_dies_is_asked_no_more_and_with_the_last_one_the_model_has_died() -> None:
    class Dying(Scripted):
        asked = 0

        async def generate(self, key: str, tokens: Sequence[int], **options: Any) -> Generation:
            self.asked += 1
            if self.asked > 10:
                raise ModelDied("gone")
            return await super().generate(key, tokens, **options)

    dying, other = Dying([f"```python\n1\n```\n{STOP}"] * 3), Scripted([f"```python\n1\n```\n{STOP}"] * 3)
    one = Replicas([dying, other])

    async def talk(key: str) -> list[str]:
        return [(await one.generate(key, [0], max_tokens=1000, tools=True, sampling=Sampling())).stop for _ in range(3)]

    async def all_of_them() -> list[list[str]]:
        return await asyncio.gather(*(talk(str(number)) for number in range(20)))

    assert asyncio.run(all_of_them()) == [["output"] * 3] * 20
    assert sum(map(len, dying.fed.values())) == 10
    before = dying.asked
    asyncio.run(talk("later"))
    assert dying.asked == before
    both = Replicas([Dying(["end"]), Dying(["end"])])
    for engine in both._models:
        engine.asked = 10  # type: ignore[attr-defined]
    with pytest.raises(ModelDied, match="gone"):
        asyncio.run(both.generate("k", [0], max_tokens=9, tools=False, sampling=Sampling()))


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the tiny model that makes it say something else."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_model),
        LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
    )
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=5.0)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "backend",
    [
        "transformers",
        pytest.param(
            "vllm",
            marks=[
                pytest.mark.engine,
                pytest.mark.skipif(why_no_vllm() is not None, reason=str(why_no_vllm())),
            ],
        ),
    ],
)
def test_a_living_engine_takes_new_weights_and_says_what_a_new_one_would(
    backend: str, tiny_model: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.evaluator.reload", backend, str(tiny_model), str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    before, after, fresh, refused = json.loads(done.stdout.splitlines()[-1])
    assert before != after
    assert after == fresh
    assert "did not take the weights" in refused


def test_an_adapter_changes_what_transformers_says(tiny_model: Path, adapter: Path, run: Callable[[Any], Any]) -> None:
    said = []
    for folder in (None, adapter):
        model = BACKENDS["transformers"]()(str(tiny_model), ModelOptions(adapter=folder))
        tokens = model.chat.prompt([{"role": "user", "content": "What is 3 + 4?"}])
        said.append(run(model.generate("a#0", tokens, max_tokens=20, tools=False, sampling=Sampling())).text)
        run(model.close())
    assert said[0] != said[1]


def test_an_adapter_is_part_of_the_key(adapter: Path, tmp_path: Path) -> None:
    other = shutil.copytree(adapter, tmp_path / "other")
    weights = other / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert deciding(ModelOptions(adapter=adapter)) != deciding(ModelOptions(adapter=other))


def test_an_adapter_of_another_model_is_refused_in_one_line(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    assert adapter_rank(adapter, str(tiny_model)) == 4
    shape = {"intermediate_size": 128, "num_attention_heads": 2, "vocab_size": 100}
    for layers, hidden, told in [(1, 64, "has no such part"), (2, 32, "has .* there")]:
        folder = tmp_path / str(layers)
        LlamaForCausalLM(LlamaConfig(hidden_size=hidden, num_hidden_layers=layers, **shape)).save_pretrained(folder)
        with pytest.raises(InputError, match=f"is of another model: .*{told}; it was trained on ") as error:
            adapter_rank(adapter, str(folder))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one: (one / "adapter_config.json").unlink(), "no adapter_config.json in it"),
        (lambda one: (one / "adapter_config.json").write_text("{"), "adapter_config.json is not of a LoRA adapter"),
        (lambda one: (one / "adapter_config.json").write_text('{"peft_type": "IA3", "r": 1}'), "of the kind IA3"),
        (lambda one: (one / "adapter_model.safetensors").write_bytes(b"1234"), "not a safetensors file"),
    ],
)
def test_what_is_no_adapter_is_refused(
    adapter: Path, tiny_model: Path, tmp_path: Path, change: Callable[[Path], object], told: str
) -> None:
    broken = shutil.copytree(adapter, tmp_path / "broken")
    change(broken)
    with pytest.raises(InputError, match=told):
        adapter_rank(broken, str(tiny_model))


@pytest.mark.parametrize(
    ("backend", "options", "told"),
    [
        (
            "transformers",
            ModelOptions(engine={"seed": 1}),
            "--engine sets options of vLLM's engine, which --backend tr",
        ),
        ("openai", ModelOptions(replicas=2), "several servers: --url A,B"),
        ("openai", ModelOptions(adapter=Path("a")), "A server loads its own: vllm serve … --enable-lora"),
    ],
)
def test_what_a_backend_cannot_do_is_refused_before_it_starts(backend: str, options: ModelOptions, told: str) -> None:
    with pytest.raises(InputError, match=told):
        check_model("m", backend, options)


def run_command(
    model: Path | str, problems: Path, out: Path, *flags: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evaluator", "run", "--model", str(model), "--benchmark", "demo", "--tools"]
    command += ["--file", str(problems), "--out", str(out), "--quiet", *flags]
    env = os.environ | environment
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty problems that the tiny model has learned."""
    from tests.evaluator.tiny import PROBLEMS

    path = tmp_path_factory.mktemp("problems") / "test.jsonl"
    rows = [asdict(replace(PROBLEMS[n % 3], id=f"tiny/{n}")) for n in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.engine
@pytest.mark.skipif(why_no_vllm() is not None, reason=str(why_no_vllm()))
@pytest.mark.timeout(1200)
def test_two_engines_with_their_own_options_answer_one_exam(tiny_model: Path, many: Path, tmp_path: Path) -> None:
    done = run_command(tiny_model, many, tmp_path, "--replicas", "2", "--engine", "max_num_seqs=8,kv_cache_dtype=auto")
    assert done.returncode == 0, done.stderr[-3000:]
    config, results = read_results(tmp_path / "demo-tools")
    assert (len(results), all(result.correct for result in results)) == (30, True)
    assert config.options == {"engine": {"kv_cache_dtype": "auto"}}
    assert config.about["engine_options"] == {"max_num_seqs": 8, "kv_cache_dtype": "auto"}
    assert config.about["replicas"] == 2


@pytest.mark.engine
@pytest.mark.skipif(why_no_vllm() is not None, reason=str(why_no_vllm()))
@pytest.mark.timeout(1200)
def test_an_option_that_vllm_does_not_know_is_named_in_one_line(tiny_model: Path, many: Path, tmp_path: Path) -> None:
    done = run_command(tiny_model, many, tmp_path, "--engine", "max_num_seq=8")
    told = "error: --engine max_num_seq: vLLM has no such option; did you mean max_num_seqs?"
    assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (2, told)
    assert "Traceback" not in done.stderr


def test_what_vllm_refuses_is_told_without_all_that_it_was_given() -> None:
    class CacheConfig(BaseModel):
        gpu_memory_utilization: float = Field(le=1)

    with pytest.raises(ValidationError) as error:
        CacheConfig(gpu_memory_utilization=5)
    assert "https://" in str(error.value)
    assert _first_line(error.value) == "gpu_memory_utilization: Input should be less than or equal to 1"


@pytest.mark.engine
@pytest.mark.skipif(why_no_vllm() is not None, reason=str(why_no_vllm()))
@pytest.mark.timeout(1200)
def test_a_quantised_model_is_read_as_it_is_and_its_method_is_in_the_key(
    tiny_model: Path, many: Path, tmp_path: Path
) -> None:
    """Eight bits a weight and a scale a row, in compressed-tensors' form; the tiny model knows its answers by heart."""
    quantised = quantise(tiny_model, tmp_path / "quantised")
    # On a CPU with AMX vLLM's kernel for eight bits takes nothing else than bfloat16.
    flags = ("--limit", "3", "--new-tokens", "200", "--dtype", "bfloat16")
    done = run_command(quantised, many, tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    config, results = read_results(tmp_path / "out" / "demo-tools")
    assert config.engine["quantization"] == "compressed-tensors"
    assert config.key != replace(config, engine={**config.engine, "quantization": None}).key
    assert [result.correct for result in results] == [True] * 3


def quantise(folder: Path, out: Path) -> Path:
    """The model in `folder` with its layers' weights in eight bits, in `out`."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, out)
    weights = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        weights[name] = weight
        if "_proj.weight" in name:
            scale = weight.abs().amax(1, keepdim=True) / 127
            weights |= {name: (weight / scale).round().to(torch.int8), f"{name}_scale": scale}
    save_file(weights, out / "model.safetensors", {"format": "pt"})
    how = {"num_bits": 8, "type": "int", "symmetric": True}
    layers = {
        "weights": how | {"strategy": "channel"},
        "input_activations": how | {"strategy": "token", "dynamic": True},
    }
    config = json.loads((out / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], **layers}},
    }
    (out / "config.json").write_text(json.dumps(config))
    return out


@pytest.mark.engine
@pytest.mark.skipif(why_no_vllm() is not None, reason=str(why_no_vllm()))
@pytest.mark.timeout(1200)
def test_a_revision_of_the_hub_with_an_adapter_says_the_same_through_vllm_and_transformers(
    tiny_model: Path, adapter: Path, many: Path, tmp_path: Path
) -> None:
    """The Hub's cache holds two commits: the branch "main" has no weights, "tuned" is the tiny model."""
    cache = tmp_path / "hub" / "models--me--tiny"
    commits = {"main": "a" * 40, "tuned": "b" * 40}
    (cache / "refs").mkdir(parents=True)
    for branch, commit in commits.items():
        (cache / "refs" / branch).write_text(commit)
    shutil.copytree(tiny_model, cache / "snapshots" / commits["tuned"])
    shutil.copytree(
        tiny_model, cache / "snapshots" / commits["main"], ignore=shutil.ignore_patterns("model.safetensors")
    )
    texts = {}
    for backend in ("vllm", "transformers"):
        flags = ["--backend", backend, "--revision", "tuned", "--adapter", str(adapter), "--limit", "3"]
        flags += ["--new-tokens", "40"]
        hub = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
        done = run_command("me/tiny", many, tmp_path / backend, *flags, **hub)
        assert done.returncode == 0, done.stderr[-3000:]
        config, results = read_results(tmp_path / backend / "demo-tools")
        assert (config.engine["commit"], config.options["revision"]) == (commits["tuned"], "tuned")
        texts[backend] = [result.text for result in results]
    assert texts["vllm"] == texts["transformers"]
    assert not any("The answer is" in text for text in texts["vllm"]), "the adapter was not put on"
