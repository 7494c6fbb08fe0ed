"""One file from a URL: resumed where it stopped, whole or not there.

What came so far stands in NAME.partial, beside it in NAME.partial.etag the server's mark of this version of the file. A
server that has another version by now, or that cannot go on in the middle, sends the file from its beginning.
"""

from __future__ import annotations

import errno
import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from dataset.places import hub_endpoint
from dataset.progress import Progress
from sandbox.errors import InputError

_ATTEMPTS = 4  # one, and three after a connection that broke
_PAUSE_SECONDS = 1.0  # before the second, twice as long before each later one
_BLOCK_BYTES = 1 << 18
_SILENT_SECONDS = 60.0  # how long a server may send nothing


class _Broken(Exception):
    """The connection ended before the file did."""


def download(url: str, target: Path, *, quiet: bool = False) -> None:
    """Write the file at `url` to `target`, going on with what an earlier call left.

    Raises:
        InputError: no connection, or the server refuses; says which server and what to do instead.
    """
    host = urlsplit(url).netloc
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise InputError(f"cannot get {url}: HF_HUB_OFFLINE is set. {_INSTEAD}")
    if not host or not url.startswith(("http://", "https://")):
        raise InputError(
            f"{url}: expected an http address; look at HF_ENDPOINT and GITHUB_RAW_ENDPOINT, such as https://huggingface.co"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            return _go_on(url, target, quiet)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # what is there is longer than the file: begin again
                _partial(target).unlink(missing_ok=True)
                reason = "HTTP 416"
            elif error.code in (429, 500, 502, 503, 504):
                reason = f"HTTP {error.code}"
            else:
                raise InputError(f"{host} answers HTTP {error.code} ({error.reason}) for {url}. {_INSTEAD}") from None
        except urllib.error.URLError as error:
            raise InputError(f"cannot reach {host} ({error.reason}). {_INSTEAD}") from None
        except (_Broken, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
                raise
            raise InputError(
                f"{target}: {error.strerror}; what came is kept: make room, or choose another folder, and run it again"
            ) from None
    raise InputError(f"{host} broke off {_ATTEMPTS} times ({reason}): run the same command again to go on with {url}")


_INSTEAD = (
    "Without a connection: run `python -m dataset fetch` where there is one and copy its folder here, "
    "or give the files with --file"
)


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def _go_on(url: str, target: Path, quiet: bool) -> None:
    partial, mark = _partial(target), target.with_name(target.name + ".partial.etag")
    request = urllib.request.Request(url, headers={"User-Agent": "soroban"})
    hub, token = hub_endpoint(), os.environ.get("HF_TOKEN")
    if token and url.startswith(hub + "/"):
        request.add_unredirected_header("Authorization", f"Bearer {token}")  # not to where the Hub sends us
    have = partial.stat().st_size if partial.exists() and mark.exists() else 0
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", mark.read_text())
    with urllib.request.urlopen(request, timeout=_SILENT_SECONDS) as answer:
        if answer.status != 206:
            have = 0
        mark.unlink(missing_ok=True)
        with partial.open("ab" if have else "wb") as file:
            etag = answer.headers.get("ETag", "")
            if etag.startswith('"'):  # a weak mark, W/"…", does not name bytes
                mark.write_text(etag)
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            with Progress(target.name, total=total, done=have, unit="B", bytes_=True, quiet=quiet) as shown:
                while block := answer.read(_BLOCK_BYTES):
                    file.write(block)
                    shown.update(len(block))
            file.flush()
            os.fsync(file.fileno())
            if total is not None and file.tell() < total:
                raise _Broken(f"{file.tell():,} of {total:,} bytes came")
    mark.unlink(missing_ok=True)
    os.replace(partial, target)
