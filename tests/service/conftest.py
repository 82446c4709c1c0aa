"""The service in this process (`api`) for what needs no worker, and as real processes for the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from urllib3 import encode_multipart_formdata
from werkzeug.test import Client

from localstack.gateway import create_gateway
from shared.settings import Settings
from shared.web.app import context_of


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
