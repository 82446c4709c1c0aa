"""Makes the stores ready, once: ``python -m localstack.init_stores``.

MongoDB gets its collections, validators and indexes, the bucket is created and told to drop stale uploads.
Safe to repeat, and waits for servers that are still starting.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from shared import keys
from shared.settings import Settings
from shared.stores import open_blobs, open_documents
from shared.stores.protocols import StoreUnavailable

#: how long a store that does not answer is tried, seconds
WAIT_S = 60.0
_DAY_S = 86400


def init_stores(settings: Settings, *, wait_s: float) -> None:
    """Make both stores ready.

    Parameters
    ----------
    settings : Settings
    wait_s : float
        How long to try a store that does not answer; then `StoreUnavailable`.
    """
    documents, blobs = open_documents(settings), open_blobs(settings)
    deadline = time.monotonic() + wait_s
    try:
        _until_ready(documents.ensure_schema, deadline)
        _until_ready(blobs.ensure_ready, deadline)
        # the sweeper removes them in time; the bucket does so even where no worker runs
        blobs.expire(keys.UPLOADS, days=1 + -(-settings.upload_ttl_s // _DAY_S))
    finally:
        documents.close()


def _until_ready(step: Callable[[], None], deadline: float) -> None:
    while True:
        try:
            return step()
        except StoreUnavailable as error:
            if time.monotonic() > deadline:
                raise
            print(f"waiting: {error}", file=sys.stderr)
            time.sleep(1.0)


def main() -> int:
    """The exit code: 0 when both stores are ready, 1 when one does not answer."""
    settings = Settings()
    try:
        init_stores(settings, wait_s=WAIT_S)
    except StoreUnavailable as error:
        print(f"The stores are not ready: {error}", file=sys.stderr)
        return 1
    print(f"ready: documents in {settings.documents}, blobs in {settings.blobs}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
