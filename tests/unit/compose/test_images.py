"""Every function's image without Docker: its Dockerfile's files and its lock, alone, really serve.

The final stage's COPY lines are carried out into an empty folder, the lock that the first stage picks is
installed into a clean environment, and the image's own command is started there.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = (ROOT / "functions/Dockerfile").read_text(encoding="utf-8")
UV = Path(sys.executable).with_name("uv")
FUNCTIONS = ("patients", "scans", "report", "analyze")


def lock_of(function: str, runtime: str = "cpu") -> str:
    """What the Dockerfile's ``case`` picks."""
    body = re.search(r'case "\$\{FUNCTION\}-\$\{RUNTIME\}" in(.*?)esac', DOCKERFILE, re.DOTALL)
    assert body is not None
    shell = f'FUNCTION={function} RUNTIME={runtime}; {body.group(0)}; echo "$lock"'
    return subprocess.run(
        ["sh", "-c", shell.replace("\\\n", "\n")], capture_output=True, text=True, check=True
    ).stdout.strip()


def copied(dockerfile: str) -> list[tuple[list[str], str]]:
    """(sources, target) of every COPY from the build context."""
    rows = [line.split()[1:] for line in dockerfile.splitlines() if re.match(r"COPY (?!--from)", line)]
    return [(row[:-1], row[-1]) for row in rows]


def ignored(path: Path) -> bool:
    """Whether ``.dockerignore`` keeps a path from the builder: everything, but what it lets in again."""
    allowed = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    relative = path.relative_to(ROOT)
    return not any(relative.match(one) or relative.is_relative_to(one) for one in allowed)


@pytest.mark.parametrize("name", ["functions/Dockerfile", "frontend/Dockerfile"])
def test_everything_that_is_copied_exists_and_reaches_the_builder(name: str) -> None:
    for sources, _ in copied((ROOT / name).read_text(encoding="utf-8")):
        for source in sources:
            for function in FUNCTIONS if "${FUNCTION}" in source else [""]:
                found = list(ROOT.glob(source.replace("${FUNCTION}", function)))
                assert found, source
                assert not any(ignored(path) for path in found), source


def test_every_function_has_a_lock_and_the_gpu_its_own() -> None:
    locks = {function: lock_of(function) for function in FUNCTIONS}
    assert locks == {"patients": "function", "scans": "scans", "report": "report", "analyze": "analyze"}
    assert lock_of("analyze", "gpu") == "gpu"
    for lock in {*locks.values(), "gpu", "launcher"}:
        text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
        pins = re.findall(r"^[\w.\-\[\]]+==", text, re.MULTILINE)
        assert pins
        blocks = re.split(r"\n(?=[\w])", text)
        assert all("--hash=sha256:" in block for block in blocks if "==" in block.split("\n")[0]), lock


def test_the_gpu_lock_brings_cuda_itself() -> None:
    text = (ROOT / "requirements/gpu.txt").read_text(encoding="utf-8")
    for package in ("onnxruntime-gpu", "nvidia-cuda-runtime", "nvidia-cudnn-cu13", "nvidia-cublas"):
        assert re.search(rf"^{package}==", text, re.MULTILINE), package
    assert not re.search(r"^onnxruntime==", text, re.MULTILINE)


@pytest.fixture(params=FUNCTIONS)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path, Path]]:
    """(function, its tree, the Python of its environment)."""
    if not UV.exists():
        pytest.skip("uv is not in this environment: start the tests with ./ct test")
    function = request.param
    tree = tmp_path / "srv"
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    for sources, target in copied(final):
        for source in (path for one in sources for path in ROOT.glob(one.replace("${FUNCTION}", function))):
            goal = tree / target.replace("${FUNCTION}", function)
            if source.is_dir():
                shutil.copytree(source, goal, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                goal.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, goal)
    python = tmp_path / "venv" / "bin" / "python"
    lock = ROOT / "requirements" / f"{lock_of(function)}.txt"
    subprocess.run([str(UV), "venv", "-q", "--python", sys.executable, str(tmp_path / "venv")], check=True)
    install = [str(UV), "pip", "install", "-q", "--python", str(python), "--require-hashes", "--no-deps"]
    done = subprocess.run([*install, "-r", str(lock)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield function, tree, python


def test_an_image_serves_with_its_own_files_and_packages_alone(
    image: tuple[str, Path, Path], tmp_path: Path
) -> None:
    function, tree, python = image
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CT_DATA_DIR": str(tmp_path / "data")}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = f"functions.{function}.app:create_app()"
    command = [str(python), "-m", "gunicorn", "-c", "functions/gunicorn.conf.py"]
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--bind", f"127.0.0.1:{port}", app], cwd=tree, env=env, stdout=out, stderr=out
        )
    try:
        while True:
            assert process.poll() is None, log.read_text()
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                link.request("GET", "/healthz")
                answer = json.loads(link.getresponse().read())
                break
            except OSError:
                continue
            finally:
                link.close()
        assert answer["function"] == function
    finally:
        process.terminate()
        process.wait(40)
    if function == "analyze":
        subprocess.run([str(python), "-c", "import functions.analyze.worker"], cwd=tree, env=env, check=True)
    if function in ("patients", "scans"):
        light = f"import sys, functions.{function}.app as a; a.create_app(); sys.exit('numpy' in sys.modules)"
        subprocess.run([str(python), "-c", light], cwd=tree, env=env, check=True)
    if function == "patients":
        subprocess.run([str(python), "-c", "import localstack.init_stores"], cwd=tree, env=env, check=True)
