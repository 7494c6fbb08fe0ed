"""Published accuracies beside which ours stand: table 5 of DeepSeekMath (arXiv 2402.03300), all rows.

Read from images/instruct_results.png and evaluation/evaluation_results.json of the repository
deepseek-ai/DeepSeek-Math. Where the two differ both are kept: `figure` from the table, `other` from the JSON. It
alone has the accuracy of the last program's output (`program`). Closed and open models stand apart, as there. The
benchmarks are the full test sets: GSM8K 1,319, MATH 5,000, MGSM-zh 250, CMATH 1,098 problems. The figures were graded
by their authors' own graders, which accept more or less than ours; a re-grading of the same outputs by MARIO_EVAL
moved MATH by -0.3 to +1.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["none", "tools"]
Group = Literal["closed", "open"]

TABLE_5 = "arXiv 2402.03300, table 5"
BENCHMARKS = ("gsm8k", "math", "mgsm_zh", "cmath")
ROWS = {"gsm8k": 1319, "math": 5000, "mgsm_zh": 250, "cmath": 1098}


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published figure, in percent.

    Attributes:
        group: closed or open weights, as the table parts them.
        size: "" where it is not published.
        program: accuracy of the last program's output alone, whatever the text says; None where it is not published.
        note: what is odd about the figure.
    """

    model: str
    group: Group
    size: str
    mode: Mode
    benchmark: str
    figure: float
    other: float | None = None
    program: float | None = None
    source: str = TABLE_5
    note: str = ""


# (model, size, mode, GSM8K, MATH, MGSM-zh, CMATH); None: not published there.
_TABLE: tuple[tuple[str, str, Mode, float | None, float | None, float | None, float | None], ...] = (
    ("Gemini Ultra", "", "none", 94.4, 53.2, None, None),
    ("GPT-4", "", "none", 92.0, 52.9, None, 86.0),
    ("Inflection-2", "", "none", 81.4, 34.8, None, None),
    ("GPT-3.5", "", "none", 80.8, 34.1, None, 73.8),
    ("Gemini Pro", "", "none", 86.5, 32.6, None, None),
    ("Grok-1", "", "none", 62.9, 23.9, None, None),
    ("Baichuan-3", "", "none", 88.2, 49.2, None, None),
    ("GLM-4", "", "none", 87.6, 47.9, None, None),
    ("InternLM2-Math", "20B", "none", 82.6, 37.7, None, None),
    ("Qwen", "72B", "none", 78.9, 35.2, None, None),
    ("Math-Shepherd-Mistral", "7B", "none", 84.1, 33.0, None, None),
    ("WizardMath-v1.1", "7B", "none", 83.2, 33.0, None, None),
    ("DeepSeek-LLM-Chat", "67B", "none", 84.1, 32.6, 74.0, 80.3),
    ("MetaMath", "70B", "none", 82.3, 26.6, 66.4, 70.9),
    ("SeaLLM-v2", "7B", "none", 78.2, 27.5, 64.8, None),
    ("ChatGLM3", "6B", "none", 72.3, 25.7, None, None),
    ("WizardMath-v1.0", "70B", "none", 81.6, 22.7, 64.8, 65.4),
    ("DeepSeekMath-Instruct", "7B", "none", 82.9, 46.8, 73.2, 84.6),
    ("DeepSeekMath-RL", "7B", "none", 88.2, 51.7, 79.6, 88.8),
    ("GPT-4 Code Interpreter", "", "tools", 97.0, 69.7, None, None),
    ("InternLM2-Math", "20B", "tools", 80.7, 54.3, None, None),
    ("DeepSeek-LLM-Chat", "67B", "tools", 86.7, 51.1, 76.4, 85.4),
    ("ToRA", "34B", "tools", 80.7, 50.8, 41.2, 53.4),
    ("MAmmoTH", "70B", "tools", 76.9, 41.8, None, None),
    ("DeepSeekMath-Instruct", "7B", "tools", 83.7, 57.4, 72.0, 84.3),
    ("DeepSeekMath-RL", "7B", "tools", 86.7, 58.8, 78.4, 87.6),
)
# All others are open.
_CLOSED = frozenset(
    [
        "Gemini Ultra",
        "GPT-4",
        "Inflection-2",
        "GPT-3.5",
        "Gemini Pro",
        "Grok-1",
        "Baichuan-3",
        "GLM-4",
        "GPT-4 Code Interpreter",
    ]
)
# `program_accuracy` of evaluation_results.json, with tools: GSM8K, MATH, MGSM-zh, CMATH.
_PROGRAM = {
    "DeepSeekMath-Instruct": dict(zip(BENCHMARKS, (83.3, 46.6, 71.6, 82.1), strict=True)),
    "DeepSeekMath-RL": dict(zip(BENCHMARKS, (86.8, 50.9, 77.6, 85.7), strict=True)),
}
_OTHER = {("DeepSeekMath-Instruct", "tools", "math"): 57.5}
_GREYED = "set in grey there: not comparable with the others"
_NOTES = {("Gemini Ultra", "none", "gsm8k"): _GREYED, ("Gemini Pro", "none", "gsm8k"): _GREYED}

PUBLISHED: tuple[Published, ...] = tuple(
    Published(
        model=model,
        group="closed" if model in _CLOSED else "open",
        size=size,
        mode=mode,
        benchmark=benchmark,
        figure=figure,
        other=_OTHER.get((model, mode, benchmark)),
        program=_PROGRAM.get(model, {}).get(benchmark) if mode == "tools" else None,
        note=_NOTES.get((model, mode, benchmark), ""),
    )
    for model, size, mode, *figures in _TABLE
    for benchmark, figure in zip(BENCHMARKS, figures, strict=True)
    if figure is not None
)
