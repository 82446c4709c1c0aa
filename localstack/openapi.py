"""``python -m localstack.openapi FOLDER``: the merged OpenAPI document and the docs page as plain files.

nginx serves them in the containers, where no single process knows all functions.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from localstack.gateway import TITLE, create_apps, merged_openapi
from shared.settings import Settings
from shared.web.docs import ASSETS, docs_page, docs_start, swagger_folder


def write_docs(folder: Path) -> None:
    """Write ``openapi.json``, ``docs/index.html`` and what the page loads."""
    docs = folder / "docs"
    for name in ASSETS:
        target = docs / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(swagger_folder()) / name, target)
    (docs / "index.html").write_text(docs_page(TITLE), encoding="utf-8")
    (docs / "start.js").write_text(docs_start(), encoding="utf-8")
    document = merged_openapi(create_apps(Settings()))
    (folder / "openapi.json").write_text(json.dumps(document, ensure_ascii=False, indent=1), "utf-8")


if __name__ == "__main__":
    write_docs(Path(sys.argv[1]))
