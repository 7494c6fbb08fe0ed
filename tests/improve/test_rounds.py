"""Expert iteration as a command: real stages, a round after the other, resumed by manifests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import improve.rounds
from dataset.files import read_jsonl
from improve.__main__ import main
from sandbox.errors import InputError


def flags(unsure: Path, out: Path, *more: str) -> list[str]:
    fast = "--backend transformers --new-tokens 96"
    return [
        *f"rounds --model {unsure}/model --problems {unsure}/problems.jsonl --exam {unsure}/exam.jsonl".split(),
        *f"--out {out} --rounds 1 --samples 6 --keep 2 --rates 0:1".split(),
        *("--sample-flags", fast, "--exam-flags", fast, "--verify-flags", "--workers 1", "--mix-flags", "--workers 1"),
        *("--train-flags", "--steps 2 --batch-rows 1 --row-tokens 384 --repeat --threads 1 --learning-rate 1e-4"),
        *more,
    ]


@pytest.fixture(scope="module")
def asked(unsure: Path) -> Path:
    """The exam beside the problems: the same sums, asked differently."""
    rows = [row for _, row in read_jsonl(unsure / "problems.jsonl")]
    exam = [row | {"id": f"exam/{n}", "question": row["question"] + " "} for n, row in enumerate(rows)]
    (unsure / "exam.jsonl").write_text("".join(json.dumps(row) + "\n" for row in exam), encoding="utf-8")
    return unsure


def test_a_round_samples_keeps_trains_and_examines_and_goes_on_where_it_was_stopped(
    asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    real = improve.rounds.Round.examine
    stopped: list[int] = []

    def stops_once(self: improve.rounds.Round, model: str) -> None:
        if self.number == 1 and not stopped:
            stopped.append(1)
            raise KeyboardInterrupt
        real(self, model)

    monkeypatch.setattr(improve.rounds.Round, "examine", stops_once)
    with pytest.raises(KeyboardInterrupt):
        main(flags(asked, out))
    said = capsys.readouterr().out
    assert re.findall(r"round (\d), (\w+):", said) == [
        ("0", "exam"), ("1", "sample"), ("1", "verified"), ("1", "mix"), ("1", "model"),
    ]  # fmt: skip
    assert main(flags(asked, out)) == 0
    said = capsys.readouterr().out
    assert re.findall(r"round (\d), (\w+):", said) == [("1", "exam")]
    lines = [row for _, row in read_jsonl(out / "rounds.jsonl")]
    assert [line["round"] for line in lines] == [0, 1]
    assert lines[1]["solutions"] > 0
    assert 0 <= lines[1]["p"] <= 1
    assert lines[0]["problems"] == lines[1]["problems"] == 3
    assert "against round 0" in said
    assert (out / "rounds.png").stat().st_size > 1000
    kept = [row for _, row in read_jsonl(out / "round-01" / "sample" / "candidates.jsonl")]
    assert len({row["problem"]["id"] for row in kept}) <= len(kept) <= 6


def test_an_exam_that_is_not_fresh_is_refused(asked: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 of the 3 questions of --problems are in --exam, too"):
        main(flags(asked, tmp_path / "out", "--exam", str(asked / "problems.jsonl")))
    assert not (tmp_path / "out").exists()


def test_a_stage_that_fails_is_one_line_with_its_command(asked: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"round 0, exam: exit code 2, .*no_such_flag") as caught:
        main(flags(asked, tmp_path / "out", "--exam-flags=--no_such_flag"))
    assert "\n" not in str(caught.value)
    assert "exam.log" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--rounds", "0"), "--rounds is 0, expected at least 1"),
        (("--temperature", "0"), "samples must differ"),
        (("--problems", "/no/such"), "no such file"),
    ],
)
def test_bad_input_is_one_line(asked: Path, tmp_path: Path, given: tuple[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        main(flags(asked, tmp_path / "out", *given))
