"""The engine: a queue, handles of the slots, sessions, results. Trusted; one event loop, in the process that starts it.

It starts `sandbox.supervisor` by exec and talks to it over sockets (`sandbox.wire`); it runs nothing of a user's.
"""

from sandbox.engine.engine import Engine, EngineStatus

__all__ = ["Engine", "EngineStatus"]
