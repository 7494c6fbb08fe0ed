"""One real sandbox for all tests of the data pipeline, and where the public files are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Sandbox

SHARED = Path(__file__).parent.parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.exists():
        pytest.skip(f"the public data are not there: {SHARED}")
    return SHARED
