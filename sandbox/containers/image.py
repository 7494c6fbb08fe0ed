"""`python -m sandbox image`: build the sandbox image from the installed package, without a clone.

The engine gets the same files as by `docker build -f docker/sandbox.Dockerfile .` in a clone: the Dockerfile and the
lock, which come with the package, the package `sandbox` itself, and the wheels and certificates that the user gives.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import docker.errors

import sandbox
from sandbox.containers.container import connect
from sandbox.errors import InputError, SandboxUnavailable

HERE = Path(__file__).parent
RECIPE = ("sandbox.Dockerfile", "sandbox.lock")


def build(
    image: str, *, arguments: Mapping[str, str], wheels: Sequence[Path] = (), certificates: Sequence[Path] = ()
) -> Iterator[str]:
    """Build `image` with the build arguments `arguments`; yields the lines that the engine says meanwhile.

    Raises:
        InputError: a wheel or certificate is not there.
        SandboxUnavailable: no engine answers, or the build failed; the message has its last words.
    """
    context = _context(wheels, certificates)
    client = connect()
    try:
        said = client.api.build(
            fileobj=context, custom_context=True, dockerfile="docker/sandbox.Dockerfile", tag=image,
            buildargs=dict(arguments), network_mode="host", rm=True, forcerm=True, decode=True,
        )  # fmt: skip
        for each in said:
            if "error" in each:
                raise SandboxUnavailable(f"the image {image} could not be built: {' '.join(each['error'].split())}")
            if line := str(each.get("stream") or "").rstrip():
                yield line
    except docker.errors.APIError as error:
        raise SandboxUnavailable(f"the image {image} could not be built: {error.explanation or error}") from None
    finally:
        client.close()


def _context(wheels: Sequence[Path], certificates: Sequence[Path]) -> io.BytesIO:
    """A tar file of what the Dockerfile copies."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name in RECIPE:
            tar.add((HERE / name).resolve(), f"docker/{name}")  # in a clone it is a link
        for folder, files in (("wheels", wheels), ("certs", certificates)):
            tar.addfile(_folder(f"docker/{folder}"))
            for path in files:
                if not path.is_file():
                    raise InputError(f"{path}: no such file")
                tar.add(path, f"docker/{folder}/{path.name}")
        tar.add(Path(sandbox.__file__).parent, "sandbox", filter=_of_the_package)
    held.seek(0)
    return held


def _folder(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info


def _of_the_package(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    left_out = "__pycache__" in info.name or Path(info.name).name in RECIPE
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return None if left_out else info
