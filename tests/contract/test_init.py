"""The one-shot initialisation, run as the container runs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import boto3
import pymongo
import pytest
from pymongo.errors import WriteError

from localstack.init_stores import init_stores, main
from shared.documents import DOCUMENTS, Patient
from shared.settings import Settings
from shared.stores import open_documents
from tests import servers


def run(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "localstack.init_stores"],
        env={"PATH": "/usr/bin:/bin", **variables},
        cwd=servers.REPO,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("server", ["moto", "seaweedfs"])
def test_it_makes_the_bucket_with_its_lifecycle_and_can_be_repeated(
    server: str,
    request: pytest.FixtureRequest,
    tmp_path: Any,
    environment: Callable[[Settings], dict[str, str]],
) -> None:
    values = request.getfixturevalue(f"{server}_bucket")
    settings = Settings(data_dir=tmp_path, **{**values, "s3_bucket": values["s3_bucket"] + "-init"})
    done = run(environment(settings))
    assert (done.returncode, done.stderr) == (0, "")
    assert "blobs in s3" in done.stdout
    init_stores(settings, wait_s=0)
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id=servers.ACCESS_KEY,
        aws_secret_access_key=servers.SECRET_KEY,
    )
    rules = client.get_bucket_lifecycle_configuration(Bucket=settings.s3_bucket)["Rules"]
    client.close()
    assert {rule.get("Expiration", {}).get("Days") for rule in rules} >= {2}


def test_mongo_gets_its_indexes_and_refuses_what_is_no_document(
    mongo_database: dict[str, Any], tmp_path: Any, environment: Callable[[Settings], dict[str, str]]
) -> None:
    settings = Settings(data_dir=tmp_path, **mongo_database)
    done = run(environment(settings))
    assert (done.returncode, done.stderr) == (0, "")
    init_stores(settings, wait_s=0)
    with pymongo.MongoClient[dict[str, Any]](mongo_database["mongo_url"]) as client:
        database = client[mongo_database["mongo_database"]]
        for kind in DOCUMENTS:
            assert len(database[kind.collection].index_information()) > 1
            with pytest.raises(WriteError, match="validation"):
                database[kind.collection].insert_one({"_id": "a", "version": "one"})
    store = open_documents(settings)
    store.insert(Patient(id="init", first_name="a", last_name="b"))
    assert store.delete(Patient, "init")
    store.close()


def test_a_store_that_never_answers_is_named_and_ends_it_with_1(
    tmp_path: Any, environment: Callable[[Settings], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path, blobs="s3", s3_endpoint="http://127.0.0.1:1", store_timeout_s=0.1)
    monkeypatch.setattr("localstack.init_stores.WAIT_S", 0.0)
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert main() == 1
