"""One real sandbox for all tests of the data pipeline, and where the public files are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset.grading import numeric_process
from sandbox import Sandbox

SHARED = Path(__file__).parent.parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as sandbox:
        yield sandbox


@pytest.fixture(scope="session", autouse=True)
def patience() -> None:
    """The second that a comparison has is for idle machines; what is right must not depend on who else is at work."""
    numeric_process.SECONDS = 30.0


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.exists():
        pytest.skip(f"the public data are not there: {SHARED}")
    return SHARED
