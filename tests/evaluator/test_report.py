"""The HTML page: self-contained, safe against what models write, quick with 10,000 samples in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dataset.types import Problem, Verdict
from evaluator.compare import compare
from evaluator.grade import Grade
from evaluator.report import write_report
from evaluator.results import Result
from evaluator.scores import Run, score
from evaluator.tool import ToolCall
from tests.evaluator.test_results import CONFIG

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
ROOT = Path(__file__).parents[2]
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
    # KaTeX calls its lexer's own `fetch()`; the policy of the page forbids the browser's, whatever the script.
    assert not re.search(r"url\((?!data:)|@import|XMLHttpRequest|https?://(?!www\.w3\.org)", text)
    policy = next(attrs["content"] for tag, attrs in elements if attrs.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy)
    assert [tag for tag, _ in elements].count("script") == 3, "what a model wrote has become part of the page"


def test_the_page_holds_every_sample_as_it_is(tmp_path: Path) -> None:
    text = page(tmp_path, 5).read_text(encoding="utf-8")
    raw = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert raw is not None
    data = json.loads(raw[1])
    assert len(data["samples"]) == 10
    assert data["problems"][0]["question"] == "Question 0: what is 2 + 0?" + HOSTILE
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
facts.others = document.querySelectorAll(".others button").length;
timed("other", () => document.querySelector(".others button").click()); facts.other = at("one").innerText;
at("search").value = "nothing has this"; filter(); facts.none = count(); at("search").value = "";
timed("pair", () => choose("pair", "0-1")); facts.pair = count();
timed("won", () => choose("outcome", "won")); facts.won = count();
choose("outcome", ""); choose("pair", ""); timed("sort", () => choose("order", "longest")); timed("export", exported);
timed("link", () => { location.hash = "#s=1/0/q%2F4999&b=0/0"; follow(); }); facts.linked = at("one").innerText;
facts.current = rows.get(current) === document.querySelector("#list [aria-current]");
document.documentElement.dataset.facts = JSON.stringify(facts);
</script>
"""


def probed(path: Path, script: str, link: str = "") -> dict[str, Any]:
    """What `script`, put at the end of the page, has left in the root's data-facts when the browser had opened it."""
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("</body>\n</html>", script + "</body>\n</html>"), encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={path.parent / 'profile'}", "--dump-dom", path.as_uri() + link]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    path.write_text(text, encoding="utf-8")
    root = next(attrs for tag, attrs in Elements(done.stdout).found if tag == "html")
    facts: dict[str, Any] = json.loads(root["data-facts"] or "")
    return facts


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine: apt-get install chromium")
def test_filters_search_and_transcripts_work_in_a_browser_with_10_000_samples_within_two_seconds(
    tmp_path: Path,
) -> None:
    path = page(tmp_path, 5000)
    facts = probed(path, _PROBE)
    assert (facts["all"], facts["rows"]) == (10_000, 201)
    assert "broken" not in facts["title"].split("<")[0]
    # right every second with tools, every third without: wrong 2500 + 3333; they disagree on 2500 + 1667 - 2 * 834
    assert (facts["wrong"], facts["error"], facts["zh"], facts["none"]) == (5833, 500, 5000, 0)
    assert facts["disagree"] == 2 * (2500 + 1667 - 2 * 834)
    assert (facts["search"], facts["others"]) == (2, 2)
    assert "print(2 + 4321)" in facts["found"]
    assert "rule: number" in facts["found"]
    assert "no tools" in facts["other"]
    assert HOSTILE.strip() in facts["first"]
    # the second run has more right where n is odd and divides by 3; pairs list each problem once
    assert (facts["pair"], facts["won"]) == (5000, 833)
    assert facts["linked"].startswith("q/4999 · side by side")
    assert facts["current"], "the list does not show the sample that a link opened"
    print({name: round(ms) for name, ms in facts.items() if name.endswith("_ms")})  # for docs/log.md: pytest -s
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


SOLUTIONS = (
    (0, "Tom pays $5 and $10, so $5/$10.\nThen $\\frac{1}{2} + x^2$ and \\[ \\sum_{i=1}^n i \\]\nIt is \\boxed{15}."),
    (
        0,
        "Tom pays $5 and $10, so $5/$10.\nThen we add: 5 + 10 = 15.\n```python\nprint(5 + 10)\n```\n```output\n15\n```",
    ),
    (1, "$\\href{javascript:document.title='broken'}{x}$ $\\undefined{$ $\\def\\a{\\a\\a}\\a$ \\(a < b\\)"),
    (1, "Longer by far. " * 40),
)


def two_runs(folder: Path) -> list[Run]:
    found = []
    for number, model in enumerate(("base", "tuned")):
        rows = [
            replace(
                results(2, right_every=1, tools=False)[problem],
                problem=replace(results(2, right_every=1, tools=False)[problem].problem, question=f"No. {problem}?"),
                text=text,
                new_tokens=len(text),
                prompt_tokens=11,
                seconds=1.0 + problem,
                grade=Grade(
                    verdict=Verdict(correct=problem == number, rule="number", reference="15", predicted="15"),
                    program=None,
                    answer_from="text",
                ),
            )
            for problem, text in SOLUTIONS[number::2]
        ]
        config = replace(CONFIG, style="cot", model=model, about={})
        found.append(Run(folder=folder / model, config=config, results=rows, score=score(rows)))
    return found


_READ = """
<script>
const facts = { title: document.title, opened: at("one").innerText, hash: location.hash };
const marked_in = (n) => [...document.querySelectorAll(`.columns > div:nth-child(${n}) mark`)];
const marks = (n) => marked_in(n).map((m) => m.textContent).join("");
facts.columns = document.querySelectorAll(".columns > div").length;
facts.only_first = marks(1); facts.only_second = marks(2);
facts.drawn = document.querySelectorAll(".columns mark .katex").length;
facts.scrolled = at("transcripts").getBoundingClientRect().top;
facts.listed = rows.get(current)?.getAttribute("aria-current");
const key = (k) => document.dispatchEvent(new KeyboardEvent("keydown", { key: k }));
key("c"); facts.alone = document.querySelectorAll(".columns").length;
show(samples[0], null);
facts.formulas = document.querySelectorAll("#one .katex").length;
facts.display = document.querySelectorAll("#one .katex-display").length;
facts.money = at("one").innerText.includes("$5 and $10, so $5/$10.");
key("f"); facts.raw = document.querySelectorAll("#one .katex").length; key("f");
key("j"); facts.next = current.id; key("k"); facts.before = current.id;
show(samples[1], null);
facts.links = document.querySelectorAll("#one a").length; facts.read = document.querySelectorAll("#one .katex").length;
at("order").value = "longest"; filter(); facts.longest = matching.map((s) => s.tokens);
at("order").value = "slowest"; filter(); facts.slowest = matching.map((s) => s.seconds);
at("order").value = ""; document.querySelector(".jump[data-outcome=won]").click();
facts.won = matching.map((s) => s.id); facts.beside = document.querySelectorAll(".columns > div").length;
facts.saved = exported().trim().split("\\n").map(JSON.parse);
at("pair").value = ""; at("outcome").value = ""; filter();
let copied = []; navigator.clipboard.writeText = async (text) => { copied.push(text); };
show(samples[2], null); document.querySelector("#one .copy").click(); key("p"); key("y");
facts.copied = copied; facts.tokens = at("one").innerText.includes("tokens: ");
document.documentElement.dataset.facts = JSON.stringify(facts);
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine: apt-get install chromium")
def test_two_runs_are_read_side_by_side_with_formulas_links_keys_and_an_export(tmp_path: Path) -> None:
    runs = two_runs(tmp_path)
    write_report(runs, tmp_path / "page.html", [compare(*runs)])
    facts = probed(tmp_path / "page.html", _READ, "#s=1/0/q%2F0&b=0/0")
    assert facts["opened"].startswith("q/0 · side by side")
    assert (facts["columns"], facts["alone"], facts["hash"]) == (2, 0, "#s=1/0/q%2F0&b=0/0")
    assert "frac" in facts["only_first"]
    assert facts["drawn"] > 0, "beside another solution, formulas are not drawn"
    assert (abs(facts["scrolled"]) < 5, facts["listed"]) == (True, "true"), "a link opens the page above its sample"
    assert "print" in facts["only_second"]
    assert "Tom pays" not in facts["only_first"] + facts["only_second"]
    assert (facts["formulas"], facts["display"], facts["money"], facts["raw"]) == (3, 1, True, 0)
    assert (facts["next"], facts["before"]) == ("q/1", "q/0")
    assert (facts["links"], facts["title"]) == (0, "soroban: base, tuned")  # \href is not followed; the rest is text
    assert facts["longest"] == sorted((len(text) for _, text in SOLUTIONS), reverse=True)
    assert facts["slowest"] == [2.0, 2.0, 1.0, 1.0]
    assert (facts["won"], facts["beside"]) == (["q/1"], 2)
    assert [(row["id"], row["run"], row["verdict"]) for row in facts["saved"]] == [
        ("q/1", "tuned, no tools, demo", "right")
    ]
    assert facts["copied"][:2] == ["print(5 + 10)"] * 2
    assert facts["copied"][2].endswith("page.html#s=1/0/q%2F0")
    assert facts["tokens"]


def test_every_file_of_the_page_is_in_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packaged = {path for pattern in project["evaluator"] for path in (ROOT / "evaluator").glob(pattern)}
    assert {path for path in (ROOT / "evaluator/page").rglob("*") if path.is_file()} <= packaged
    page = (ROOT / "evaluator/page/katex/katex.min.css").read_text()
    fonts = {path.name for path in (ROOT / "evaluator/page/katex/fonts").iterdir()}
    assert set(re.findall(r"fonts/([\w-]+\.woff2)", page)) == fonts
