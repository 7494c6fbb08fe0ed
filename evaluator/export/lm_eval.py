"""lm-evaluation-harness's files, as `--output_path` and `--log_samples` leave them (0.4): results, and samples by task.

OUT/<model>/results_<time>.json         what `lm_eval.utils.make_table` and the leaderboards' loaders read
OUT/<model>/samples_<task>_<time>.jsonl one problem a line, its solutions in `resps`
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from dataset.files import written_whole
from evaluator.export.common import as_json, asked, by_problem, finished, labels, mean_and_error, plain
from evaluator.results import Result
from evaluator.scores import Run


def write(runs: Sequence[Run], out: Path) -> list[Path]:
    """One results file a model, and one samples file a run."""
    paths = []
    for model in dict.fromkeys(run.config.model for run in runs):
        own = [run for run in runs if run.config.model == model]
        # The model's name stands in the folder; a task is called by the rest.
        tasks = [label.removeprefix(plain(model) + "-") for label in labels(own)]
        time = max(finished(run) for run in own).replace(tzinfo=None).isoformat(timespec="microseconds")
        stamp = time.replace(":", "-")
        hashes = {}
        for run, task in zip(own, tasks, strict=True):
            rows = [_row(run, number, several) for number, several in enumerate(by_problem(run).values())]
            hashes[task] = _hash("".join(row["doc_hash"] + row["prompt_hash"] + row["target_hash"] for row in rows))
            paths.append(out / plain(model) / f"samples_{task}_{stamp}.jsonl")
            with written_whole(paths[-1]) as file:
                for row in rows:
                    file.write(as_json(row) + "\n")
        paths.append(out / plain(model) / f"results_{stamp}.json")
        with written_whole(paths[-1]) as file:
            file.write(as_json(_results(model, own, tasks, time, hashes), indent=2))
    return paths


def _row(run: Run, number: int, several: Sequence[Result]) -> dict[str, Any]:
    problem, prompt = several[0].problem, asked(run, several[0])
    config = run.config
    settings = {"until": [], "temperature": config.temperature, "top_p": config.top_p}
    settings |= {"do_sample": config.temperature > 0, "max_gen_toks": config.protocol.get("new_tokens")}
    doc = asdict(problem)
    return {
        "doc_id": number,
        "doc": doc,
        "target": str(problem.answer),
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": settings}},
        "resps": [[result.text for result in several]],
        "filtered_resps": [_predicted(result) for result in several],
        "filter": "none",
        "metrics": ["exact_match"],
        "doc_hash": _hash(json.dumps(doc, sort_keys=True)),
        "prompt_hash": _hash(prompt),
        "target_hash": _hash(str(problem.answer)),
        "exact_match": fmean(result.correct for result in several),
    }


def _predicted(result: Result) -> str:
    return (result.grade.verdict.predicted if result.grade else None) or ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _results(
    model: str, runs: Sequence[Run], tasks: Sequence[str], time: str, hashes: dict[str, str]
) -> dict[str, Any]:
    results, configs, counts = {}, {}, {}
    for run, task in zip(runs, tasks, strict=True):
        accuracy, error = mean_and_error(run)
        problems = len(by_problem(run))
        results[task] = {
            "alias": task,
            "exact_match,none": accuracy,
            "exact_match_stderr,none": error,
            "sample_len": problems,
        }
        counts[task] = {"original": problems, "effective": problems}
        configs[task] = {
            "task": task,
            "output_type": "generate_until",
            "num_fewshot": 0,
            "repeats": max(map(len, by_problem(run).values())),
            "metadata": {"version": 1.0, "soroban": asdict(run.config)},
        }
    return {
        "results": results,
        "group_subtasks": {task: [] for task in tasks},
        "configs": configs,
        "versions": dict.fromkeys(tasks, 1.0),
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {task: {"exact_match": True} for task in tasks},
        "n-samples": counts,
        "config": {"model": runs[0].config.backend, "model_args": f"pretrained={model}", "batch_size": None},
        "git_hash": None,
        "date": finished(runs[0]).timestamp(),
        "task_hashes": hashes,
        "model_source": "soroban",
        "model_name": model,
        "model_name_sanitized": plain(model),
        "end_time": time,
    }
