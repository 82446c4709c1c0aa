"""Compressed frames decoded in child processes, under a memory limit and a wall clock.

Decoders are C code that reads hostile input: they run where a crash costs one slice. A child is a
plain Python that imports numpy and the decoders; it reads jobs from its standard input and writes
samples to its standard output. Processes, not threads: every core decodes.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from shared.ct.codecs import DecodeError, decode_frame

#: address space of a child, MB: interpreter and decoders take about 400
CHILD_MEMORY_MB = 1500
#: the longest that one frame may take, seconds
FRAME_SECONDS = 20.0
#: below this many frames a second child would cost more than it brings
FRAMES_PER_CHILD = 12
_JOB = struct.Struct("<IIIIII")
_RESULT = struct.Struct("<IBBQ")
_ROOT = str(Path(__file__).resolve().parents[2])
_START = "import sys; sys.path.insert(0, sys.argv[1]); from shared.ct.decoders import serve; serve()"
_TYPES = ("<u1", "<i1", "<u2", "<i2", "<u4", "<i4")


@dataclass(frozen=True, slots=True)
class Job:
    """One compressed frame."""

    key: int
    transfer_syntax: str
    data: bytes
    rows: int
    columns: int
    bits_allocated: int


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    job: Job | None = None
    started: float = 0.0
    received: bytearray = field(default_factory=bytearray)


class DecoderPool:
    """Child processes that decode; use it as a context manager.

    Parameters
    ----------
    workers : int
        Children at most. They start when there is work for them.
    """

    def __init__(
        self, workers: int, *, memory_mb: int = CHILD_MEMORY_MB, frame_seconds: float = FRAME_SECONDS
    ) -> None:
        self._workers = max(1, workers)
        self._memory_mb = memory_mb
        self._seconds = frame_seconds
        self._children: list[_Child] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            self._end(child)
        self._selector.close()

    def run(self, jobs: Iterable[Job | tuple[int, str]]) -> Iterator[tuple[int, NDArray[np.integer] | str]]:
        """Decode ``jobs``; results come in any order, as samples or as the reason of a failure.

        A job that could not even be read stands in ``jobs`` as its key and the reason.
        """
        waiting = iter(jobs)
        given = 0
        ended = False
        while True:
            while not ended and (child := self._free(given)) is not None:
                job = next(waiting, None)
                if job is None:
                    ended = True
                elif isinstance(job, tuple):
                    yield job
                else:
                    given += 1
                    self._send(child, job)
            if not any(child.job for child in self._children):
                if ended:
                    return
                continue
            yield from self._collect()

    def _free(self, given: int) -> _Child | None:
        for child in self._children:
            if child.job is None:
                return child
        if len(self._children) < min(self._workers, 1 + given // FRAMES_PER_CHILD):
            return self._start()
        return None

    def _start(self) -> _Child:
        process = subprocess.Popen(
            [sys.executable, "-E", "-s", "-c", _START, _ROOT, str(self._memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        child = _Child(process)
        self._children.append(child)
        assert process.stdout is not None  # noqa: S101
        self._selector.register(process.stdout, selectors.EVENT_READ, child)
        return child

    def _send(self, child: _Child, job: Job) -> None:
        child.job, child.started = job, time.monotonic()
        child.received.clear()
        name = job.transfer_syntax.encode("latin-1", "replace")[:64]
        head = _JOB.pack(job.key, len(name), len(job.data), job.rows, job.columns, job.bits_allocated)
        assert child.process.stdin is not None  # noqa: S101
        # a child that died shows when its output ends
        with contextlib.suppress(OSError):
            child.process.stdin.write(head + name + job.data)
            child.process.stdin.flush()

    def _collect(self) -> Iterator[tuple[int, NDArray[np.integer] | str]]:
        """Read what children have written; end those that take too long."""
        for key, _ in self._selector.select(timeout=0.5):
            child: _Child = key.data
            chunk = os.read(key.fd, 1 << 20)
            if not chunk:
                yield from self._lost(child, "the decoder crashed")
                continue
            child.received += chunk
            result = _parse(child.received)
            if result is not None and child.job is not None:
                job, child.job = child.job, None
                yield job.key, result
        now = time.monotonic()
        for child in [c for c in self._children if c.job and now - c.started > self._seconds]:
            yield from self._lost(child, "the decoder took too long")

    def _lost(self, child: _Child, why: str) -> Iterator[tuple[int, str]]:
        self._children.remove(child)
        self._end(child)
        if child.job is not None:
            yield child.job.key, why

    def _end(self, child: _Child) -> None:
        process = child.process
        assert process.stdout is not None and process.stdin is not None  # noqa: S101
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(process.stdout)
        process.kill()
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        process.wait()


def _parse(received: bytearray) -> NDArray[np.integer] | str | None:
    """A whole answer of a child, or None while a part is missing."""
    if len(received) < _RESULT.size:
        return None
    _, status, kind, length = _RESULT.unpack_from(received)
    if len(received) < _RESULT.size + length:
        return None
    body = bytes(memoryview(received)[_RESULT.size : _RESULT.size + length])
    if status:
        return body.decode("utf-8", "replace")
    return np.frombuffer(body, _TYPES[kind])


def serve() -> None:
    """The child: decode until the input ends."""
    limit = int(sys.argv[2]) << 20
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        head = source.read(_JOB.size)
        if len(head) < _JOB.size:
            return
        key, name_length, data_length, rows, columns, bits = _JOB.unpack(head)
        name = source.read(name_length).decode("latin-1")
        data = source.read(data_length)
        try:
            values = decode_frame(name, data, rows, columns, bits)
            kind = _TYPES.index(f"<{values.dtype.kind}{values.dtype.itemsize}")
            body = np.ascontiguousarray(values).tobytes()
            sink.write(_RESULT.pack(key, 0, kind, len(body)) + body)
        except (DecodeError, ValueError, MemoryError) as error:
            words = str(error).encode() or b"out of memory"
            sink.write(_RESULT.pack(key, 1, 0, len(words)) + words)
        sink.flush()
