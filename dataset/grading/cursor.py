"""Where reading has got to in a list of tokens, and how deep in brackets it is."""

from __future__ import annotations

from dataset.grading.lexer import Token, Unreadable
from dataset.grading.tree import Node

MAX_DEPTH = 40


class Cursor:
    """The part that every level of the grammar shares. The levels are classes, each built on the one below."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0
        self.bars = 0  # open |…|, in which another bar closes and does not open
        letters = [index for index, token in enumerate(tokens) if token.kind == "letter"]
        # "(8-1j)" is Python's own complex print. A j beside other letters is a variable.
        self.j_is_i = bool(letters) and all(
            tokens[at].text == "j" and at > 0 and tokens[at - 1].kind == "number" and not tokens[at].spaced
            for at in letters
        )

    @property
    def next(self) -> Token:
        return self.tokens[self.position]

    def take(self) -> Token:
        token = self.tokens[self.position]
        if token.kind == "end":
            raise Unreadable("it ends too early")
        self.position += 1
        return token

    def after(self, texts: tuple[str, ...], distance: int = 1) -> bool:
        """Whether the token `distance` after the next one is one of `texts`."""
        at = self.position + distance
        return at < len(self.tokens) and self.tokens[at].text in texts

    def expect(self, *texts: str) -> Token:
        if self.next.text not in texts or self.next.kind == "end":
            raise Unreadable(f"{self.next.text!r} where {texts[0]!r} was expected")
        return self.take()

    def is_command(self, *names: str) -> bool:
        return self.next.kind == "command" and self.next.text in names

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable(f"nested more than {MAX_DEPTH} deep")

    def shallower(self) -> None:
        self.depth -= 1

    def group(self) -> list[Token]:
        """The tokens between braces, taken as they are."""
        self.expect("{")
        found = []
        while self.next.text != "}":
            found.append(self.take())
        self.take()
        return found

    # What the levels above provide to those below.

    def many(self, closers: frozenset[str] = frozenset()) -> Node:
        raise NotImplementedError

    def relation(self) -> Node:
        raise NotImplementedError

    def unary(self) -> Node:
        raise NotImplementedError

    def sum(self) -> Node:
        raise NotImplementedError

    def product(self) -> Node:
        raise NotImplementedError

    def raised(self, operand: Node) -> Node:
        raise NotImplementedError

    def atom(self) -> Node:
        raise NotImplementedError

    def argument(self, *, signed: bool = False) -> Node:
        raise NotImplementedError

    def power(self) -> Node:
        raise NotImplementedError

    def starts_factor(self) -> bool:
        raise NotImplementedError
