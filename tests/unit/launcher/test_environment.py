"""Nothing is installed or built twice, and what is missing is named with the command that brings it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Tree = Callable[[], ModuleType]


@pytest.fixture
def installs(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, list[str]]:
    """A launcher whose installer only writes down what it was asked for."""
    launcher = tree()
    (tmp_path / "requirements").mkdir()
    for role in ("embedded", "test", "train"):
        (tmp_path / "requirements" / f"{role}.txt").write_text(f"{role} 1")
    (tmp_path / ".venv").mkdir()
    asked: list[str] = []
    monkeypatch.setattr(launcher, "make_venv", lambda: None)
    monkeypatch.setattr(launcher, "install", lambda lock: asked.append(lock.stem))
    return launcher, asked


def test_a_lock_is_installed_once(installs: tuple[ModuleType, list[str]]) -> None:
    launcher, asked = installs
    launcher.environment("embedded")
    launcher.environment("embedded")
    assert asked == ["embedded"]


def test_a_changed_lock_is_installed_again(installs: tuple[ModuleType, list[str]], tmp_path: Path) -> None:
    launcher, asked = installs
    launcher.environment("embedded")
    (tmp_path / "requirements" / "embedded.txt").write_text("embedded 2")
    launcher.environment("embedded")
    assert asked == ["embedded", "embedded"]


def test_running_and_testing_in_turn_does_not_thrash(installs: tuple[ModuleType, list[str]]) -> None:
    launcher, asked = installs
    for _ in range(2):
        launcher.environment("test")
        launcher.environment("embedded")
    assert asked == ["test"]


def test_training_adds_to_what_stands(installs: tuple[ModuleType, list[str]]) -> None:
    launcher, asked = installs
    launcher.environment("test")
    launcher.environment("embedded", "train")
    launcher.environment("test")
    assert asked == ["test", "train"]


def test_an_installation_that_failed_is_tried_again(
    installs: tuple[ModuleType, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, asked = installs
    good = launcher.install
    monkeypatch.setattr(launcher, "install", lambda lock: launcher.give_up("no network"))
    with pytest.raises(SystemExit):
        launcher.environment("embedded")
    monkeypatch.setattr(launcher, "install", good)
    launcher.environment("embedded")
    assert asked == ["embedded"]


def test_a_test_lock_holds_every_embedded_package_in_the_same_version() -> None:
    """Otherwise the test environment would not be the one that runs."""
    folder = Path(__file__).resolve().parents[3] / "requirements"

    def pins(name: str) -> dict[str, str]:
        lines = (folder / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        return dict(line.split(" ")[0].split("==", 1) for line in lines if "==" in line and line[0].isalnum())

    test, embedded = pins("test"), pins("embedded")
    assert embedded
    assert {name: test.get(name) for name in embedded} == embedded


def tool(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n" + text)
    (folder / name).chmod(0o755)


@pytest.fixture
def page(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A launcher with a small page and an npm that writes down what it was asked for."""
    launcher = tree()
    frontend = tmp_path / "frontend"
    (frontend / "src").mkdir(parents=True)
    (frontend / "src" / "main.ts").write_text("export {}")
    (frontend / "package-lock.json").write_text("{}")
    tool(tmp_path / "bin", "node", "echo v22.1.0")
    tool(
        tmp_path / "bin",
        "npm",
        f"echo $1 $2 >> {tmp_path}/asked\nmkdir -p node_modules dist\n"
        "if [ $1 = run ]; then echo page > dist/index.html; fi\n",
    )
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    return launcher


def asked(tmp_path: Path) -> list[str]:
    return (tmp_path / "asked").read_text().splitlines()


def test_the_page_is_built_once(page: ModuleType, tmp_path: Path) -> None:
    page.page()
    page.page()
    assert asked(tmp_path) == ["ci --no-audit", "run build"]


def test_a_changed_source_builds_the_page_again_and_installs_nothing(
    page: ModuleType, tmp_path: Path
) -> None:
    page.page()
    (tmp_path / "frontend" / "src" / "main.ts").write_text("export const changed = true")
    page.page()
    assert asked(tmp_path) == ["ci --no-audit", "run build", "run build"]


def test_a_lost_page_is_built_again(page: ModuleType, tmp_path: Path) -> None:
    page.page()
    (tmp_path / "frontend" / "dist" / "index.html").unlink()
    page.page()
    assert asked(tmp_path)[-1] == "run build"
    assert (tmp_path / "frontend" / "dist" / "index.html").exists()


def test_a_built_page_needs_no_node(
    page: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.page()
    monkeypatch.setenv("PATH", "/nowhere")
    page.page()
    assert len(asked(tmp_path)) == 2


def test_without_node_the_commands_that_bring_it_are_named(
    page: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit):
        page.page()
    words = capsys.readouterr().err
    assert "sudo apt install nodejs npm" in words
    assert "./ct up --no-page" in words


def test_an_old_node_is_named_with_its_version(
    page: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool(tmp_path / "bin", "node", "echo v18.19.0")
    with pytest.raises(SystemExit):
        page.page()
    assert "v18.19.0" in capsys.readouterr().err


def test_without_a_fitting_python_the_commands_that_bring_it_are_named(
    launcher: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launcher, "python_version", lambda command: (3, 8))
    with pytest.raises(SystemExit):
        launcher.find_python()
    assert "sudo apt install python3 python3-venv" in capsys.readouterr().err
