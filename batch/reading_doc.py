"""Fills the generated parts of ``docs/reading.md``: ``python -m batch.reading_doc`` rewrites them in place.

Limits, the order of the choice and the reasons come from the code; a test holds the file to them.
"""

from __future__ import annotations

import re
from pathlib import Path

from shared.ct.archive import Limits
from shared.ct.choice import COMPARATORS
from shared.ct.decoders import CHILD_MEMORY_MB, FRAME_SECONDS
from shared.ct.geometry import MAX_HOLE_MM, MAX_STEP_MM
from shared.ct.stack import MAX_REFORMAT_STEP_MM
from shared.errors import REASONS

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "reading.md"
#: what stands between these marks is generated
_PART = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def parts() -> dict[str, str]:
    """The generated parts by name."""
    limits = Limits()
    return {
        "choice": "\n".join(
            f"{n}. {name.replace('_', ' ')} loses" for n, (name, _) in enumerate(COMPARATORS, 1)
        )
        + f"\n{len(COMPARATORS) + 1}. the lower UID wins",
        "limits": "\n".join(
            (
                "| limit | value |",
                "|---|---|",
                f"| files | {limits.max_entries} |",
                f"| unpacked | {limits.max_unpacked_bytes // 10**6} MB |",
                f"| ratio of a file above {limits.ratio_free_bytes // 10**6} MB | {limits.max_ratio:g} |",
                f"| archives inside the archive | {limits.max_depth} level |",
                f"| memory of a decoder | {CHILD_MEMORY_MB} MB |",
                f"| time of a frame | {FRAME_SECONDS:g} s |",
                f"| hole that is filled | {MAX_HOLE_MM:g} mm, or one slice |",
                f"| step | {MAX_STEP_MM:g} mm |",
                f"| step of a reformat | {MAX_REFORMAT_STEP_MM:g} mm |",
            )
        ),
        "reasons": _reasons(),
    }


def _reasons() -> str:
    lines = ["| code | kind | what happened | what to do |", "|---|---|---|---|"]
    for code, row in REASONS.items():
        if row.kind != "problem":
            words = (row.en, row.en_way_out)
            lines.append(f"| `{code}` | {row.kind} | " + " | ".join(_shown(w) for w in words) + " |")
    return "\n".join(lines)


def _shown(words: str) -> str:
    return re.sub(r"\{(\w+)\}", r"*\1*", words).replace("|", "\\|")


def filled(text: str) -> str:
    """``text`` with its generated parts as the code has them now."""
    made = parts()
    return _PART.sub(lambda found: f"{found[1]}{made[found[2]]}\n{found[3]}", text)


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text("utf-8")), "utf-8")
