"""What a process of the service works with: its settings, and its stores, opened at their first use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from shared.jobs import Jobs
from shared.lifecycle import Stores
from shared.settings import Settings, scratch_folder
from shared.stores import open_blobs, open_documents
from shared.stores.protocols import BlobStore, DocumentStore


@dataclass
class Context:
    """Settings and stores. These open in the process that serves, not before a fork."""

    settings: Settings

    @cached_property
    def documents(self) -> DocumentStore:
        """The document store. An embedded one is made where it is missing; servers are set up before."""
        store = open_documents(self.settings)
        if self.settings.documents == "sqlite":
            store.ensure_schema()
        return store

    @cached_property
    def blobs(self) -> BlobStore:
        """The blob store; made where it is missing like the document store."""
        store = open_blobs(self.settings)
        if self.settings.blobs == "folder":
            store.ensure_ready()
        return store

    @cached_property
    def jobs(self) -> Jobs:
        """The queue."""
        return Jobs(self.documents, self.settings)

    @property
    def stores(self) -> Stores:
        """The three together."""
        return Stores(self.documents, self.blobs, self.jobs)

    @property
    def scratch(self) -> Path:
        """Folder of temporary files."""
        return scratch_folder(self.settings)


@lru_cache(maxsize=8)
def context_of(settings: Settings) -> Context:
    """One context for everything in a process with these settings: all share connections."""
    return Context(settings)
