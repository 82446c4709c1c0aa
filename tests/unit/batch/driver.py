"""``python driver.py predict …``: the real command over a made reader that does what a file's name says.

Children of the pool import this file again, so the made modules stand in every process.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from shared.ct.passport import Passport
from shared.ct.volume import Volume
from shared.errors import Notice, Refusal
from shared.model.analysis import Analysis
from tests.unit.reporting import made


@dataclass
class Series:
    """A series that loads, or does not, by the name of its file."""

    study: Study

    def load(self, *, workers: int = 1, progress: Any = None) -> Volume:
        name = self.study.name
        log = os.environ.get("DRIVER_LOG")
        if log:
            with Path(log).open("a") as stream:
                stream.write(f"{name} {self.study.study_uid}\n")
        match Path(name).stem.split("-")[0]:
            case "hang":
                time.sleep(600)
            case "exits":
                os._exit(7)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "greedy":
                bytearray(8 * 10**9)
            case "bug":
                raise ZeroDivisionError("a fault of ours")
            case "waits":
                gate = Path(os.environ["DRIVER_GATE"])
                while not gate.exists():
                    time.sleep(0.05)
        return made.volume()


@dataclass
class Study:
    """A made study."""

    name: str
    study_uid: str

    @property
    def passport(self) -> Passport:
        refusal = Notice(code="localizer_only") if self.name.startswith("refused") else None
        return made.passport(study_uid=self.study_uid, refusal=refusal)

    @property
    def chosen(self) -> Series:
        if self.name.startswith("refused"):
            raise Refusal("localizer_only")
        return Series(self)


def read_studies(source: Any, **_: Any) -> list[Study]:
    name = Path(source if isinstance(source, str) else source[0]).name
    if name.startswith("broken"):
        raise Refusal("unreadable", what="x")
    if name.startswith("several"):
        return [Study(name, f"1.2.{n}") for n in (3, 1, 2)]
    return [Study(name, f"9.{sum(name.encode())}")]


def analyse(
    volume: Volume, model: Any, *, passport: Any, allow_partial: bool, progress: Any = None
) -> Analysis:
    verdict = "normal" if os.environ.get("DRIVER_NORMAL") else "pathology"
    return made.analysis(volume, verdict=verdict)


def module(name: str, **members: Any) -> None:
    """Put a made module in the place of a real one."""
    one = ModuleType(name)
    vars(one).update(members)
    sys.modules[name] = one


class Model:
    """No model at all."""

    @classmethod
    def shipped(cls, **_: Any) -> Model:
        return cls()


class ModelError(Exception):
    """Never raised."""


module("shared.ct.study", read_studies=read_studies)
module("shared.model.pipeline", analyse=analyse)
module("shared.model.session", Model=Model, ModelError=ModelError)

if __name__ == "__main__":
    import batch.predict
    from batch.cli import main

    # the server that forks the children loads the made modules instead of the heavy real ones
    batch.predict._PRELOAD = ("tests.unit.batch.driver",)
    batch.predict.model_of = lambda folder: made.MODEL
    main(prog_name="./ct")
