"""Every store of the contract suite, each behind a real server or a real file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pymongo
import pytest

from shared.settings import Settings
from shared.stores import open_blobs, open_documents
from shared.stores.protocols import BlobStore, DocumentStore
from tests import servers


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return servers.run_folder(tmp_path_factory)


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="session")
def mongo_database(run_folder: Path) -> Iterator[dict[str, Any]]:
    """One database for a test worker, dropped at the end."""
    url, name = servers.mongo(run_folder), f"ct_test_{uuid4().hex[:12]}"
    yield {"documents": "mongo", "mongo_url": url, "mongo_database": name}
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        client.drop_database(name)


def s3_settings(url: str) -> dict[str, Any]:
    return {
        "blobs": "s3",
        "s3_endpoint": url,
        "s3_public_endpoint": url,
        "s3_bucket": f"ct-test-{uuid4().hex[:12]}",
        "s3_access_key": servers.ACCESS_KEY,
        "s3_secret_key": servers.SECRET_KEY,
    }


@pytest.fixture(scope="session")
def seaweedfs_bucket(run_folder: Path) -> dict[str, Any]:
    return s3_settings(servers.seaweedfs(run_folder))


@pytest.fixture(scope="session")
def moto_bucket(run_folder: Path) -> dict[str, Any]:
    return s3_settings(servers.moto(run_folder))


@pytest.fixture(params=["sqlite", "mongo"])
def document_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings that name an empty document store."""
    if request.param == "sqlite":
        return Settings(data_dir=tmp_path)
    values = request.getfixturevalue("mongo_database")
    with pymongo.MongoClient[dict[str, Any]](values["mongo_url"]) as client:
        database = client[values["mongo_database"]]
        for name in database.list_collection_names():
            database[name].delete_many({})
    return Settings(data_dir=tmp_path, **values)


@pytest.fixture(params=["folder", "moto", "seaweedfs"])
def blob_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings that name an empty blob store."""
    if request.param == "folder":
        return Settings(data_dir=tmp_path)
    return Settings(data_dir=tmp_path, **request.getfixturevalue(f"{request.param}_bucket"))


@pytest.fixture
def documents(document_settings: Settings) -> Iterator[DocumentStore]:
    store = open_documents(document_settings)
    store.ensure_schema()
    yield store
    store.close()


@pytest.fixture(scope="session")
def opened() -> dict[str, BlobStore]:
    """Stores of buckets by name: an S3 client takes a while to make."""
    return {}


@pytest.fixture
def blobs(blob_settings: Settings, opened: dict[str, BlobStore]) -> BlobStore:
    if blob_settings.blobs == "folder":
        store = open_blobs(blob_settings)
    else:
        store = opened.get(blob_settings.s3_bucket) or open_blobs(blob_settings)
        opened[blob_settings.s3_bucket] = store
    store.ensure_ready()
    store.delete_prefix("")
    return store


@pytest.fixture
def environment() -> Callable[[Settings], dict[str, str]]:
    """The variables that give another process the same settings."""

    def variables(settings: Settings) -> dict[str, str]:
        shown = json.loads(settings.model_dump_json())
        shown |= {
            name: getattr(settings, name).get_secret_value()
            for name in ("mongo_url", "s3_access_key", "s3_secret_key")
        }
        return {f"CT_{name.upper()}": str(value) for name, value in shown.items()}

    return variables
