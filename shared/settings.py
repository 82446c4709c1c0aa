"""Every setting of the service, from environment variables with the prefix ``CT_`` and nowhere else.

``.env.example`` lists the same names with the same defaults; a test holds the two together.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import gettempdir
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """All settings. A field's description is its manual, unit included."""

    model_config = SettingsConfigDict(env_prefix="CT_", extra="ignore", frozen=True)

    # ── stores ──────────────────────────────────────────────────────────────────────────
    data_dir: Path = Field(Path("data"), description="Folder of the embedded stores and logs.")
    documents: Literal["sqlite", "mongo"] = Field("sqlite", description="Where documents are kept.")
    blobs: Literal["folder", "s3"] = Field("folder", description="Where blobs are kept.")
    mongo_url: SecretStr = Field(
        SecretStr(""), description="MongoDB connection string, credentials included."
    )
    mongo_database: str = Field("ct_pathology", description="MongoDB database name.")
    s3_endpoint: str = Field("", description="Address of the S3 service; empty means AWS itself.")
    s3_public_endpoint: str = Field(
        "", description="Address under which clients reach the S3 service; empty: no presigned URLs."
    )
    s3_bucket: str = Field("ct-pathology", description="Bucket name.")
    s3_region: str = Field("us-east-1", description="S3 region.")
    s3_access_key: SecretStr = Field(SecretStr(""), description="S3 access key.")
    s3_secret_key: SecretStr = Field(SecretStr(""), description="S3 secret key.")
    store_timeout_s: float = Field(10.0, description="Seconds to wait for a store before answering 503.")

    # ── limits ──────────────────────────────────────────────────────────────────────────
    max_upload_mb: int = Field(2048, description="Largest upload, MB (10^6 bytes).")
    max_unpacked_mb: int = Field(8192, description="Largest sum of unpacked sizes in an upload, MB.")
    max_entries: int = Field(20000, description="Most files in one upload.")
    max_queue: int = Field(1000, description="Most live jobs; above it uploads are answered 429.")
    upload_part_mb: int = Field(16, description="Part size of a two-step upload, MB (S3 wants at least 5).")
    upload_ttl_s: int = Field(86400, description="Seconds until an unfinished upload is swept away.")

    # ── worker ──────────────────────────────────────────────────────────────────────────
    worker_memory_mb: int = Field(4096, description="Memory limit of the process that reads a study, MB.")
    job_timeout_s: int = Field(600, description="Wall clock of one job, seconds.")
    lease_s: int = Field(30, description="Seconds until the job of a silent worker is given to another.")
    max_attempts: int = Field(3, description="How often a job is tried.")
    poll_s: float = Field(0.5, description="Seconds between looks for work.")
    provider: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where the model runs; cuda refuses to start without a GPU."
    )
    model_dir: str = Field("", description="Folder of the model; empty means the one that is shipped.")
    threads: int = Field(0, description="Threads of the model; 0 means one per core.")
    analyse_on_upload: bool = Field(False, description="Start the analysis right after an upload.")
    sweep_s: int = Field(300, description="Seconds between sweeps of what a crash left behind.")

    # ── web ─────────────────────────────────────────────────────────────────────────────
    analyze_wait_s: int = Field(
        300, description="Longest wait of a synchronous analysis, seconds; then 504 with the job's address."
    )
    web_threads: int = Field(32, description="Requests that one process answers at the same time.")
    default_lang: Literal["ru", "en"] = Field("ru", description="Language where a client names none.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Log level.")
    no_auth: bool = Field(False, description="No sign-in; allowed on loopback only.")


def scratch_folder(settings: Settings) -> Path:
    """Folder of temporary files: beside the blobs when these lie in a folder, else the system's."""
    return settings.data_dir / "tmp" if settings.blobs == "folder" else Path(gettempdir())


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
