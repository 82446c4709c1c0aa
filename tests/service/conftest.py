"""The service in this process (`api`) for what needs no worker, and as real processes (`service`).

``service`` runs over SQLite and a folder, ``far_service`` over a MongoDB-protocol server and a real S3
server. Both start once for a test process, with a tiny model whose answers are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from urllib3 import encode_multipart_formdata
from werkzeug.test import Client

from localstack.gateway import create_gateway
from shared.context import context_of
from shared.settings import Settings
from tests import servers
from tests.phantoms import write_study
from tests.service.harness import Service, running
from tests.service.routed import RoutedService
from tests.unit.model.tiny import write_model


class Api(Client):
    """A client of the gateway in this process; ``settings`` are the service's."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(create_gateway(settings))
        self.settings = settings

    def open(self, *args: Any, **options: Any) -> Any:
        """A request whose answer is read to its end, as a client does."""
        return super().open(*args, **{"buffered": True, **options})

    def post_form(self, path: str, fields: Sequence[tuple[str, Any]], **options: Any) -> Any:
        """A multipart POST in the order of ``fields``; a file is a pair of name and bytes."""
        body, content_type = encode_multipart_formdata(fields)
        return self.post(path, data=body, content_type=content_type, **options)

    def new_patient(self, **fields: Any) -> str:
        answer = self.post("/api/patients", json={"first_name": "Ada", "last_name": "Byron", **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json["id"])


def make_api(folder: Path, **values: Any) -> Iterator[Api]:
    settings = Settings(data_dir=folder, **values)
    yield Api(settings)
    context_of(settings).documents.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    yield from make_api(tmp_path, max_upload_mb=3, upload_part_mb=1)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    return folder


def quick(model_dir: Path) -> dict[str, Any]:
    """Settings that make a service quick to look at."""
    return {"model_dir": str(model_dir), "provider": "cpu", "threads": 1, "poll_s": 0.05, "lease_s": 5}


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service"), quick(model_dir)) as one:
        yield one


@pytest.fixture(scope="session")
def far_service(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Service]:
    folder, run = tmp_path_factory.mktemp("far-service"), servers.run_folder(tmp_path_factory)
    s3 = servers.seaweedfs(run)
    stores = {
        "documents": "mongo",
        "mongo_url": servers.mongo(run),
        "mongo_database": f"ct_service_{uuid4().hex[:12]}",
        "blobs": "s3",
        "s3_endpoint": s3,
        "s3_public_endpoint": s3,
        "s3_bucket": f"ct-service-{uuid4().hex[:12]}",
        "s3_access_key": servers.ACCESS_KEY,
        "s3_secret_key": servers.SECRET_KEY,
        "upload_part_mb": 5,
    }
    with running(folder, {**quick(model_dir), **stores}) as one:
        yield one


@pytest.fixture(scope="session")
def routed_service(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Service]:
    """Each function a process of its own behind a real nginx, as in the containers."""
    with running(tmp_path_factory.mktemp("routed"), quick(model_dir), kind=RoutedService) as one:
        yield one


@pytest.fixture(params=["near", "far", "routed"])
def any_service(request: pytest.FixtureRequest) -> Service:
    """Every way to run it, one after the other."""
    name = {"near": "service", "far": "far_service", "routed": "routed_service"}[request.param]
    found = request.getfixturevalue(name)
    assert isinstance(found, Service)
    return found


@pytest.fixture(scope="session")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole chest as a zip of DICOM files; the tiny model finds it dense enough for a verdict."""
    return write_study(
        tmp_path_factory.mktemp("chest") / "study.zip", slices=40, spacing=(7.0, 4.0, 4.0)
    ).path
