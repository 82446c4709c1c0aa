"""Mutated studies through the reader: ``python -m tests.fuzz.run_fuzz SOURCE… [--count N] [--seed S]``.

Every input must end with a volume or a `Refusal`, within the time limit. Anything else is printed
with the seed that makes it again, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.ct.archive import open_upload
from shared.ct.nifti import load_nifti
from shared.ct.pixels import load_stack
from shared.ct.study import read_studies
from shared.errors import Refusal
from tests.phantoms import write_files

#: seconds that one input may take on a quiet machine
LIMIT_S = 10.0
#: files of a study that are changed together
MAX_FILES = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an input ended with."""

    what: str
    seconds: float
    fault: str = ""


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One fault of the kinds that happen or are made: flips, cuts, repeats, numbers, lengths."""
    if not data:
        return data
    out = bytearray(data)
    # faults in headers are the more interesting ones
    reach = len(out) if rng.random() < 0.3 else min(len(out), 3000)
    at = int(rng.integers(reach))
    kind = int(rng.integers(7))
    if kind == 0:
        for k in rng.integers(reach, size=int(rng.integers(1, 9))):
            out[int(k)] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del out[at:]
    elif kind == 2:
        del out[at : at + int(rng.integers(1, 64))]
    elif kind == 3:
        out[at:at] = rng.bytes(int(rng.integers(1, 64)))
    elif kind == 4:
        out[at : at + 4] = (0xFFFFFFFF - int(rng.integers(3))).to_bytes(4, "little")
    elif kind == 5:
        out[at : at + 2] = int(rng.choice([0, 1, 255, 32767, 65535])).to_bytes(2, "little")
    else:
        span = int(rng.integers(1, 512))
        out[at:at] = out[at : at + span]
    return bytes(out)


def mutants(source: Path, count: int, seed: int, folder: Path) -> Iterator[tuple[int, Path]]:
    """Write ``count`` mutants of an upload, half of them as damaged containers."""
    whole = source.read_bytes() if source.is_file() else b""
    files = [e.read(0, e.size) for e, _, _ in open_upload(source).entries[:MAX_FILES]]
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        target = folder / f"{k}.zip"
        if whole and k % 4 == 0:
            target.write_bytes(mutate(whole, rng))
        else:
            changed = list(files)
            share = rng.choice([0.02, 0.2, 1.0])
            for n in range(len(changed)):
                if rng.random() < share:
                    changed[n] = mutate(changed[n], rng)
            write_files(target, changed, compression=0)
        yield k, target
        target.unlink()


def try_one(path: Path) -> Outcome:
    """Read ``path`` and decode what was chosen."""
    begun = time.process_time()
    try:
        for study in read_studies(path):
            series = study.chosen
            if series.stack is not None:
                load_stack(series.stack)
            elif series.nifti is not None:
                load_nifti(series.nifti)
        what, fault = "volume", ""
    except Refusal as refusal:
        what, fault = refusal.code, ""
    except Exception:
        what, fault = "crash", traceback.format_exc()
    seconds = time.process_time() - begun
    if seconds > LIMIT_S and not fault:
        what, fault = "slow", f"{seconds:.1f} s"
    return Outcome(what, seconds, fault)


def run(sources: Sequence[Path], count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Try ``count`` mutants of every source; outcomes, and faults in words."""
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for source in sources:
            try:
                for k, path in mutants(source, count, seed, Path(folder)):
                    outcome = try_one(path)
                    outcomes[outcome.what] += 1
                    if outcome.fault:
                        faults.append(f"{source.name} seed {seed} mutant {k}: {outcome.fault}")
            except Refusal as refusal:
                outcomes[f"source {refusal.code}"] += 1
    return outcomes, faults


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=100, help="mutants of every source")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    outcomes, faults = run(args.sources, args.count, args.seed)
    for what, number in outcomes.most_common():
        print(f"{number:7d}  {what}")
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
