"""The file tree a run sees: Python, its libraries and a few devices, read-only; no /proc, no /sys, no home.

Assembled once per engine in a mount namespace of its own, then made the root of everything below it. A run gets a
copy of the namespace with one writable mount more: a tmpfs at `BOX` of a given size, that holds its working
directory, /tmp and /dev/shm. Few mounts, because every run copies them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import site
import sys
from pathlib import Path

from sandbox.jail import linux

BOX = "/box"
WORK = "/box/work"
DEVICES = ("null", "zero", "full", "random", "urandom")
# What the loader, libc and the time zone functions read.
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/localtime",
          "/usr/share/zoneinfo")  # fmt: skip
# Where a Python that lives under /tmp or /dev/shm stands instead: there every run has a folder of its own.
_STAND_IN = "/runtime"
_STAGE = "/sys"  # any folder that exists everywhere and holds nothing we bind


def runtime_paths() -> list[str]:
    """Every path that must be visible, none below another, symbolic links first.

    A virtual environment is taken whole; of a base installation only its libraries and the interpreter.
    """
    import sysconfig  # only here: its tables are large, and each fork would copy them

    wanted: set[str] = {path for path in SYSTEM if os.path.lexists(path)}
    wanted |= {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    wanted |= {path for path in (*site.getsitepackages(), sysconfig.get_config_var("LIBDIR")) if path}
    wanted |= {sys.executable, os.path.realpath(sys.executable)}
    if sys.prefix != sys.base_prefix:
        wanted.add(sys.prefix)
    for path in list(wanted):  # each link on the way must be there for the path to work
        wanted |= _links_towards(path)
    present = sorted((path for path in wanted if os.path.lexists(path)), key=lambda path: (path.count("/"), path))
    kept: list[str] = []
    for path in present:
        if not any(path == other or path.startswith(other + "/") for other in kept):
            kept.append(path)
    return kept


def _links_towards(path: str) -> set[str]:
    links: set[str] = set()
    for parent in [Path(path), *Path(path).parents]:
        if parent.is_symlink() and str(parent) not in links:
            target = os.path.normpath(parent.parent / os.readlink(parent))
            links |= {str(parent), target} | _links_towards(target)
    return links


def place_of(path: str) -> str:
    """Where `path` of the host stands in the tree."""
    return _STAND_IN + path if path.startswith(("/tmp/", "/dev/shm/")) else path


def _follow_the_move() -> None:
    """Let this interpreter, and what it forks, import from where its files stand now."""
    for name in ("prefix", "exec_prefix", "base_prefix", "base_exec_prefix", "executable", "_base_executable"):
        setattr(sys, name, place_of(getattr(sys, name)))
    sys.path[:] = [place_of(path) for path in sys.path]
    sys.path_importer_cache.clear()


def assemble(paths: list[str]) -> None:
    """Make the tree, which shows `paths`, the root of this process's mount namespace, which must be its own already."""
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    # Held open, since the stage may hide what they name.
    sources = {path: os.open(path, os.O_PATH) for path in paths if not os.path.islink(path)}
    devices = {name: os.open(f"/dev/{name}", os.O_PATH) for name in DEVICES}
    linux.mount("root", _STAGE, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=1m,mode=755")
    for path in paths:
        place = _STAGE + place_of(path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if path not in sources:
            os.symlink(place_of(os.readlink(path)), place)
        else:
            _bind(sources[path], place, linux.ATTR_RDONLY | linux.ATTR_NOSUID | linux.ATTR_NODEV)
    _name_the_interpreter()
    os.makedirs(_STAGE + "/dev", exist_ok=True)
    for name, source in devices.items():
        _bind(source, f"{_STAGE}/dev/{name}", linux.ATTR_RDONLY | linux.ATTR_NOSUID | linux.ATTR_NOEXEC)
    os.mkdir(_STAGE + BOX)
    os.symlink(BOX[1:] + "/tmp", _STAGE + "/tmp")
    os.symlink(f"..{BOX}/shm", _STAGE + "/dev/shm")
    linux.mount_set(_STAGE, linux.ATTR_RDONLY | linux.ATTR_NOSUID)
    os.chdir(_STAGE)
    linux.pivot_root_here()
    _follow_the_move()


def _name_the_interpreter() -> None:
    """Let `python` and `python3` stand beside this interpreter, as programs call it, where its folder has them not."""
    folder, name = os.path.split(_STAGE + place_of(sys.executable))
    for other in ("python", "python3"):
        with contextlib.suppress(OSError):  # it is there; or the folder is not ours, and read-only
            os.symlink(name, os.path.join(folder, other))


def _bind(source: int, place: str, attributes: int) -> None:
    if os.path.isdir(f"/proc/self/fd/{source}"):
        os.makedirs(place, exist_ok=True)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))
    linux.mount(f"/proc/self/fd/{source}", place, None, linux.MS_BIND | linux.MS_REC)
    os.close(source)
    linux.mount_set(place, attributes)


def mount_box(size_bytes: int, uid: int, gid: int) -> tuple[int, int]:
    """Give this mount namespace an empty writable box, its three folders owned by `uid`.

    Returns:
        Descriptors of the box and of its working directory. Who runs in a branch owns the box: neither is opened by a
        path that leads through it.
    """
    # One inode a page at most: a million empty files must not fill the kernel's memory instead of the box.
    inodes = min(max(size_bytes // 4096, 64), 16384)
    options = f"size={size_bytes},nr_inodes={inodes},mode=755"
    linux.mount("box", BOX, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC, options)
    folder = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    box = os.open(BOX, folder)
    for name in ("work", "tmp", "shm"):
        os.mkdir(name, 0o700, dir_fd=box)
        os.chown(name, uid, gid, dir_fd=box, follow_symlinks=False)
    work = os.open(WORK.removeprefix(BOX + "/"), folder, dir_fd=box)
    if os.fstat(work).st_dev != os.fstat(box).st_dev:
        raise OSError(errno.EXDEV, "the working directory is not in its box")
    return box, work
