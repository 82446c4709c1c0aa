"""Where documents and blobs are kept: two Protocols (`protocols`), four adapters, one contract suite."""

from __future__ import annotations

from shared.settings import Settings
from shared.stores.protocols import BlobStore, DocumentStore


def open_documents(settings: Settings) -> DocumentStore:
    """The document store that the settings name; call ``ensure_schema`` before the first use of a new one."""
    if settings.documents == "mongo":
        from shared.stores.mongo import MongoDocuments

        return MongoDocuments(
            settings.mongo_url.get_secret_value(),
            database=settings.mongo_database,
            timeout_s=settings.store_timeout_s,
        )
    from shared.stores.sqlite import SqliteDocuments

    return SqliteDocuments(settings.data_dir / "documents.sqlite3", timeout_s=settings.store_timeout_s)


def open_blobs(settings: Settings) -> BlobStore:
    """The blob store that the settings name; call ``ensure_ready`` before the first use of a new one."""
    if settings.blobs == "s3":
        from shared.stores.s3 import S3Blobs

        return S3Blobs(
            settings.s3_bucket,
            endpoint=settings.s3_endpoint,
            public_endpoint=settings.s3_public_endpoint,
            region=settings.s3_region,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
            timeout_s=settings.store_timeout_s,
        )
    from shared.stores.folder import FolderBlobs

    return FolderBlobs(settings.data_dir / "blobs")
