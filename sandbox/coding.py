"""Results and the contents of files as JSON; what the server says and what a client reads."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from sandbox.types import ExecError, ExecResult, Truncated

_RESULT_FIELDS = tuple(f.name for f in fields(ExecResult))


def result_to_json(result: ExecResult) -> dict[str, Any]:
    """A JSON-ready dict of `result`; file contents become base64."""
    data = {name: getattr(result, name) for name in _RESULT_FIELDS}  # asdict copies all values: 0.1 ms a result
    if result.error is not None:
        data["error"] = asdict(result.error)
    data["truncated"] = {
        "stdout": result.truncated.stdout,
        "stderr": result.truncated.stderr,
        "value": result.truncated.value,
    }
    data["files"] = files_to_json(result.files)
    return data


def result_from_json(data: Mapping[str, Any]) -> ExecResult:
    """The inverse of `result_to_json`; fields it does not know are left out, so that versions may differ."""
    known = {name: data[name] for name in _RESULT_FIELDS if name in data}
    if known.get("error") is not None:
        known["error"] = ExecError(**known["error"])
    known["truncated"] = Truncated(**known.get("truncated", {}))
    known["files"] = files_from_json(known.get("files", {}))
    return ExecResult(**known)


def files_to_json(files: Mapping[str, bytes]) -> dict[str, str]:
    """The contents as base64."""
    return {name: base64.b64encode(content).decode() for name, content in files.items()}


def files_from_json(files: Mapping[str, str]) -> dict[str, bytes]:
    """The inverse of `files_to_json`. Raises ValueError if a content is not base64."""
    return {name: base64.b64decode(content, validate=True) for name, content in files.items()}
