from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataset.chat import ChatFormat
from dataset.files import read_jsonl
from dataset.transcript import STOP, parse, splice
from sandbox.errors import InputError
from trainer.render import Rendered, find_train_files, render
from trainer.tokenizer import load_tokenizer, train_tokenizer

TIR = "Let me compute it.\n```python\nprint(7 + 5)\n```\n```output\n12\n```\nThe answer is $\\boxed{12}$."


def chat(answer: str, **changes: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "7 + 5?"}, {"role": "assistant", "content": answer}]
    return {"id": "1", "source": "s", "language": "en", "style": "tir", "messages": messages, **changes}


@pytest.fixture
def rendered(tmp_path: Path, tokenizer_folder: Path) -> Callable[..., Rendered]:
    def make(*rows: dict[str, Any]) -> Rendered:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "train-00000.jsonl").write_text(text, encoding="utf-8")
        manifest = {"stage": "mix", "rows_in": len(rows), "rows_out": len(rows)}
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return render(find_train_files(folder), tokenizer_folder, tmp_path / "cache", quiet=True)

    return make


def stretches(data: Rendered, index: int, tokenizer: Any) -> list[tuple[str, bool]]:
    tokens, learned = (array.tolist() for array in data.example(index))
    result: list[tuple[list[int], bool]] = []
    for token, learn in zip(tokens, learned, strict=True):
        if not result or result[-1][1] != learn:
            result.append(([], learn))
        result[-1][0].append(token)
    return [(tokenizer.decode(ids), learn) for ids, learn in result]


# Written down by hand: what a model of ours reads, and what of it is learned.
GOLDEN = [
    (
        TIR,
        [
            ("User: 7 + 5?\n\nAssistant:", False),
            (" Let me compute it.\n```python\nprint(7 + 5)\n```\n```output", True),
            ("\n12\n```\n", False),
            ("The answer is $\\boxed{12}$.<eos>", True),
        ],
    ),
    (
        "```python\nprint(7 + 5)\n```",
        [("User: 7 + 5?\n\nAssistant:", False), (" ```python\nprint(7 + 5)\n```<eos>", True)],
    ),
    ("It is 12.", [("User: 7 + 5?\n\nAssistant:", False), (" It is 12.<eos>", True)]),
    (
        "```python\nx = 1\n```\n```output\n\n```\n```python\nprint(x)\n```\n```output\n1\n```\nDone.",
        [
            ("User: 7 + 5?\n\nAssistant:", False),
            (" ```python\nx = 1\n```\n```output", True),
            ("\n\n```\n", False),
            ("```python\nprint(x)\n```\n```output", True),
            ("\n1\n```\n", False),
            ("Done.<eos>", True),
        ],
    ),
]


@pytest.mark.parametrize(("answer", "expected"), GOLDEN)
def test_the_models_own_words_and_end_of_turn_are_learned_and_nothing_else(
    answer: str, expected: list[tuple[str, bool]], rendered: Callable[..., Rendered], tokenizer_folder: Path
) -> None:
    data = rendered(chat(answer))
    assert stretches(data, 0, load_tokenizer(str(tokenizer_folder))) == expected
    assert data.targets[0] == data.example(0)[1].sum()


def test_a_trained_sequence_is_what_the_evaluators_loop_feeds_and_generates(
    rendered: Callable[..., Rendered], tokenizer_folder: Path
) -> None:
    data = rendered(chat(TIR))
    format_ = ChatFormat(load_tokenizer(str(tokenizer_folder)))
    # The loop, as an evaluator runs it: prompt in, generate up to the output fence, splice, generate up to the end.
    fed = format_.prompt([{"role": "user", "content": "7 + 5?"}])
    first = format_.piece(format_.lead_in + TIR[: TIR.index(STOP) + len(STOP)])
    shown = format_.piece(splice("12"))
    second = [*format_.piece("The answer is $\\boxed{12}$."), format_.end_of_turn]
    tokens, learned = data.example(0)
    assert tokens.tolist() == fed + first + shown + second
    assert learned.tolist() == [False] * len(fed) + [True] * len(first) + [False] * len(shown) + [True] * len(second)


def test_in_every_example_the_last_target_is_the_end_of_turn_and_no_output_token_is_one(
    mixture: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    files = find_train_files(mixture)
    data = render(files, tokenizer_folder, tmp_path, quiet=True)
    tokenizer = load_tokenizer(str(tokenizer_folder))
    answers = [row["messages"][1]["content"] for path in files.paths for _, row in read_jsonl(path)]
    assert len(data.lengths) == len(answers) == 120
    for index, answer in enumerate(answers):
        parts = stretches(data, index, tokenizer)
        shown = [text for text, learn in parts[1:] if not learn]
        assert shown == [splice(turn.text) for turn in parse(answer) if turn.kind == "output"]
        assert parts[-1] == (parts[-1][0], True)
        assert parts[-1][0].endswith("<eos>")
        assert "".join(text for text, _ in parts[1:]) == f" {answer}<eos>"


def test_an_interrupted_rendering_makes_only_what_is_missing(
    tmp_path: Path, mixture: Path, tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.render.SHARD_ROWS", 32)
    files = find_train_files(mixture)
    whole = render(files, tokenizer_folder, tmp_path / "whole", quiet=True)
    shutil.copytree(tmp_path / "whole", tmp_path / "torn")
    (folder,) = (tmp_path / "torn").iterdir()
    (folder / "complete.json").unlink()
    (folder / "000002.index.npz").unlink()
    (folder / "000002.tokens.npy").write_bytes(b"half")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if not path.name.startswith("000002")}
    again = render(files, tokenizer_folder, tmp_path / "torn", quiet=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for index in range(len(whole.lengths)):
        assert again.example(index)[0].tolist() == whole.example(index)[0].tolist()
        assert again.place(index) == whole.place(index)


def test_open_files_do_not_grow_with_the_shards(
    tmp_path: Path, mixture: Path, tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """14 million examples are 3,418 shards of two arrays; usual limits are 1,024 open files. Here 60 shards and 30."""
    monkeypatch.setattr("trainer.render.SHARD_ROWS", 2)
    files = find_train_files(mixture)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(n) for n in os.listdir("/proc/self/fd")) + 30, hard))
    try:
        data = render(files, tokenizer_folder, tmp_path, quiet=True)
        assert len(list(tmp_path.rglob("*.tokens.npy"))) == 60
        lengths = [len(data.example(index)[0]) for index in range(120)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert lengths == data.lengths.tolist()


def test_what_another_process_made_is_waited_for_and_never_made_again(
    tmp_path: Path, mixture: Path, tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = find_train_files(mixture)
    whole = render(files, tokenizer_folder, tmp_path / "there", quiet=True)
    (there,) = (tmp_path / "there").iterdir()
    late = tmp_path / "here" / there.name

    def arrive(_seconds: float) -> None:
        shutil.copytree(there, late)

    with monkeypatch.context() as patch:
        patch.setattr("trainer.render.time.sleep", arrive)
        seen = render(files, tokenizer_folder, tmp_path / "here", quiet=True, made=True)
    assert seen.example(7)[0].tolist() == whole.example(7)[0].tolist()
    monkeypatch.setattr("trainer.render._PATIENCE_SECONDS", 0.0)
    with pytest.raises(InputError, match="is not seen here: --out and --rendered must lie on a file system that all"):
        render(files, tokenizer_folder, tmp_path / "nowhere", quiet=True, made=True)
    assert not (tmp_path / "nowhere").exists()


def test_other_data_or_another_tokenizer_never_reads_the_same_shards(
    tmp_path: Path, rendered: Callable[..., Rendered], tokenizer_folder: Path
) -> None:
    rendered(chat("one"))
    rendered(chat("two"))
    assert len(list((tmp_path / "cache").iterdir())) == 2
    train_tokenizer(["abc"], 258).save_pretrained(tmp_path / "other")
    render(find_train_files(tmp_path / "data"), tmp_path / "other", tmp_path / "cache", quiet=True)
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (chat(" \n"), "say something"),
        (chat("x", messages=[]), "must be the assistant's"),
        (chat("```output\n12\n```"), "turn 0 is an output that does not follow a program"),
        (chat("x", messages=[{"role": "user", "content": "?"}]), "must be the assistant's"),
        (chat("x", messages="hello"), "expected a list"),
        (chat("x", messages=[{"role": "assistant", "content": 3}]), "with strings"),
        (chat("x", source=None), "'source' is None"),
        (chat("x", style=7), "'style' is 7"),
        (chat("x", messages=[{"role": "tool", "content": "a"}, {"role": "assistant", "content": "b"}]), "role tool"),
    ],
)
def test_a_row_that_cannot_be_learned_is_named_by_file_and_line(
    row: dict[str, Any], message: str, rendered: Callable[..., Rendered]
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        rendered(chat("fine"), row)
    assert "train-00000.jsonl:2: " in str(caught.value)


def test_files_changed_after_their_manifest_are_refused(mixture: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(mixture, copy)
    with (copy / "train-00001.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(InputError, match=r"00001[.]jsonl was changed"):
        find_train_files(copy)
    (copy / "train-00001.jsonl").unlink()
    with pytest.raises(InputError, match="lacks train-00001"):
        find_train_files(copy)


def test_a_new_tokenizer_splits_numbers_into_digits_and_loses_no_character() -> None:
    tokenizer = train_tokenizer(["12345 pens cost 12345 dollars"] * 50, 300)
    ids = tokenizer.encode("12345", add_special_tokens=False)
    assert [tokenizer.decode([i]) for i in ids] == list("12345")
    for text in ("答案是 $\\boxed{3}$。", "a\n\n  b\t", "```python\nx=1\n```", "🧮 é", " lead and trail "):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_a_vocabulary_without_room_for_all_bytes_is_refused() -> None:
    with pytest.raises(InputError, match="256 bytes"):
        train_tokenizer(["a"], 100)
