"""The part of an answer that a model thinks before it speaks, between marks of its own.

    <think>
    3 + 4 = 8, no, 7.        kept in the transcript, never read as the answer
    </think>
    The answer is $\\boxed{7}$.

Some templates open the thinking in the prompt (DeepSeek-R1, QwQ), others leave it to the model (Qwen3, GLM). Either
way a transcript begins with the opening mark. Thinking that is never closed has no answer after it.
"""

from __future__ import annotations

# Marks as (opening, closing): DeepSeek-R1, Qwen3, QwQ, GLM and Nemotron; Magistral; Seed-OSS; Kimi.
MARKS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
)


def answer_part(text: str) -> str:
    """What stands after the thinking in the solution `text`: all of it where there is none, "" if it never ends."""
    for opening, closing in MARKS:
        if closing in text:
            return text.rpartition(closing)[2]
        if text.lstrip().startswith(opening):
            return ""
    return text


def opened_by(prompt: str) -> str:
    """The opening mark, with the white space after it, that ends `prompt`; "" if none does."""
    for opening, _ in MARKS:
        if prompt.rstrip().endswith(opening):
            return prompt[prompt.rindex(opening) :]
    return ""
