"""A smolagents CodeAgent with our executor; its model is scripted. Argument: URL."""

import sys

import pytest
from smolagents import ChatMessage, CodeAgent, Model, tool

from integrations.smolagents import SorobanExecutor

STEPS = [
    "Thought: begin.\n<code>\nn = 6\nprint('n is', n)\nn + k\n</code>",
    "Thought: a mistake.\n<code>\nn / 0\n</code>",
    "Thought: end.\n<code>\nfinal_answer({'n': n * 7})\n</code>",
]


class Scripted(Model):
    def __init__(self):
        super().__init__()
        self.seen = []

    def generate(self, messages, **_):
        self.seen.append(str(messages[-1]))
        return ChatMessage(role="assistant", content=STEPS[len(self.seen) - 1])


@tool
def weather(city: str) -> str:
    """The weather.

    Args:
        city: Where.
    """
    return city


if __name__ == "__main__":
    model = Scripted()
    agent = CodeAgent(tools=[], model=model, executor=SorobanExecutor(sys.argv[1]), verbosity_level=0)
    assert agent.run("What is 6 times 7?", additional_args={"k": 1}) == {"n": 42}
    assert "n is 6" in model.seen[1], model.seen[1]
    assert "7" in model.seen[1], model.seen[1]
    assert "ZeroDivisionError" in model.seen[2], model.seen[2]
    executor = agent.python_executor
    assert executor("n").output == 6
    agent.cleanup()
    with pytest.raises(RuntimeError, match="NameError"):
        executor("n")
    executor.cleanup()
    with pytest.raises(ValueError, match="weather"):
        CodeAgent(tools=[weather], model=model, executor=SorobanExecutor(sys.argv[1]), verbosity_level=0).run("?")
