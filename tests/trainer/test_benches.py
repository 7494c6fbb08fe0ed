"""The GPU bench is written where no GPU is: what of it runs on a CPU is run here, on a small model."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from sandbox.errors import InputError

BENCH = Path(__file__).parents[2] / "bench" / "trainer_gpu.py"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # the script puts the project there
    spec = importlib.util.spec_from_file_location("trainer_gpu", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "trainer_gpu", module)  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_measures_nothing(bench: ModuleType) -> None:
    with pytest.raises(InputError, match="no CUDA device: the 7B step is not measured"):
        bench.main([])


def test_the_kernels_check_passes_and_catches_one_that_looks_across(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.LENGTHS, bench.HEADS = [70, 1, 150, 64, 83], 2
    report = bench.check_kernel("cpu")
    assert 0 < max(report[name] for name in ("output", "dq", "dk", "dv")) < 0.02

    def leaky(_: Any, q: Tensor, k: Tensor, v: Tensor, *_others: Any, **_named: Any) -> tuple[Tensor, None]:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2), None

    monkeypatch.setattr(bench, "document_attention", leaky)
    with pytest.raises(RuntimeError, match="wrong on this device"):
        bench.check_kernel("cpu")


@pytest.mark.parametrize("variant", ["before", "halves"])
def test_the_steps_of_a_small_model_are_measured_with_its_own_arithmetic(
    bench: ModuleType, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.model.HEAD_CHUNK", 2048)  # the bench sets it
    bench.VARIANTS[variant] = dataclasses.replace(bench.VARIANTS[variant], compile=False)
    shape = {**bench.SHAPE, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 300}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 4}
    report = bench.measure_variant(variant, shape, [1, 2], 2, 1)
    assert report["parameters"] == 2 * 300 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 64 + 2 * 32) + 32
    for rows in (1, 2):
        found = report[f"at_{rows}_rows"]
        tokens = found["tokens_per_second"] * found["step_seconds"]
        assert tokens == pytest.approx(2 * 4096 * (1 - found["waste"]), rel=0.05)
        micro = report["fixed_ms"] + rows * report["marginal_ms"]
        assert micro == pytest.approx(found["micro_batch_ms"], abs=0.05)
        seconds = micro / 1000 * (2 // rows) + found["optimizer_ms"] / 1000
        assert seconds == pytest.approx(found["step_seconds"], rel=0.01, abs=1e-3)
        assert found["proof"] < 0.03
        assert len(found["losses"]) == 3


def test_a_micro_batch_copies_ten_bytes_a_parameter_where_shards_copied_fifty_three(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.model.HEAD_CHUNK", 2048)
    before, undivided, halves = bench.count_micro_batches()
    assert before["bytes_a_parameter"] == pytest.approx(53, abs=1)
    assert undivided["bytes_a_parameter"] == pytest.approx(45, abs=1)
    assert halves["bytes_a_parameter"] == pytest.approx(10, abs=0.1)
    assert halves["gb_at_7b"] < 80 < 350 < before["gb_at_7b"]
    assert (before["head_chunks_a_row"], halves["head_chunks_a_row"]) == (32, 1)
    assert halves["operations"] < before["operations"]
    errors = bench.float8_errors()
    assert 0.02 < errors["output"] < 0.05
    assert 0.04 < errors["input"] < 0.08
    assert 0.04 < errors["weight"] < 0.08
