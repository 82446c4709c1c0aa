"""The launcher as a module, in a tree of its own where a test wants one."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


def load(path: Path) -> ModuleType:
    """Import the file called ``ct``; its tree is the folder that it lies in."""
    loader = importlib.machinery.SourceFileLoader("launcher_under_test", str(path))
    spec = importlib.util.spec_from_loader("launcher_under_test", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module


@pytest.fixture
def launcher() -> ModuleType:
    """The repository's own launcher."""
    return load(ROOT / "ct")


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[], ModuleType]:
    """Makes a launcher in an empty tree: nothing that it does can touch the repository."""

    def make() -> ModuleType:
        shutil.copy(ROOT / "ct", tmp_path / "ct")
        return load(tmp_path / "ct")

    return make
