"""A real server with the real engine, for other projects' clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.doors.conftest import serve_process


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server."""
    with serve_process("--workers", "2") as (_, url):
        yield url
