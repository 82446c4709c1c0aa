"""``python -m tests.bench [--slices 300] [--times 3] [--work DIR] [--write]``: the performance table.

Every goal is a ratio against something measured in the same run, or CPU seconds and peak memory.
``--write`` keeps the table in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import service, work
from tests.bench.steps import COMPRESSED

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Measured:
    """The best of several runs, each in a fresh process: seconds and MB."""

    wall: float
    cpu: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    number: str
    step: str
    compared: str
    ours: str
    goal: str
    met: bool | None


class Bench:
    """Runs steps over one folder of work."""

    def __init__(self, folder: Path, times: int) -> None:
        self.folder = folder
        self.times = times

    def step(self, name: str) -> Measured:
        """A step of `tests.bench.steps`."""
        runs = []
        for _ in range(self.times):
            done = subprocess.run(
                [sys.executable, "-m", "tests.bench.steps", name, str(self.folder)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
            runs.append(json.loads(done.stdout.splitlines()[-1]))
        return Measured(*(min(run[key] for run in runs) for key in ("wall", "cpu", "peak_mb")))

    def reading(self) -> Iterator[Row]:
        """Rows 1 to 4: headers and volumes against pydicom and SimpleITK."""
        theirs, ours = self.step("headers_pydicom"), self.step("headers_ours")
        yield _ratio("1", "headers, series chosen", "pydicom, headers", theirs, ours, 1.1)
        plain, theirs, ours = (self.step(f"volume_{who}") for who in ("pydicom", "simpleitk", "ours"))
        yield _ratio("2", "loose files → int16 HU volume", "SimpleITK", theirs, ours, 0.5)
        yield _ratio("2", "the same", "pydicom, float, stack", plain, ours, None)
        theirs, ours = self.step("zip_simpleitk"), self.step("zip_ours")
        yield _ratio("3", "zip (deflate) → volume", "unzip to disk + SimpleITK", theirs, ours, 0.6)
        stored = self.step("stored_ours")
        stored_text = f"{stored.cpu:.2f} CPU-s, {stored.wall:.2f} s, {stored.peak_mb:.0f} MB"
        yield Row("3", "zip (stored) → volume", "", stored_text, "", None)
        for name in COMPRESSED:
            one, two = self.step(f"{name}_1"), self.step(f"{name}_2")
            # the CPU time of pool processes is not ours to read; the gain in time is
            gain = one.wall / two.wall
            yield Row(
                "4",
                f"{name} → volume, 2 processes",
                f"1 process: {one.wall:.2f} s",
                f"{two.wall:.2f} s: {gain:.2f} ×",
                "≥ 1.7 ×, quiet machine",
                gain >= 1.7,
            )

    def verdict(self) -> Iterator[Row]:
        """Rows 5 and 6."""
        one = self.step("verdict")
        yield Row("5", "verdict, from the zip", "", f"{one.cpu:.1f} CPU-s", "≤ 6 CPU-s", one.cpu <= 6)
        yield Row("5", "the same", "", f"{one.wall:.1f} s wall", "≤ 3 s, quiet machine", one.wall <= 3)
        yield Row("6", "peak memory of it", "", f"{one.peak_mb:.0f} MB", "≤ 700 MB", one.peak_mb <= 700)

    def serving(self) -> Iterator[Row]:
        """Rows 7 and 12."""
        one = service.upload(self.folder, 500)
        share = one["raw_seconds"] / one["seconds"]
        yield Row(
            "7",
            "upload of 500 MB: speed",
            f"raw loopback, hashed and written: {one['raw_seconds']:.2f} s",
            f"{one['seconds']:.2f} s: {share:.2f} of raw",
            "≥ 0.7 of raw",
            share >= 0.7,
        )
        over = one["over_idle_mb"]
        idle = f"idle {one['idle_mb']:.0f} MB"
        yield Row("7", "the same: memory", idle, f"{over:+.0f} MB", "≤ 64 MB over idle", over <= 64)
        with service.gunicorn("localstack.gateway:create_gateway()", self.folder / "data") as (_, _, ready):
            yield Row("12", "service ready", "", f"{ready:.1f} s", "≤ 3 s", ready <= 3)
        with service.gunicorn("functions.patients.app:create_app()", self.folder / "data") as (_, pid, _):
            rss = service.memory_mb(pid, "VmRSS")
            yield Row("12", "memory of the patients function", "", f"{rss:.0f} MB", "≤ 60 MB", rss <= 60)

    def batch(self) -> Iterator[Row]:
        """Row 10: four studies, one worker and then two."""
        seconds = []
        sources = [str(self.folder / "deflate.zip")]
        for k in range(3):
            copy = self.folder / f"copy-{k}.zip"
            copy.unlink(missing_ok=True)
            os.link(sources[0], copy)
            sources.append(str(copy))
        for workers in ("1", "2"):
            table = self.folder / f"table-{workers}.csv"
            table.unlink(missing_ok=True)
            command = [sys.executable, "-m", "batch", "predict", *sources]
            started = time.perf_counter()
            done = subprocess.run(
                [*command, "--out", str(table), "--workers", workers],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            seconds.append(time.perf_counter() - started)
            if done.returncode not in (0, 3):
                raise RuntimeError(done.stderr[-2000:])
        gain, cores = seconds[0] / seconds[1], min(2, os.cpu_count() or 1)
        yield Row(
            "10",
            "batch predict, 4 studies, 2 workers",
            f"1 worker: {seconds[0]:.1f} s",
            f"{seconds[1]:.1f} s: {gain:.2f} ×",
            f"≥ {0.9 * cores:.1f} ×",
            gain >= 0.9 * cores,
        )


def _ratio(number: str, step: str, who: str, theirs: Measured, ours: Measured, goal: float | None) -> Row:
    """Judged by CPU seconds: the wall clock belongs to the neighbours too."""
    ratio = ours.cpu / theirs.cpu
    texts = [f"{one.cpu:.2f} CPU-s, {one.wall:.2f} s, {one.peak_mb:.0f} MB" for one in (theirs, ours)]
    return Row(
        number,
        step,
        f"{who}: {texts[0]}",
        f"{texts[1]}: {ratio:.2f} ×",
        "" if goal is None else f"≤ {goal} ×",
        None if goal is None else ratio <= goal,
    )


def machine() -> str:
    """The machine in one line."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; load before the run {load:.1f}"
    )


def render(rows: list[Row], slices: int, times: int, where: str) -> str:
    """The table as Markdown."""
    marks = {True: "yes", False: "**no**", None: ""}
    lines = [
        "# Benchmarks",
        "",
        f"{datetime.date.today().isoformat()}, {where}.",
        "",
        f"Work: a synthetic chest of {slices} slices of 512 × 512 with scanner-like noise. Each step runs "
        f"in a fresh process, imports not counted; the best of {times} runs. Ratios are of CPU seconds: "
        "other work on the machine slows the wall clock. "
        "Made by `python -m tests.bench --write`.",
        "",
        "| # | step | compared with | ours | goal | met |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.number} | {row.step} | {row.compared} | {row.ours} | {row.goal} | {marks[row.met]} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder to keep the work in")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args()
    where = machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        work.make(folder, options.slices)
        bench = Bench(folder, options.times)
        rows: list[Row] = []
        parts: list[Callable[[], Iterator[Row]]] = [bench.reading, bench.verdict, bench.batch, bench.serving]
        for part in parts:
            for row in part():
                rows.append(row)
                print(
                    f"{row.number:>3}  {row.step:38} {row.compared:66} {row.ours:44} {row.goal}", flush=True
                )
    where += f", after it {os.getloadavg()[0]:.1f}"
    text = render(rows, options.slices, options.times, where)
    if options.write:
        (ROOT / "docs" / "benchmarks.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
