"""``.env.example`` tells every setting as the code has it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from docs.generate import ROOT, env_example
from shared.settings import Settings

TEXT = (ROOT / ".env.example").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CT_")]:
        monkeypatch.delenv(name)


def test_the_file_is_what_the_code_would_write() -> None:
    assert env_example() == TEXT, "run: python -m docs.generate"


def test_every_setting_is_listed_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = dict(re.findall(r"^# (CT_[A-Z0-9_]+)=(.*)$", TEXT, re.MULTILINE))
    for name in Settings.model_fields:
        monkeypatch.setenv("CT_" + name.upper(), listed["CT_" + name.upper()])
    assert Settings() == Settings.model_construct(**{n: f.default for n, f in Settings.model_fields.items()})


def test_every_setting_has_a_description_and_every_quantity_its_unit() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if name.endswith("_mb"):
            assert "MB" in field.description, name
        if name.endswith("_s"):
            assert "econds" in field.description, name


def test_no_secret_has_a_default() -> None:
    secrets = [field.default for field in Settings.model_fields.values() if field.annotation is SecretStr]
    assert secrets
    assert all(one.get_secret_value() == "" for one in secrets)
    assert not re.search(r"^CT_\w+=.+$", TEXT, re.MULTILINE), "only empty values may stand uncommented"


def test_settings_are_read_nowhere_else() -> None:
    """One place for configuration: no module reads a CT_ variable on its own."""
    own = {"shared/settings.py"}
    found = {
        str(path.relative_to(ROOT))
        for folder in ("shared", "functions", "localstack", "batch")
        for path in Path(ROOT / folder).rglob("*.py")
        if re.search(r"""(environ|getenv)[^\n]*["']CT_""", path.read_text(encoding="utf-8"))
    }
    assert found <= own
