"""What can go wrong that is not the program's doing, and what the user can mend.

    Exception
    ├── ValueError
    │   └── InputError            what the user gave cannot be used          CLI exit code 2
    └── SandboxError              the sandbox failed, the program is innocent
        ├── BadRequest            the request itself cannot be run           HTTP 422
        ├── Unauthorized          the token is missing or wrong              HTTP 401
        ├── SessionLost           the session's state no longer exists       HTTP 410
        ├── SessionBusy           the session is running another cell, or
        │                         threads of the user's forbid a fork        HTTP 409
        ├── Overloaded            the queue is full; try again later         HTTP 429
        └── SandboxUnavailable    no isolation, worker died, cannot connect  HTTP 503

A `SandboxError` is never turned into an `ExecResult`, never graded and never shown to a model.
"""

from __future__ import annotations


class InputError(ValueError):
    """A file, flag or value of the user's that cannot be used.

    The message says what was expected, what came and what to do. Commands print it and exit with 2.
    """


class SandboxError(Exception):
    """The sandbox could not run the program to an outcome."""

    http_status = 500
    retryable = False  # True where trying again cannot run the program twice


class BadRequest(SandboxError):
    """The request is malformed: an unknown mode, a limit out of range, a file name that leaves the folder."""

    http_status = 422


class Unauthorized(SandboxError):
    """The server wants a token and got none, or another one."""

    http_status = 401


class SessionLost(SandboxError):
    """The session does not exist any more: closed, idle too long, evicted, or its process died.

    It is never replayed: the caller decides whether to begin again.
    """

    http_status = 410


class SessionBusy(SandboxError):
    """The session cannot do this now: a cell is running, or its own threads make a fork unsafe."""

    http_status = 409


class Overloaded(SandboxError):
    """The queue is full, or the request waited in it longer than it allowed; nothing was run."""

    http_status = 429
    retryable = True

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class SandboxUnavailable(SandboxError):
    """No sandbox can serve this: no isolation on this machine, a worker that died, no connection."""

    http_status = 503
    retryable = True


# As an answer or a message names them, by class.
BY_NAME: dict[str, type[SandboxError]] = {
    error.__name__: error
    for error in (SandboxError, BadRequest, Unauthorized, SessionLost, SessionBusy, Overloaded, SandboxUnavailable)
}
