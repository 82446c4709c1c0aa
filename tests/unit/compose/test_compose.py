"""The compose files as the real Docker Compose reads them: complete, hardened, and mute without secrets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = Path(sys.executable).with_name("docker-compose")
SECRETS = ("CT_MONGO_PASSWORD", "CT_S3_ACCESS_KEY", "CT_S3_SECRET_KEY", "CT_MINIO_IMAGE")
GPU = ("-f", "docker-compose.yml", "-f", "docker-compose.gpu.yml")
ONE_SHOT = {"init", "blobs-owner"}
OURS = {"router", "patients", "scans", "analyze", "worker", "report", "init", "blobs-owner"}

pytestmark = pytest.mark.skipif(
    not COMPOSE.exists(), reason="docker-compose is not in this environment: install requirements/test.txt"
)


def compose(folder: Path, *arguments: str, **values: str) -> subprocess.CompletedProcess[str]:
    """Run Docker Compose with ``.env.example`` and these values filled in."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    for name, value in values.items():
        text, n = re.subn(rf"^{name}=$", f"{name}={value}", text, flags=re.MULTILINE)
        assert n == 1, f"{name} is not in .env.example"
    (folder / "env").write_text(text, encoding="utf-8")
    return subprocess.run(
        [str(COMPOSE), "--env-file", str(folder / "env"), *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


FILLED = dict.fromkeys(SECRETS, "filled")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = compose(tmp_path_factory.mktemp("compose"), "config", "--format", "json", **FILLED)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("compose")
    done = compose(folder, *GPU, "--profile", "gpu", "config", "--format", "json", **FILLED)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("missing", SECRETS)
def test_without_a_secret_nothing_starts_and_the_words_name_it(tmp_path: Path, missing: str) -> None:
    done = compose(tmp_path, "config", **{name: "filled" for name in SECRETS if name != missing})
    assert done.returncode != 0
    assert f"Set {missing} in .env" in done.stderr


def test_no_secret_has_a_default() -> None:
    for name in ("docker-compose.yml", "docker-compose.gpu.yml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for secret in SECRETS:
            assert not re.search(rf"\$\{{{secret}(?!:\?)", text), secret


def test_every_part_of_the_service_is_there(plain: dict[str, Any]) -> None:
    assert set(plain["services"]) == OURS | {"mongo", "minio"}


def test_nothing_is_root_or_can_become_it(plain: dict[str, Any], gpu: dict[str, Any]) -> None:
    for name, one in [*plain["services"].items(), *gpu["services"].items()]:
        uid = one["user"].split(":")[0]
        assert uid.isdigit(), name
        assert int(uid) > 0, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one["read_only"] is True, name
        assert not one.get("privileged"), name


def test_everything_has_limits(plain: dict[str, Any]) -> None:
    for name, one in plain["services"].items():
        limits = one["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        assert one["logging"]["options"]["max-size"], name


def test_what_goes_on_is_watched_and_what_ends_is_waited_for(plain: dict[str, Any]) -> None:
    for name, one in plain["services"].items():
        if name in ONE_SHOT:
            waits = [
                other["depends_on"][name]["condition"]
                for other in plain["services"].values()
                if name in other.get("depends_on", {})
            ]
            assert set(waits) == {"service_completed_successfully"}, name
        else:
            assert one["healthcheck"]["test"], name
            assert one["restart"] == "unless-stopped", name


def test_a_worker_is_not_asked_over_http(plain: dict[str, Any], gpu: dict[str, Any]) -> None:
    for project in (plain, gpu):
        assert project["services"]["worker"]["healthcheck"]["test"][-1] == "functions.analyze.alive"


def test_only_the_router_is_published_and_on_loopback(plain: dict[str, Any]) -> None:
    published = {
        (name, port["host_ip"], port["published"], port["target"])
        for name, one in plain["services"].items()
        for port in one.get("ports", [])
    }
    assert published == {("router", "127.0.0.1", "3000", 3000), ("router", "127.0.0.1", "8000", 8000)}


def test_only_the_router_reaches_beyond_the_inner_network(plain: dict[str, Any]) -> None:
    assert plain["networks"]["inside"]["internal"] is True
    outside = {name for name, one in plain["services"].items() if "edge" in one.get("networks", {})}
    assert outside == {"router"}


def test_environments_name_real_settings(plain: dict[str, Any]) -> None:
    known = {"CT_" + name.upper() for name in Settings.model_fields}
    for name in OURS - {"router"}:
        mine = {key for key in plain["services"][name].get("environment", {}) if key.startswith("CT_")}
        assert mine <= known, name


def test_functions_use_the_servers_and_write_only_where_they_may(plain: dict[str, Any]) -> None:
    for name in ("patients", "scans", "analyze", "worker", "report"):
        one = plain["services"][name]
        env = one["environment"]
        assert (env["CT_DOCUMENTS"], env["CT_BLOBS"]) == ("mongo", "s3")
        writable = {"/tmp"} | {volume["target"] for volume in one.get("volumes", [])}
        assert any(env["CT_DATA_DIR"] == w or env["CT_DATA_DIR"].startswith(w + "/") for w in writable), name


def test_defaults_repeated_for_the_router_are_those_of_the_settings(plain: dict[str, Any]) -> None:
    env = plain["services"]["router"]["environment"]
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    for name in ("max_upload_mb", "default_lang", "s3_public_endpoint"):
        assert env["CT_" + name.upper()] == str(defaults[name])
    start = (ROOT / "localstack/router/start.sh").read_text(encoding="utf-8")
    assert f"${{CT_MAX_UPLOAD_MB:-{defaults['max_upload_mb']}}}" in start
    assert f"${{CT_DEFAULT_LANG:-{defaults['default_lang']}}}" in start


def test_a_worker_may_use_the_memory_that_its_setting_names(plain: dict[str, Any]) -> None:
    limit = int(plain["services"]["worker"]["deploy"]["resources"]["limits"]["memory"])
    assert limit > Settings.model_fields["worker_memory_mb"].default * 1_000_000


def test_the_gpu_profile_gives_the_worker_a_gpu_and_no_way_back_to_the_cpu(gpu: dict[str, Any]) -> None:
    worker = gpu["services"]["worker"]
    assert worker["profiles"] == ["gpu"]
    assert worker["build"]["args"]["RUNTIME"] == "gpu"
    assert worker["environment"]["CT_PROVIDER"] == "cuda"
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])
    others = [one for name, one in gpu["services"].items() if name != "worker"]
    assert not any("reservations" in one["deploy"]["resources"] for one in others)


def test_forgetting_the_profile_is_refused_instead_of_starting_without_a_worker(tmp_path: Path) -> None:
    done = compose(tmp_path, *GPU, "config", **FILLED)
    assert done.returncode != 0
    assert "worker" in done.stderr
