"""inspect_ai's log format, version 2, as JSON: for `inspect view` and `inspect_ai.log.read_eval_log` (0.3).

A program is a tool call there and its output a tool's message, though ours stand in one text. The exact text is in the
sample's `metadata.solution`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dataset.files import written_whole
from evaluator.export.common import as_json, asked, by_problem, finished, labels, mean_and_error
from evaluator.grade import solution_turns
from evaluator.results import Result
from evaluator.scores import Run

_STOPS = {"length": "max_tokens", "end": "stop"}


def write(runs: Sequence[Run], out: Path) -> list[Path]:
    """One log a run, named as inspect_ai names its own: time, task, id."""
    paths = []
    for run, label in zip(runs, labels(runs), strict=True):
        time = finished(run).isoformat(timespec="seconds").replace(":", "-")
        paths.append(out / f"{time}_{label.replace('_', '-')}_{run.config.key}.json")
        with written_whole(paths[-1]) as file:
            file.write(as_json(_log(run), indent=1))
    return paths


def _log(run: Run) -> dict[str, Any]:
    config = run.config
    time = finished(run).isoformat()
    accuracy, error = mean_and_error(run)
    problems = by_problem(run)
    metrics = {name: {"name": name, "value": value} for name, value in (("accuracy", accuracy), ("stderr", error))}
    usage = {
        "input_tokens": sum(result.prompt_tokens + result.shown_tokens for result in run.results),
        "output_tokens": run.score.new_tokens,
    }
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": config.key,
            "run_id": config.key,
            "task_id": config.key,
            "created": time,
            "task": f"{config.benchmark}-{run.mode}",
            "dataset": {"name": config.benchmark, "samples": len(problems), "sample_ids": list(problems)},
            "model": config.model,
            "model_generate_config": {
                "temperature": config.temperature,
                "top_p": config.top_p,
                "seed": config.seed,
                "max_tokens": config.protocol.get("new_tokens"),
            },
            "config": {"epochs": max(map(len, problems.values()))},
            "packages": {},
            "metadata": {"soroban": asdict(config)},
        },
        "plan": {},
        "results": {
            "total_samples": len(run.results),
            "completed_samples": len(run.results),
            "scores": [{"name": "soroban", "scorer": "soroban", "params": {}, "metrics": metrics}],
        },
        "stats": {
            "started_at": time,
            "completed_at": time,
            "model_usage": {config.model: {**usage, "total_tokens": sum(usage.values())}},
        },
        "samples": [_sample(run, result) for result in run.results],
    }


def _sample(run: Run, result: Result) -> dict[str, Any]:
    assert result.grade is not None
    problem, verdict = result.problem, result.grade.verdict
    messages = [{"role": "user", "content": asked(run, result), "source": "input"}, *_messages(run, result)]
    last = {"role": "assistant", "content": "", "model": run.config.model, "source": "generate"}
    last = next((message for message in reversed(messages) if message["role"] == "assistant"), last)
    usage = {"input_tokens": result.prompt_tokens + result.shown_tokens, "output_tokens": result.new_tokens}
    usage["total_tokens"] = sum(usage.values())
    return {
        "id": problem.id,
        "epoch": result.sample + 1,
        "uuid": f"{result.key}-{problem.id}-{result.sample}",
        "input": asked(run, result),
        "target": problem.answer or "",
        "messages": messages,
        "output": {
            "model": run.config.model,
            "choices": [{"message": last, "stop_reason": _STOPS.get(result.stop, "unknown")}],
            "completion": last["content"],
            "usage": usage,
            "time": result.seconds,
        },
        "scores": {
            "soroban": {
                "value": "N" if verdict.predicted is None else "C" if result.correct else "I",
                "answer": verdict.predicted,
                "explanation": f"rule: {verdict.rule}" + ("; could not be decided" if verdict.correct is None else ""),
            }
        },
        "metadata": {
            "subject": problem.subject,
            "level": problem.level,
            "language": problem.language,
            "stop": result.stop,
            "solution": result.text,
            "calls": [asdict(call) for call in result.calls],
        },
        "model_usage": {run.config.model: usage},
        "total_time": result.seconds,
    }


def _messages(run: Run, result: Result) -> list[dict[str, Any]]:
    """The turns as messages: text and program are the assistant's, an output the tool's."""
    messages: list[dict[str, Any]] = []
    programs = 0
    for turn in solution_turns(result.text, result.left_over):
        if turn.kind == "output":
            call_id = f"program-{programs}"
            if messages and messages[-1].get("tool_calls"):
                messages.append({"role": "tool", "content": turn.text, "tool_call_id": call_id, "function": "python"})
            else:  # an output that no program of the model asked for: it wrote it itself
                messages.append(_assistant(run, f"```output\n{turn.text}\n```"))
            continue
        if turn.kind == "text" or not messages or messages[-1]["role"] != "assistant" or messages[-1].get("tool_calls"):
            messages.append(_assistant(run, turn.text if turn.kind == "text" else ""))
        if turn.kind == "code":
            programs += 1
            call = {"id": f"program-{programs}", "function": "python", "arguments": {"code": turn.text}}
            messages[-1]["tool_calls"] = [call]
    return messages


def _assistant(run: Run, text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "model": run.config.model, "source": "generate"}
