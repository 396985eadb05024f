"""Finds the programs of Prometheus that these tests start."""

import shutil
import subprocess

import pytest


def program(name: str) -> str:
    """The path of a program; skips the test where it is absent."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"not run: {name} not found (scripts/system-packages installs it)")
    return path


def run(name: str, *arguments: str) -> str:
    """Runs it and returns what it printed; fails the test with that where it fails."""
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        pytest.fail(f"{name} {' '.join(arguments)}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout + done.stderr
