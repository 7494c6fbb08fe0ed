"""What is exported is opened by the tools that it is for: inspect_ai, lm-evaluation-harness, datasets, the Hub."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dataset.types import Verdict
from evaluator.__main__ import main
from evaluator.grade import Grade
from evaluator.results import Result
from evaluator.tool import ToolCall
from sandbox.command import run_command
from tests.evaluator.scripted import problem
from tests.evaluator.test_compare import saved

TOOLS = ("inspect_ai==0.3.285", "lm_eval==0.4.13")
CALL = ToolCall(status="ok", error=None, wall_seconds=0.1, queue_seconds=0.0, truncated=False, shown=True)
TEXT = "First \udc00 I compute.\n```python\nprint(3 + 4)\n```\n```output\n7\n```\nIt is $\\boxed{7}$.\u2028"
Go = Callable[..., tuple[int, str, str]]


def answers(count: int, samples: int) -> list[Result]:
    return [
        Result(
            key="k",
            problem=problem(n),
            sample=s,
            text=TEXT,
            stop="end",
            calls=(CALL,),
            prompt_tokens=10,
            new_tokens=20,
            shown_tokens=3,
            seconds=1.5,
            grade=Grade(
                verdict=Verdict(correct=(n + s) % 2 == 0, rule="number", reference="7", predicted="7" if n else None),
                program=None,
                answer_from="text",
            ),
        )
        for n in range(count)
        for s in range(samples)
    ]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two runs of one model, one of another, whose name may not stand in a file's."""
    for name, style in (("runs/my model", "tir"), ("runs/my model", "cot"), ("other", "tir")):
        folder = tmp_path / "results" / style / name
        saved(folder, answers(4, 2), style=style)
    return tmp_path


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Go:
    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["evaluator", *map(str, arguments)])
        return run_command(main), *capfd.readouterr()

    return command


@pytest.fixture(scope="session")
def python_of_the_tools() -> str:
    """A Python with both tools, in an environment that is made once a machine."""
    name = hashlib.sha256(" ".join((sys.version, *TOOLS)).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"soroban-other-tools-{os.getuid()}-{name}"
    python, done = str(folder / "bin/python"), folder / "complete"
    if not done.exists():
        uv = [sys.executable, "-m", "uv"]
        try:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, timeout=60)
            pip = [*uv, "pip", "install", "--python", python] if _has_uv() else [python, "-m", "pip", "install"]
            subprocess.run([*pip, "-q", *TOOLS], check=True, capture_output=True, text=True, timeout=240)
        except (subprocess.SubprocessError, OSError) as error:
            told = str(getattr(error, "stderr", "") or error).strip().splitlines()
            pytest.skip(f"cannot install {', '.join(TOOLS)}: {told[-1] if told else error}")
        done.touch()
    return python


def _has_uv() -> bool:
    return subprocess.run([sys.executable, "-m", "uv", "--version"], capture_output=True).returncode == 0


def read_by(python: str, program: str, folder: Path) -> Any:
    done = subprocess.run(
        [python, "-W", "ignore", "-c", program, folder], capture_output=True, text=True, timeout=200, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


_INSPECT = """
import json, sys
from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_samples
logs = [read_eval_log(info) for info in list_eval_logs(sys.argv[1])]
print(json.dumps([{
    "model": log.eval.model, "task": log.eval.task, "status": log.status,
    "accuracy": log.results.scores[0].metrics["accuracy"].value, "epochs": log.eval.config.epochs,
    "streamed": len(list(read_eval_log_samples(log.location))),
    "samples": [{"id": s.id, "epoch": s.epoch, "value": s.scores["soroban"].value, "answer": s.scores["soroban"].answer,
                 "roles": [m.role for m in s.messages], "code": s.messages[1].tool_calls[0].arguments["code"],
                 "shown": s.messages[2].text, "said": s.output.completion, "target": s.target,
                 "text": s.metadata["solution"].encode("utf-8", "backslashreplace").decode()} for s in log.samples],
} for log in logs]))
"""


def test_inspect_ai_reads_its_log(go: Go, folders: Path, python_of_the_tools: str) -> None:
    code, out, err = go("export", folders / "results", "--format", "inspect", "--out", folders / "logs")
    assert (code, len(out.splitlines())) == (0, 3), err
    logs = read_by(python_of_the_tools, _INSPECT, folders / "logs")
    assert sorted((log["model"], log["task"]) for log in logs) == [
        ("my model", "demo-none"),
        ("my model", "demo-tools"),
        ("other", "demo-tools"),
    ]
    for log in logs:
        assert (log["status"], log["accuracy"], log["epochs"], log["streamed"]) == ("success", 0.5, 2, 8)
        first, last = log["samples"][0], log["samples"][-1]
        assert (first["value"], last["id"], last["epoch"], last["value"], last["answer"]) == ("N", "p/3", 2, "C", "7")
        assert last["roles"] == ["user", "assistant", "tool", "assistant"]
        assert (last["code"], last["shown"], last["target"]) == ("print(3 + 4)", "7", "7")
        assert last["said"].startswith("It is $\\boxed{7}$")
        assert "print(3 + 4)" in last["text"]


_LM_EVAL = """
import glob, json, sys
from lm_eval.utils import get_file_task_name, get_latest_filename, get_results_filenames, get_sample_results_filenames
from lm_eval.utils import make_table
files = glob.glob(sys.argv[1] + "/**/*", recursive=True)
own = [f for f in get_results_filenames(files) if "my_model" in f]
results = json.load(open(get_latest_filename(own)))
rows = [json.loads(line) for f in get_sample_results_filenames(files) for line in open(f)]
print(json.dumps({
    "files": len(get_results_filenames(files)), "table": make_table(results), "results": results["results"],
    "tasks": sorted(get_file_task_name(f.rsplit("/", 1)[1]) for f in get_sample_results_filenames(files)),
    "rows": len(rows), "row": rows[0],
}))
"""


def test_lm_eval_reads_its_results_and_samples(go: Go, folders: Path, python_of_the_tools: str) -> None:
    code, out, err = go("export", folders / "results", "--format", "lm-eval", "--out", folders / "logs")
    assert (code, len(out.splitlines())) == (0, 5), err
    found = read_by(python_of_the_tools, _LM_EVAL, folders / "logs")
    assert (found["files"], found["rows"]) == (2, 12)
    assert found["tasks"] == ["demo-none", "demo-tools", "demo-tools"]
    assert found["table"].count("exact_match") == 2
    assert found["results"]["demo-none"]["exact_match,none"] == 0.5
    row = found["row"]
    assert len(row["resps"][0]) == 2
    assert (row["filtered_resps"], row["exact_match"], row["target"]) == (["", ""], 0.5, "7")
    assert row["arguments"]["gen_args_0"]["arg_0"] == "What is 3 + 4?\ndo"


def test_the_data_set_that_would_be_pushed_loads_with_its_card(go: Go, folders: Path) -> None:
    datasets = pytest.importorskip("datasets")
    cards = pytest.importorskip("huggingface_hub")
    out = folders / "set"
    code, _, err = go("export", folders / "results", "--format", "dataset", "--out", out)
    assert code == 0, err
    card = cards.DatasetCard.load(out / "README.md")
    names = [config["config_name"] for config in card.data.to_dict()["configs"]]
    assert sorted(names) == ["my_model-demo-none", "my_model-demo-tools", "other-demo-tools"]
    assert "Do not train on this" in card.text
    assert "| my model | tools | demo | 8 | 50.0 |" in card.text
    assert str(folders) not in card.text, "a path of this machine is in the card"
    loaded = datasets.load_dataset(str(out), names[1], split="train", cache_dir=str(folders / "cache"))
    assert (len(loaded), loaded[7]["id"], loaded[7]["correct"]) == (8, "p/3", True)
    assert loaded[7]["solution"] == TEXT.replace("\udc00", "\ufffd")
    (out / "secret.txt").write_text("not to be pushed")
    code, _, err = go("export", folders / "results", "--format", "dataset", "--out", out)
    assert code != 0
    assert "holds other files (e.g. secret.txt), which would be pushed" in err


class Hub(BaseHTTPRequestHandler):
    """The calls of a push, as the Hub answers them: a repository, what is to go in, one commit."""

    pushed: dict[str, Any]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.pushed.setdefault("tokens", set()).add(self.headers.get("Authorization"))
        if self.headers.get("Authorization") != "Bearer hf_right":
            self._answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            self.pushed["repository"] = json.loads(body)
            self._answer({"url": f"http://{self.headers['Host']}/datasets/me/scores", "name": "me/scores", "id": "1"})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif self.path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            self._answer(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        elif self.path.endswith("/commit/main"):
            lines = [json.loads(line) for line in body.splitlines()]
            self.pushed["files"] = sorted(line["value"]["path"] for line in lines if line["key"] == "file")
            self._answer(
                {
                    "commitUrl": f"http://{self.headers['Host']}/datasets/me/scores/commit/0",
                    "commitOid": "0" * 40,
                    "pullRequestUrl": None,
                    "success": True,
                }
            )
        else:
            self._answer({}, 404)

    def do_GET(self) -> None:
        self._answer({"id": "me/scores", "sha": "0" * 40, "siblings": []})

    def _answer(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hub() -> Iterator[tuple[str, dict[str, Any]]]:
    pushed: dict[str, Any] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Hub,), {"pushed": pushed}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", pushed
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_push_makes_a_private_data_set_with_exactly_the_folder(
    folders: Path, hub: tuple[str, dict[str, Any]]
) -> None:
    pytest.importorskip("huggingface_hub")
    address, pushed = hub

    def command(token: str, *more: str) -> subprocess.CompletedProcess[str]:
        arguments = ["export", str(folders / "results"), "--format", "dataset", "--out", str(folders / "set"), *more]
        variables = {**os.environ, "HF_ENDPOINT": address, "HF_TOKEN": token, "HF_HOME": str(folders / "home")}
        variables["HF_HUB_DISABLE_XET"] = "1"
        return subprocess.run(
            [sys.executable, "-m", "evaluator", *arguments], capture_output=True, text=True, env=variables, timeout=100
        )

    done = command("hf_right", "--push", "me/scores")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{address}/datasets/me/scores"
    assert (pushed["repository"]["type"], pushed["repository"]["name"]) == ("dataset", "scores")
    assert pushed["repository"].get("private") is True or pushed["repository"].get("visibility") == "private"
    here = [path for path in (folders / "set").rglob("*") if path.is_file()]
    assert pushed["files"] == sorted(str(path.relative_to(folders / "set")) for path in here)
    refused = command("hf_wrong", "--push", "me/scores")
    assert refused.returncode != 0
    assert refused.stderr.startswith("error: cannot push to me/scores")
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("{f}/results --format weights --out {f}/o", "unknown --format 'weights'; there are inspect, lm-eval, dataset"),
        ("{f}/empty --format inspect --out {f}/o", "empty: no results in it; expected a folder of"),
        ("{f}/nowhere --format inspect --out {f}/o", "nowhere: no results in it"),
        ("{f}/missing --format inspect --out {f}/o", "1 of 9 samples are missing; run again to go on"),
        ("{f}/results --format inspect --out {f}/file", "file is a file; expected a folder"),
        ("{f}/results --format inspect --out {f}/o --push me/x", "--push goes with --format dataset, not inspect"),
        ("{f}/results --format dataset --out {f}/o --push x", "--push x: expected OWNER/NAME"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(go: Go, folders: Path, arguments: str, told: str) -> None:
    (folders / "empty").mkdir()
    (folders / "file").touch()
    saved(folders / "missing", answers(4, 2), 9)
    code, _, err = go("export", *[word.format(f=folders) for word in arguments.split()])
    assert code != 0
    assert told in err
    assert len(err.strip().splitlines()) == 1
