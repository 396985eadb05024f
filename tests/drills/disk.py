"""A disk of its own for a drill: an ext4 file system in a file, which may fill up, stall, fail, lose power or turn read-only."""

import fcntl
import os
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import pytest

_SHUTDOWN: Final = 2 << 30 | 4 << 16 | ord("X") << 8 | 125
"""EXT4_IOC_SHUTDOWN: from now on every access fails with EIO."""
_NO_LOG_FLUSH: Final = 2
"""What was not synchronised is lost, as when power fails."""


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


class Disk:
    """Made and mounted by `with`, let go of at its end."""

    def __init__(self, folder: Path, *, mib: int) -> None:
        self._image = folder / "disk.img"
        self.path = folder / "disk"
        self._mib = mib
        self._frozen = False

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            pytest.skip("a disk of its own needs root, for mount")
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(self._mib * 2**20)
        try:
            _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))
            self.mount()
        except OSError as error:
            pytest.skip(f"no disk of its own can be made here: {error}")
        return self

    def __exit__(self, *_: object) -> None:
        self.unmount()

    def mount(self, *options: str) -> None:
        _run("mount", "-o", ",".join(["loop", *options]), str(self._image), str(self.path))

    def unmount(self) -> None:
        _run("umount", str(self.path))

    def read_only(self) -> None:
        """Nobody may have a file open for writing."""
        _run("mount", "-o", "remount,ro", str(self.path))

    def writable(self) -> None:
        _run("mount", "-o", "remount,rw", str(self.path))

    def fill(self, *, leave: int) -> Path:
        """A file that takes all but `leave` bytes of what is free."""
        free = os.statvfs(self.path)
        file = self.path / "filler"
        with file.open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, free.f_bavail * free.f_frsize - leave)
        return file

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Every write waits, however long, as on a disk or network storage that hangs."""
        _run("fsfreeze", "-f", str(self.path))
        self._frozen = True
        try:
            yield
        finally:
            self.thaw()

    def thaw(self) -> None:
        if self._frozen:
            _run("fsfreeze", "-u", str(self.path))
            self._frozen = False

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Every write takes up to a fifth of a second, as on storage that is shared or throttled."""
        enough = threading.Event()

        def stutter() -> None:
            while not enough.wait(0.02):
                with self.frozen():
                    enough.wait(0.2)

        thread = threading.Thread(target=stutter)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()

    def lose_power(self) -> None:
        """Every access fails until it is mounted again; then only what was synchronised is there."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(folder)
