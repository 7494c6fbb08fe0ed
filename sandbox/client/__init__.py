"""What a caller holds: the verbs of the sandbox, on an engine in this process or on servers elsewhere.

Runs in the caller's process, with the caller's rights. It talks to an engine (`embedded`), to a server (`remote`), to
several (`replicas`); the HTTP library is loaded with the first address of a server.
"""

from sandbox.client.asynchronous import AsyncSandbox, AsyncSession
from sandbox.client.blocking import Sandbox, Session

__all__ = ["AsyncSandbox", "AsyncSession", "Sandbox", "Session"]
