"""A data set for the Hub: a card with scores and settings, and one JSON Lines file a run; and its push.

The folder that is written is exactly what is pushed: without `--push` it can be looked at first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dataset.files import written_whole
from evaluator.export.common import as_json, labels
from evaluator.formats import as_markdown
from evaluator.results import Result
from evaluator.scores import Run
from evaluator.table import tables
from sandbox.errors import InputError

CARD = "README.md"


def write(runs: Sequence[Run], out: Path) -> list[Path]:
    """The card and the files of `runs`.

    Raises:
        InputError: the folder holds other files, which would be pushed with them.
    """
    names = labels(runs)
    paths = [out / CARD, *(out / "data" / f"{name}.jsonl" for name in names)]
    strangers = sorted({path for path in out.rglob("*") if path.is_file()} - set(paths)) if out.exists() else []
    if strangers:
        raise InputError(
            f"--out {out} holds other files (e.g. {strangers[0].name}), which would be pushed: give a new one"
        )
    for run, path in zip(runs, paths[1:], strict=True):
        with written_whole(path) as file:
            for result in run.results:
                file.write(as_json(_row(result)) + "\n")
    with written_whole(out / CARD) as file:
        file.write(_card(runs, names))
    return paths


def _row(result: Result) -> dict[str, Any]:
    grade, problem = result.grade, result.problem
    assert grade is not None
    return {
        "id": problem.id,
        "sample": result.sample,
        "language": problem.language,
        "subject": problem.subject,
        "level": problem.level,
        "question": problem.question,
        "reference": problem.answer or "",
        "solution": result.text,
        "output_not_read": result.left_over or "",
        "predicted": grade.verdict.predicted or "",
        "correct": result.correct,
        "rule": grade.verdict.rule,
        "stop": result.stop,
        "programs": len(result.calls),
        "prompt_tokens": result.prompt_tokens,
        "new_tokens": result.new_tokens,
        "shown_tokens": result.shown_tokens,
        "seconds": result.seconds,
    }


def _card(runs: Sequence[Run], names: Sequence[str]) -> str:
    front = {
        "pretty_name": "Evaluation of " + ", ".join(dict.fromkeys(run.config.model for run in runs)),
        "language": sorted({result.problem.language for run in runs for result in run.results}),
        "task_categories": ["text-generation"],
        "tags": ["evaluation", "mathematics", "soroban"],
        "configs": [{"config_name": name, "data_files": f"data/{name}.jsonl"} for name in names],
    }
    # JSON is YAML: whatever stands in a model's name, this stays one value.
    lines = ["---", *(f"{key}: {as_json(value)}" for key, value in front.items()), "---", ""]
    lines += [f"# {front['pretty_name']}", ""]
    lines += ["Every solution with its verdict, as `python -m evaluator` of soroban recorded it.", ""]
    lines += ["**Do not train on this.** It holds questions and answers of benchmarks.", ""]
    lines += [as_markdown(table) for table in tables(runs, pairs=len(runs) > 1) if "published" not in table.title]
    for run, name in zip(runs, names, strict=True):
        settings = {key: value for key, value in asdict(run.config).items() if key != "about"}
        lines += [f"### Settings of {name}", "", "```json", as_json(settings, indent=2), "```", ""]
    return "\n".join(lines)


def push(folder: Path, repository: str, *, public: bool) -> str:
    """Put `folder` into the data set `repository` (OWNER/NAME) of the Hub; its address.

    A new one is private, with `public` seen by everybody; one that is there already stays what it is.

    The Hub's address and token are huggingface_hub's: HF_ENDPOINT, HF_TOKEN, or `hf auth login`.

    Raises:
        InputError: huggingface_hub is missing, or the Hub refuses or cannot be reached.
    """
    if repository.count("/") != 1:
        raise InputError(f"--push {repository}: expected OWNER/NAME of a data set on the Hub")
    try:
        import httpx
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        raise InputError("--push needs huggingface_hub: pip install 'soroban[hub]'") from None
    api = HfApi()
    try:
        api.create_repo(repository, repo_type="dataset", private=not public, exist_ok=True)
        api.upload_folder(repo_id=repository, repo_type="dataset", folder_path=folder)
    except (HfHubHTTPError, httpx.HTTPError, ValueError, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"cannot push to {repository} on {api.endpoint}: {first}. {folder} is kept: push again"
        ) from None
    return f"{api.endpoint}/datasets/{repository}"
