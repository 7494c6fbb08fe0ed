"""A notebook's cells: read and run as IPython does, with `_`, `Out`, `display`, `get_ipython` and top-level `await`.

A cell that Python takes as it is, is Python's; only one that it refuses is read again as a notebook's
(`sandbox/guest/cells.py`). So a plain program pays nothing for this, and what it means never changes.

The event loop lives from cell to cell and runs only while a cell awaits something: a task that is not done when its
cell ends goes on with the next cell that awaits. Between cells the loop holds no open file, which no fork could share.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Coroutine
from types import CodeType
from typing import Any

from sandbox.guest import cells, magics
from sandbox.guest.display import pretty

_MAY_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
# Of asyncio, what needs a loop that runs already, as a notebook's always does.
_NEED_A_LOOP = frozenset({"create_task", "ensure_future", "gather", "get_running_loop", "current_task", "all_tasks"})
_RUN_A_LOOP = frozenset({"run", "run_until_complete", "run_forever"})


class Notebook:
    """What the cells of one session share: `names`, in which they run, and what they find there.

    `get_ipython()` gives it to them: the part of IPython's shell that notebooks call.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        self.user_ns = names
        self.cell = ("", 0)  # the name that tracebacks have for the cell that runs, and its number
        self.config: dict[str, Any] = {}
        self.float_format: str | None = None  # of %precision
        self.ast_node_interactivity = "last_expr"
        self._inputs: list[str] = [""]
        self._outputs: dict[int, object] = {}
        self._latest: tuple[object, object, object] = ("", "", "")  # what `_`, `__` and `___` were given
        self._loop: Any = None
        # What the first cell finds, made before any program begins: a fork copies what it writes to.
        self._names: dict[str, Any] | None = {
            "In": self._inputs, "Out": self._outputs, "_ih": self._inputs, "_oh": self._outputs, "_": "", "__": "",
            "___": "", "_i": "", "_ii": "", "_iii": "", "get_ipython": lambda: self,
        }  # fmt: skip

    @property
    def execution_count(self) -> int:
        return len(self._inputs) - 1

    # -- one cell ----------------------------------------------------------------------------------------------

    def run(self, code: str, name: str, *, show: bool) -> str | None:
        """Run one cell; the text of its last expression's value, if `show` and there is one to show."""
        tree = self.parsed(code, name)
        if not show:
            self.user_ns.setdefault("get_ipython", lambda: self)
            self.cell = (name, 0)
            self.execute(tree, name, to_value=False)
            return None
        self._begin(code, name)
        value = self.execute(tree, name)
        if value is None:
            return None
        text = self.text(value)
        self._remember(value)
        return text

    def parsed(self, code: str, name: str) -> Parsed:
        """The statements of a cell; of one that is not Python, as a notebook reads it.

        Raises:
            SyntaxError: it is neither.
        """
        try:
            return Parsed(ast.parse(code, name).body, code)
        except SyntaxError as error:
            refused = error
        python = cells.to_python(code)
        if python == code:
            raise refused
        return Parsed(ast.parse(python, name).body, python)

    def execute(self, tree: Parsed, name: str, *, to_value: bool = True) -> object:
        """Run statements; the value of the last if it is an expression. In an event loop if they ask for one."""
        body, last = tree.body, tree.body[-1] if to_value and tree.body else None
        then = None
        text = tree.text
        if isinstance(last, ast.Expr) and not (";" in text and _hushed(text, last)):
            body = body[:-1]
            then = compile(ast.Expression(last.value), name, "eval", _MAY_AWAIT, dont_inherit=True)
        if self.ast_node_interactivity == "all":
            body = [_shown(statement) for statement in body]
        first = compile(ast.Module(body, []), name, "exec", _MAY_AWAIT, dont_inherit=True) if body else None
        flags = (first.co_flags if first else 0) | (then.co_flags if then else 0)
        may_ask = "asyncio" in text or "asyncio" in sys.modules
        if not (flags & inspect.CO_COROUTINE or (may_ask and _needs_a_loop(tree))):
            if first:
                exec(first, self.user_ns)
            return eval(then, self.user_ns) if then else None
        return self._in_loop(self._both(first, then))

    async def _both(self, first: CodeType | None, then: CodeType | None) -> object:
        value = None
        for code in (first, then):
            if code is not None:
                value = eval(code, self.user_ns)
                if _awaits(code):
                    value = await value
        return value

    def _in_loop(self, coroutine: Coroutine[Any, Any, object]) -> object:
        import asyncio  # 40 ms, for few programs
        import selectors

        if self._loop is None or self._loop.is_closed():
            # poll, which needs no open file of its own
            self._loop = asyncio.SelectorEventLoop(selectors.PollSelector())
        else:
            self._loop._make_self_pipe()
        asyncio.set_event_loop(self._loop)
        try:
            return self._loop.run_until_complete(coroutine)
        finally:
            if not self._loop.is_closed():
                self._loop._close_self_pipe()

    # -- what cells find ---------------------------------------------------------------------------------------

    def _begin(self, code: str, name: str) -> None:
        names, inputs = self.user_ns, self._inputs
        if self._names is not None:
            names.update(self._names)
            self._names = None
        names["_iii"], names["_ii"], names["_i"] = names.get("_ii"), names.get("_i"), inputs[-1]
        number, text = len(inputs), code.rstrip("\n")
        inputs.append(text)
        names[f"_i{number}"] = text
        self.cell = (name, number)

    def _remember(self, value: object) -> None:
        """As IPython.core.displayhook: `_` is left alone where the user has put something else there."""
        if value is self._outputs:
            return
        names, (last, before, first) = self.user_ns, self._latest
        ours = names.get("_", last) is last and names.get("__", before) is before and names.get("___", first) is first
        self._latest = (value, last, before)
        if ours:
            names["_"], names["__"], names["___"] = self._latest
        number = self.cell[1]
        self._outputs[number] = names[f"_{number}"] = value

    def text(self, value: object) -> str:
        """What is shown for a value."""
        if self.float_format is not None and isinstance(value, float):
            return self.float_format % value
        return pretty(value)

    def show(self, value: object) -> None:
        """Print a value as a cell's last one is shown; nothing for None."""
        if value is not None:
            print(self.text(value))

    # -- of IPython's shell ------------------------------------------------------------------------------------

    def run_line_magic(self, name: str, line: str, *_: object, **__: object) -> object:
        return magics.run_line(self, name, line)

    def run_cell_magic(self, name: str, line: str, cell: str) -> object:
        return magics.run_cell(self, name, line, cell)

    def magic(self, line: str) -> object:
        name, _, rest = line.strip().removeprefix("%").partition(" ")
        return self.run_line_magic(name, rest.strip())

    def system(self, command: str) -> None:
        magics.refuse("!" + command.split(" ")[0])

    def getoutput(self, command: str, **_: object) -> list[str]:
        self.system(command)
        return []

    def run_cell(self, code: str, **_: object) -> None:
        """Run more code as part of this cell."""
        self.run_source(code)

    def run_source(self, code: str, lines_before: int = 0) -> object:
        """Run code that stands in this cell, `lines_before` below its first; the value of its last expression."""
        name = self.cell[0]
        return self.execute(self.parsed("\n" * lines_before + code, name), name)

    def push(self, names: dict[str, Any], **_: object) -> None:
        self.user_ns.update(names)

    def set_next_input(self, *_: object, **__: object) -> None:
        """There is no page to write a cell into."""


class Parsed:
    """The statements of a cell, and the Python text that they were read from."""

    def __init__(self, body: list[ast.stmt], text: str) -> None:
        self.body, self.text = body, text


def _awaits(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_COROUTINE)


def _hushed(text: str, last: ast.Expr) -> bool:
    """Whether a semicolon follows the last expression, which in a notebook means: do not show the value."""
    lines = re.split(r"\r\n|\r|\n", text)[(last.end_lineno or 1) - 1 :]
    lines[0] = lines[0].encode()[last.end_col_offset or 0 :].decode()
    return any(";" in line.partition("#")[0] for line in lines)


def _shown(statement: ast.stmt) -> ast.stmt:
    """An expression as one whose value is shown; any other statement as it is."""
    if not isinstance(statement, ast.Expr):
        return statement
    call = ast.parse("get_ipython().show(0)").body[0]
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    call.value.args[:] = [statement.value]
    return ast.fix_missing_locations(ast.copy_location(call, statement))


def _needs_a_loop(tree: Parsed) -> bool:
    """Whether the cell itself, not a function in it, calls what needs a running loop, and runs none itself."""
    if not any(name in tree.text for name in _NEED_A_LOOP):  # most cells: to look at each node takes long
        return False
    called: set[str] = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Attribute(value=ast.Name(id="asyncio"), attr=name) | ast.Name(id=name):
                    called.add(name)
                case ast.Attribute(attr=name) if name in _RUN_A_LOOP:
                    called.add(name)
        waiting += ast.iter_child_nodes(node)
    return bool(called & _NEED_A_LOOP) and not called & _RUN_A_LOOP
