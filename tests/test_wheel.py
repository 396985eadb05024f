"""The wheel alone, away from the repository: what an installation from an index would get."""

import json
import re
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.e2e.programs import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[1]
Run = Callable[..., str]


def run(*command: str | Path, cwd: Path) -> str:
    clean = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False, cwd=cwd, env=clean)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that has the wheel, and our dependencies without this checkout."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv.parent)
    (packages,) = venv.glob("lib/python*/site-packages")
    install = ("-m", "pip", "--python", venv / "bin" / "python", "install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel)
    run(sys.executable, *install, cwd=venv.parent)
    # A plain path, not `site.addsitedir`: that would follow the link of the editable installation back to the checkout.
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf8")
    where = run(
        venv / "bin" / "python", "-c", "import collector, detectors; print(collector.__file__, detectors.__file__)", cwd=venv.parent
    )
    assert all(Path(file).is_relative_to(packages) for file in where.split())
    return venv / "bin"


def test_wheel_carries_what_the_program_reads_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    shipped = {
        f"collector/_shipped/{path.relative_to(ROOT)}"
        for folder in ("rules", "grafana")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
    }
    assert shipped
    assert shipped <= names
    assert {"collector/py.typed", "detectors/py.typed"} <= names
    assert {path for path in names if path.endswith(".sql")} == {str(p.relative_to(ROOT)) for p in (ROOT / "collector").rglob("*.sql")}
    assert {name.split("/")[0] for name in names} == {"collector", "detectors", next(n for n in names if "dist-info" in n).split("/")[0]}
    assert not [name for name in names if "/tests/" in name or name.endswith(("_test.py", ".pyc"))]


def test_generate_writes_the_same_files_as_the_checkout(installed: Path, tmp_path: Path) -> None:
    written = json.loads(run(installed / "overcurrent", "generate", "out", "--format", "json", cwd=tmp_path))
    assert len(written) > 10
    for name in written:
        assert (tmp_path / name).read_bytes() == (ROOT / Path(name).relative_to("out")).read_bytes()


def test_serves_from_a_foreign_folder(installed: Path, tmp_path: Path) -> None:
    output = tmp_path / "output.log"
    ports = ("--listen", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0")
    clean = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    with output.open("wb") as out:
        process = subprocess.Popen([installed / "overcurrent", "serve", *ports], cwd=tmp_path, stdout=out, stderr=out, env=clean)
    try:
        deadline = time.monotonic() + 40
        while (found := re.search(r"^metrics +(http://[\d.:]+)", output.read_text("utf8"), re.MULTILINE)) is None:
            assert process.poll() is None, output.read_text("utf8")
            assert time.monotonic() < deadline, output.read_text("utf8")
            time.sleep(0.05)
        with httpx2.Client(base_url=found[1], trust_env=False, timeout=20) as client:
            assert client.get("/readyz").is_success
            assert client.get("/api/v1/sessions").json()["sessions"] == []
            assert client.get("/runbooks/soft_loop").is_success
            assert "overcurrent_build_info" in client.get("/metrics").text
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert (tmp_path / "overcurrent-data" / "telemetry.duckdb").is_file()
