"""Which path belongs to which function: one table, for the embedded gateway, nginx and the tests.

A pattern is a regular expression that nginx and Python read alike. The first one that matches decides;
a path that none matches belongs to the page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

Function = Literal["patients", "scans", "analyze", "report"]


@dataclass(frozen=True, slots=True)
class Route:
    """Paths of one function."""

    pattern: str
    function: Function
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiled", re.compile(self.pattern))

    def matches(self, path: str) -> bool:
        """Whether the path belongs here."""
        return self._compiled.search(path) is not None


ROUTES: tuple[Route, ...] = (
    Route(r"^/api/patients(/|$)", "patients"),
    Route(r"^/api/scans/[^/]+/analyze/?$", "analyze"),
    Route(r"^/api/scans/[^/]+/(heatmap\.png|report|report\.pdf)/?$", "report"),
    Route(r"^/api/scans(/|$)", "scans"),
    Route(r"^/api/uploads(/|$)", "scans"),
    Route(r"^/api/limits/?$", "scans"),
    Route(r"^/api/jobs(/|$)", "analyze"),
    Route(r"^/api/reports\.(csv|xlsx)/?$", "report"),
    Route(r"^/inference/predict/?$", "analyze"),
)

#: paths that are the API's even when no function has them: never answered with the page
API_ONLY = re.compile(r"^/(api|inference)(/|$)")


def function_of(path: str) -> Function | None:
    """The function that answers a path (single slashes); None for the page and the router's own paths."""
    return next((route.function for route in ROUTES if route.matches(path)), None)
