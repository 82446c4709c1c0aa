"""Writes the files that are made from code: ``python -m docs.generate``.

``.env.example`` comes from `shared.settings`; ``frontend/openapi.json``, which the page's client is made
from, and the Postman collection come from the functions. Tests hold all to what this module would write.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from docs.postman import collection
from localstack.gateway import create_apps, merged_openapi
from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[1]

ENV_HEAD = """\
# Settings of the service, read from the environment.
#
# Docker: copy this file to .env and fill in the first part; everything else has a default.
# Without Docker (./ct up) nothing here is needed; to change a setting, export it before the start.
# Made by `python -m docs.generate` from shared/settings.py.


# ── Docker only ─────────────────────────────────────────────────────────────────────────────
# Secrets have no default: docker compose refuses to start without them.
# Make each with:  openssl rand -hex 24     (letters and digits only: they become part of addresses)

CT_MONGO_PASSWORD=
CT_S3_ACCESS_KEY=
CT_S3_SECRET_KEY=

# The object store's image. MinIO's own images are no longer published on Docker Hub: name the one
# that your registry holds, best with its digest (name@sha256:…).
CT_MINIO_IMAGE=

# Images that ours are built on and run beside; a digest pins them (name@sha256:…).
# CT_PYTHON_IMAGE=python:3.12-slim-bookworm
# CT_NODE_IMAGE=node:22-bookworm-slim
# CT_NGINX_IMAGE=nginx:1.28-alpine
# CT_MONGO_IMAGE=mongo:8.0

# Address of this machine that the page (3000) and the API (8000) are published on. There is no
# sign-in yet: leave it at loopback, and put your own authenticating proxy in front for others.
# CT_PUBLISH=127.0.0.1

# How many workers analyse at the same time.
# CT_WORKERS=1


# ── The service ─────────────────────────────────────────────────────────────────────────────
"""

#: settings that compose sets itself; in .env they are named in the Docker part, or not at all
SET_BY_COMPOSE = {
    "data_dir",
    "documents",
    "blobs",
    "mongo_url",
    "s3_endpoint",
    "s3_access_key",
    "s3_secret_key",
    "no_auth",
}


def env_example() -> str:
    """The text of ``.env.example``: every setting with its description, unit and default."""
    parts = []
    for name, field in Settings.model_fields.items():
        default = field.default
        if default is PydanticUndefined:
            raise ValueError(f"setting {name} has no default")
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        if isinstance(default, bool):
            default = str(default).lower()
        words = field.description or ""
        if get_origin(field.annotation) is Literal:
            words += f" One of: {', '.join(get_args(field.annotation))}."
        if name in SET_BY_COMPOSE:
            words += " (Docker: set by docker-compose.yml.)"
        comment = textwrap.fill(words, 94, initial_indent="# ", subsequent_indent="# ")
        parts.append(f"{comment}\n# CT_{name.upper()}={default}\n")
    return ENV_HEAD + "\n" + "\n".join(parts)


def written() -> dict[str, str]:
    """Every file, by its path in the repository, with its text."""
    openapi = merged_openapi(create_apps(Settings()))
    return {
        ".env.example": env_example(),
        "frontend/openapi.json": json.dumps(openapi, ensure_ascii=False, indent=1) + "\n",
        "docs/postman_collection.json": json.dumps(collection(openapi), ensure_ascii=False, indent=1) + "\n",
    }


def main() -> None:
    """Write everything."""
    for path, text in written().items():
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
