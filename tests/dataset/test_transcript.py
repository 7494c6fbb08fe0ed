"""The grammar: what is rendered reads back, and what models write is read as they meant it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset import transcript
from dataset.sources.mathcoder import convert
from dataset.transcript import STOP, as_output, last_program, parse, render, spans, splice, tidy
from dataset.types import Turn

TEXT, CODE, OUTPUT = "text", "code", "output"

# what a model wrote, what it meant
TOLERANCE = [
    pytest.param("Just words.", [(TEXT, "Just words.")], id="words only"),
    pytest.param("", [], id="nothing"),
    pytest.param(" \n\n ", [], id="white space only"),
    pytest.param(
        "Words.\n```python\nprint(1)\n```\n```output\n1\n```\nDone.",
        [(TEXT, "Words."), (CODE, "print(1)"), (OUTPUT, "1"), (TEXT, "Done.")],
        id="the grammar's own form",
    ),
    pytest.param("```python\nx\n```\n\n\n```output\n1\n```", [(CODE, "x"), (OUTPUT, "1")], id="blank lines between"),
    pytest.param("```python\r\nx = 1\r\n```\r\nDone.\r\n", [(CODE, "x = 1"), (TEXT, "Done.")], id="CRLF"),
    pytest.param("```python\rx\r```\rDone.", [(CODE, "x"), (TEXT, "Done.")], id="old Mac line ends"),
    pytest.param("~~~python\nx\n~~~", [(CODE, "x")], id="tilde fence"),
    pytest.param("~~~python\n'''\n```\n'''\n~~~", [(CODE, "'''\n```\n'''")], id="back-ticks inside a tilde fence"),
    pytest.param("````python\n```\n````", [(CODE, "```")], id="longer fence around a shorter one"),
    pytest.param(
        "  ```python\n  if x:\n    y\n  ```\nz", [(CODE, "if x:\n  y"), (TEXT, "z")], id="indented fence and code"
    ),
    pytest.param("1. Compute:\n   ```py\n   x\n   ```", [(TEXT, "1. Compute:"), (CODE, "x")], id="fence in a list"),
    pytest.param("```Python3 \nx\n```", [(CODE, "x")], id="Python3, trailing blank"),
    pytest.param("``` python\nx\n```", [(CODE, "x")], id="blank before the language"),
    pytest.param("So: ```python\nx\n```", [(TEXT, "So: "[:-1]), (CODE, "x")], id="words before the fence"),
    pytest.param("```python\nprint(1)```\nDone.", [(CODE, "print(1)"), (TEXT, "Done.")], id="closing fence glued on"),
    pytest.param("```python\nprint(1)", [(CODE, "print(1)")], id="program that never closes"),
    pytest.param("```python\nprint(1)\n```\n```output\n1", [(CODE, "print(1)"), (OUTPUT, "1")], id="output unclosed"),
    pytest.param("```python\nx\n```\n```output", [(CODE, "x"), (OUTPUT, "")], id="stopped at the stop string"),
    pytest.param("```python\nx\n```\n```output\n```\nz", [(CODE, "x"), (OUTPUT, ""), (TEXT, "z")], id="empty output"),
    pytest.param(
        "```python\nx\n```output\n1\n```", [(CODE, "x"), (OUTPUT, "1")], id="output opens while the code is open"
    ),
    pytest.param("```\nx = 1\n```", [(TEXT, "```\nx = 1\n```")], id="a fence without a language stays text"),
    pytest.param("```java\nx\n```", [(TEXT, "```java\nx\n```")], id="another language stays text"),
    pytest.param(
        "```python\ns = '```python'\n```", [(CODE, "s = '```python'")], id="an opening fence inside a program is code"
    ),
    pytest.param(
        "```python\nx\n```\n```output\n```python\n```", [(CODE, "x"), (OUTPUT, "```python")], id="a fence in an output"
    ),
    pytest.param("```python\n\n```", [(CODE, "")], id="empty program"),
    pytest.param(
        "```python\nx\n```\nNext.\n```python\ny\n```\n```output\n2\n```",
        [(CODE, "x"), (TEXT, "Next."), (CODE, "y"), (OUTPUT, "2")],
        id="a program without an output",
    ),
]


@pytest.mark.parametrize(("written", "meant"), TOLERANCE)
def test_what_models_write_is_read_as_meant(written: str, meant: list[tuple[str, str]]) -> None:
    assert [(turn.kind, turn.text) for turn in parse(written)] == meant


LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20)
CHARACTERS = st.sampled_from(
    ["`", "~", "\n", " ", "\t", "a", "python", "output", "```", "~~~", "```output", "\r", "é", "中"]
)
MESS = st.lists(CHARACTERS, max_size=12).map("".join)
TURNS = st.lists(
    st.one_of(
        st.builds(Turn, st.just(TEXT), MESS | LINE),
        st.builds(Turn, st.just(CODE), MESS | LINE),
        st.builds(Turn, st.just(OUTPUT), MESS | LINE),
    ),
    max_size=6,
)


@given(TURNS)
def test_what_is_rendered_reads_back(turns: list[Turn]) -> None:
    tidied = tidy(turns)
    try:
        text = render(tidied)
    except ValueError:
        return  # refused: nothing was written that would read back differently
    assert parse(text) == tidied


@given(st.lists(LINE.map(str.strip).filter(lambda line: line and "`" not in line and "~" not in line), min_size=3))
def test_plain_solutions_are_never_refused(lines: list[str]) -> None:
    code, output, words = lines[0], lines[1], "\n".join(lines[2:]).strip()
    turns = (Turn(CODE, code), Turn(OUTPUT, as_output(output)), Turn(TEXT, words))
    assert parse(render(turns)) == turns


@given(MESS)
def test_parsing_never_fails_and_what_it_reads_is_stable(text: str) -> None:
    turns = tidy(parse(text))
    try:
        again = render(turns)
    except ValueError:
        return
    assert parse(again) == turns


@given(TURNS)
def test_spans_concatenate_to_the_rendered_text(turns: list[Turn]) -> None:
    tidied = tidy(turns)
    try:
        text = render(tidied)
    except ValueError:
        return
    assert "".join(span.text for span in spans(tidied)) == text


def test_only_outputs_are_not_learned_and_the_stop_string_is() -> None:
    turns = (Turn(TEXT, "a"), Turn(CODE, "b"), Turn(OUTPUT, "c"), Turn(TEXT, "d"))
    pieces = [(span.learned, span.text) for span in spans(turns)]
    assert pieces == [(True, "a\n"), (True, f"```python\nb\n```\n{STOP}"), (False, "\nc\n```\n"), (True, "d")]


def test_a_spliced_output_continues_what_stopped_at_the_stop_string() -> None:
    written = f"```python\nprint(7)\n```\n{STOP}"
    assert parse(written + splice("7") + "So 7.") == (Turn(CODE, "print(7)"), Turn(OUTPUT, "7"), Turn(TEXT, "So 7."))


@pytest.mark.parametrize("printed", ["```", "  ```output\n1", "~~~", "a\n```\nb", "````", "\r\n```\r\n"])
def test_a_fence_in_a_printed_output_cannot_close_its_block(printed: str) -> None:
    turns = (Turn(CODE, "x"), Turn(OUTPUT, as_output(printed)), Turn(TEXT, "end"))
    assert parse(render(turns)) == turns


@pytest.mark.parametrize(
    "turns",
    [
        (Turn(OUTPUT, "1"),),
        (Turn(TEXT, "a"), Turn(OUTPUT, "1")),
        (Turn(TEXT, " a"),),
        (Turn(TEXT, ""),),
        (Turn(TEXT, "a"), Turn(TEXT, "b")),
        (Turn(CODE, "x\n```\ny"),),
        (Turn(TEXT, "```python\nx\n```"),),
    ],
)
def test_turns_that_would_not_read_back_are_refused(turns: tuple[Turn, ...]) -> None:
    with pytest.raises(ValueError):
        render(turns)


def test_the_last_program_waits_only_until_its_output() -> None:
    assert last_program((Turn(TEXT, "a"), Turn(CODE, "x"))) == "x"
    assert last_program((Turn(CODE, "x"), Turn(TEXT, "a"))) == "x"
    assert last_program((Turn(CODE, "x"), Turn(OUTPUT, "1"))) is None
    assert last_program((Turn(TEXT, "a"),)) is None


def test_every_style_and_language_has_its_own_instruction() -> None:
    assert len(set(transcript.INSTRUCTIONS.values())) == 6
    assert transcript.prompt(" q \n", "cot", "zh").startswith("q\n请")


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["tora_code_34b.gsm8k", "rho_1b.gsm8k", "rho_1b.math500"])
def test_real_tool_integrated_texts_are_read_block_by_block(shared: Path, name: str) -> None:
    for line in (shared / "trajectories" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        text = json.loads(line)["solution"]
        turns = parse(text)
        # Counted independently of the parser, on the raw text.
        assert sum(turn.kind == CODE for turn in turns) == text.count("```python\n"), text
        assert sum(turn.kind == OUTPUT for turn in turns) == text.count("```output\n"), text
        blocks = [part.split("\n```", 1)[0] for part in text.split("```output\n")[1:]]
        assert [turn.text for turn in turns if turn.kind == OUTPUT] == [block.rstrip("\n") for block in blocks] or any(
            block.startswith("```") or block == "" for block in blocks
        ), text


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["gsm8k", "math_correct", "simuleq"])
def test_mathcoders_segments_render_and_read_back(shared: Path, name: str) -> None:
    refused = total = 0
    for line in (shared / "trajectories" / f"mathcoder_l_7b.{name}.jsonl").read_text(encoding="utf-8").splitlines():
        (found,) = convert(json.loads(line), "1")
        total += 1
        try:
            assert parse(render(found.solution.turns)) == found.solution.turns
        except ValueError:
            refused += 1
    assert refused <= total // 500
