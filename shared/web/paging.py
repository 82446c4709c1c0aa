"""The list form of the API: ``{items, total, limit, offset}``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from shared.errors import Problem

T = TypeVar("T")


class PageQuery(BaseModel):
    """Which part of a list is asked for."""

    limit: int = Field(20, ge=1, le=200, description="How many items, 1 to 200.")
    offset: int = Field(0, ge=0, le=10_000_000, description="How many items to skip.")


class Page(BaseModel, Generic[T]):
    """One part of a list; ``total`` counts what matches, not what is shown."""

    items: Sequence[T]
    total: int
    limit: int
    offset: int


def parse_sort(text: str, allowed: Sequence[str]) -> list[tuple[str, Literal["asc", "desc"]]]:
    """``-created_at,verdict`` → sort keys; raises `Problem` ``bad_request`` for another field."""
    keys: list[tuple[str, Literal["asc", "desc"]]] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        name = part.removeprefix("-")
        if name not in allowed:
            raise Problem("bad_request", what="sort", fields={"sort": ", ".join(allowed)})
        keys.append((name, "desc" if part.startswith("-") else "asc"))
    return keys
