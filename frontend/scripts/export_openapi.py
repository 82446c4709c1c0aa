"""Write the merged OpenAPI document to ``frontend/openapi.json``: run it, then ``npm run api``.

``python frontend/scripts/export_openapi.py`` from the repository's root; a test holds the file to the code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "frontend" / "openapi.json"


def document() -> str:
    """The document as it is committed: keys in order, one per line."""
    from localstack.gateway import create_apps, merged_openapi
    from shared.settings import Settings

    return (
        json.dumps(merged_openapi(create_apps(Settings())), ensure_ascii=False, indent=1, sort_keys=True)
        + "\n"
    )


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    TARGET.write_text(document(), encoding="utf-8")
