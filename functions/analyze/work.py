"""What a reading process is told, and the names of the files that it leaves. Light: no numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared import keys
from shared.settings import Settings

Task = Literal["prepare", "analyze", "model"]

GEOMETRY = "geometry.json"
EVIDENCE = "evidence.npz"
#: slices of one block of the viewer's volume
BLOCK_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Work:
    """Plain values: they cross a process border."""

    task: Task
    source: str = ""
    folder: str = ""
    #: which of several studies; empty: there must be one
    study_uid: str = ""
    max_entries: int = 20_000
    max_unpacked_bytes: int = 8_000_000_000
    model_dir: str = ""
    provider: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0

    @classmethod
    def of(
        cls,
        settings: Settings,
        task: Task,
        *,
        source: str = "",
        folder: Path | None = None,
        study_uid: str = "",
    ) -> Work:
        """The work with the limits and the model of the settings."""
        return cls(
            task=task,
            source=source,
            folder=str(folder or ""),
            study_uid=study_uid,
            max_entries=settings.max_entries,
            max_unpacked_bytes=settings.max_unpacked_mb * 10**6,
            model_dir=settings.model_dir,
            provider=settings.provider,
            threads=settings.threads,
        )


def heatmap_name(lang: str) -> str:
    """File name of the key picture in a language."""
    return f"heatmap_{lang}.png"


def block_name(number: int) -> str:
    """File name of a packed block."""
    return f"block_{number:04d}.gz"


def blob_of(name: str, scan_id: str, analysis_id: str) -> tuple[str, str]:
    """Key and media type of a file that a reading process left; raises ValueError for another name."""
    stem, _, suffix = name.partition(".")
    kind, _, rest = stem.partition("_")
    match kind, suffix:
        case "geometry", "json":
            return keys.volume_geometry(scan_id), "application/json"
        case "block", "gz":
            return keys.volume_block(scan_id, int(rest)), "application/octet-stream"
        case "evidence", "npz":
            return keys.evidence(scan_id, analysis_id), "application/octet-stream"
        case "heatmap", "png":
            return keys.heatmap(scan_id, analysis_id, rest), "image/png"
    raise ValueError(name)
