"""What a client asks for in Accept and Prefer."""

from __future__ import annotations

from flask import request


def wants_json(other: str = "image/png") -> bool:
    """Whether ``Accept`` names JSON, and before ``other`` (or with a higher quality).

    A wildcard alone is no wish for JSON: the picture is the default answer.
    """
    ranks: dict[str, tuple[float, int]] = {}
    for place, part in enumerate(request.headers.get("Accept", "").split(",")):
        name, *params = (piece.strip().lower() for piece in part.split(";"))
        quality = next((p[2:] for p in params if p.startswith("q=")), "1")
        try:
            ranks.setdefault(name, (-float(quality), place))
        except ValueError:
            continue
    json_rank, other_rank = ranks.get("application/json"), ranks.get(other)
    if json_rank is None or json_rank[0] == 0:
        return False
    return other_rank is None or json_rank < other_rank


def prefers_async() -> bool:
    """Whether ``Prefer`` holds ``respond-async`` (RFC 7240)."""
    wishes = ",".join(request.headers.getlist("Prefer")).lower()
    return any(part.split(";")[0].strip() == "respond-async" for part in wishes.split(","))
