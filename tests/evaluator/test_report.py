"""The HTML page: self-contained, safe against what models write, quick with 10,000 samples in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dataset.types import Problem, Verdict
from evaluator.grade import Grade
from evaluator.report import write_report
from evaluator.results import Result
from evaluator.scores import Run, score
from evaluator.tool import ToolCall
from tests.evaluator.test_results import CONFIG

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
HOSTILE = "</script><script>document.title='broken'</script><!-- <b>&amp; %DATA% %PLOTS% $& \\1 \u2028"


def results(count: int, *, right_every: int, tools: bool) -> list[Result]:
    found = []
    for n in range(count):
        language = "zh" if n % 2 else "en"
        question = f"第{n}题：二加{n}是多少？" if n % 2 else f"Question {n}: what is 2 + {n}?"
        ending = HOSTILE if n == 0 else "ok"
        correct = n % right_every == 0
        verdict = Verdict(correct=correct, rule="number", reference=str(n + 2), predicted=str(n + 2 if correct else n))
        call = ToolCall(
            status="error" if n % 10 == 0 else "ok",
            error="ValueError" if n % 10 == 0 else None,
            wall_seconds=0.1,
            queue_seconds=0,
            truncated=False,
            shown=True,
        )
        found.append(
            Result(
                key="k",
                problem=Problem(
                    id=f"q/{n}",
                    source="q",
                    language=language,  # type: ignore[arg-type]
                    question=question + (HOSTILE if n == 0 else ""),
                    answer=str(n + 2),
                    level=str(n % 5),
                ),
                sample=0,
                text=f"So:\n```python\nprint(2 + {n})\n```\n```output\n{n + 2}\n```\n{ending} " + "x" * 300,
                stop="end",
                calls=(call,) if tools else (),
                grade=Grade(verdict=verdict, program=None, answer_from="text"),
            )
        )
    return found


def page(path: Path, count: int) -> Path:
    runs = []
    for tools, every in ((True, 2), (False, 3)):
        rows = results(count, right_every=every, tools=tools)
        config = replace(CONFIG, style="tir" if tools else "cot", model=HOSTILE, about={})
        runs.append(Run(folder=path, config=config, results=rows, score=score(rows)))
    write_report(runs, path / "report.html")
    return path / "report.html"


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:  # type: ignore[override]
        self.found.append((tag, dict(attrs)))


def test_the_page_asks_for_nothing_from_anywhere(tmp_path: Path) -> None:
    text = page(tmp_path, 5).read_text(encoding="utf-8")
    elements = Elements(text).found
    assert not [attrs for _, attrs in elements if {"src", "href", "action"} & set(attrs)]
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|https?://(?!www\.w3\.org)", text)
    assert [tag for tag, _ in elements].count("script") == 2, "what a model wrote has become part of the page"


def test_the_page_holds_every_sample_as_it_is(tmp_path: Path) -> None:
    text = page(tmp_path, 5).read_text(encoding="utf-8")
    raw = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert raw is not None
    data = json.loads(raw[1])
    assert len(data["samples"]) == 10
    assert data["samples"][0]["question"] == "Question 0: what is 2 + 0?" + HOSTILE
    assert [turn[0] for turn in data["samples"][0]["turns"]] == ["text", "code", "output", "text"]


_PROBE = """
<script>
const began = performance.timeOrigin, facts = { loaded: performance.now() };
// The best of three (an odd number: two runs take turns under "other"): what others do on the machine is not ours.
const once = (act) => { const t = performance.now(); act(); return performance.now() - t; };
const timed = (name, act) => { facts[name + "_ms"] = Math.min(...[1, 2, 3].map(() => once(act))); };
const count = () => Number(at("count").textContent.split(" ")[0]);
const choose = (id, value) => { at(id).value = value; at(id).onchange(); };
facts.all = count(); facts.title = document.title; facts.rows = document.querySelectorAll("#list button").length;
facts.first = at("one").innerText;
timed("wrong", () => choose("verdict", "wrong")); facts.wrong = count();
choose("verdict", ""); timed("error", () => choose("event", "error")); facts.error = count();
timed("disagree", () => choose("event", "disagree")); facts.disagree = count();
choose("event", ""); choose("language", "zh"); facts.zh = count(); choose("language", "");
at("search").value = "第4321题"; timed("search", filter); facts.search = count();
facts.found = at("one").innerText;
facts.others = [...document.querySelectorAll("#one button")].length;
timed("other", () => document.querySelector("#one button").click()); facts.other = at("one").innerText;
at("search").value = "nothing has this"; filter(); facts.none = count();
document.documentElement.dataset.facts = JSON.stringify(facts);
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine: apt-get install chromium")
def test_filters_search_and_transcripts_work_in_a_browser_with_10_000_samples_within_two_seconds(
    tmp_path: Path,
) -> None:
    path = page(tmp_path, 5000)
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", _PROBE + "</body>"), encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    root = next(attrs for tag, attrs in Elements(done.stdout).found if tag == "html")
    facts = json.loads(root["data-facts"] or "")
    assert (facts["all"], facts["rows"]) == (10_000, 201)
    assert "broken" not in facts["title"].split("<")[0]
    # right every second with tools, every third without: wrong 2500 + 3333; they disagree on 2500 + 1667 - 2 * 834
    assert (facts["wrong"], facts["error"], facts["zh"], facts["none"]) == (5833, 500, 5000, 0)
    assert facts["disagree"] == 2 * (2500 + 1667 - 2 * 834)
    assert (facts["search"], facts["others"]) == (2, 1)
    assert "print(2 + 4321)" in facts["found"]
    assert "rule: number" in facts["found"]
    assert "no tools" in facts["other"]
    assert HOSTILE.strip() in facts["first"]
    slow = {name: ms for name, ms in facts.items() if name.endswith("_ms") and ms > 2000}
    assert not slow
    assert facts["loaded"] < 30_000  # parsing four megabytes in a browser that has just started: once, on any machine


def test_the_plot_of_a_training_that_was_done_here_stands_in_the_page(tmp_path: Path) -> None:
    rows = results(3, right_every=2, tools=False)
    (tmp_path / "model").mkdir()
    config = replace(CONFIG, style="cot", model=str(tmp_path / "model"), about={})
    run = Run(folder=tmp_path, config=config, results=rows, score=score(rows))
    write_report([run], tmp_path / "without.html")
    (tmp_path / "model" / "loss.png").write_bytes(b"\x89PNG stands here")
    write_report([run], tmp_path / "with.html")
    shown = [
        (tmp_path / name).read_text(encoding="utf-8").count("data:image/png;base64,")
        for name in ("without.html", "with.html")
    ]
    assert shown == [0, 1]
