"""Blob keys. No other module spells one out."""

from __future__ import annotations

#: the first parts of all keys
SCANS, UPLOADS, INCOMING, WORKERS = "scans/", "uploads/", "incoming/", "workers/"


def scan_prefix(scan_id: str) -> str:
    """Everything that belongs to a scan lies under this prefix."""
    return f"scans/{scan_id}/"


def source(scan_id: str) -> str:
    """The uploaded bytes, as they came."""
    return f"scans/{scan_id}/source"


def volume_prefix(scan_id: str) -> str:
    """The packed volume for the viewer."""
    return f"scans/{scan_id}/volume/"


def volume_geometry(scan_id: str) -> str:
    """Geometry JSON of the packed volume."""
    return f"scans/{scan_id}/volume/geometry.json"


def volume_block(scan_id: str, block: int) -> str:
    """One gzipped block of int16 HU slices."""
    return f"scans/{scan_id}/volume/{block:04d}.gz"


def analyses_prefix(scan_id: str) -> str:
    """All analyses of a scan."""
    return f"scans/{scan_id}/analyses/"


def analysis_prefix(scan_id: str, analysis_id: str) -> str:
    """What one analysis wrote."""
    return f"scans/{scan_id}/analyses/{analysis_id}/"


def heatmap(scan_id: str, analysis_id: str, lang: str) -> str:
    """The key picture. Words on it differ by language, so there are two."""
    suffix = "" if lang == "ru" else f".{lang}"
    return f"scans/{scan_id}/analyses/{analysis_id}/heatmap{suffix}.png"


def evidence(scan_id: str, analysis_id: str) -> str:
    """The evidence grid with its affine."""
    return f"scans/{scan_id}/analyses/{analysis_id}/evidence.npz"


def upload_prefix(upload_id: str) -> str:
    """Parts of an upload under way."""
    return f"uploads/{upload_id}/"


def upload_part(upload_id: str, number: int) -> str:
    """One part; numbers count from 1."""
    return f"uploads/{upload_id}/{number:05d}"


def worker_note(worker_id: str) -> str:
    """What a living worker says about itself."""
    return f"workers/{worker_id}.json"


def incoming(name: str) -> str:
    """An object that a client put into the bucket for ``/inference/predict``."""
    return f"incoming/{name}"
