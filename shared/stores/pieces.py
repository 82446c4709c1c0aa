"""The bytes of a blob, piece by piece, from whatever can be read and closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

#: bytes in one piece
PIECE = 1 << 20


class Pieces(Iterator[bytes]):
    """Reads up to ``length`` bytes and closes the source at the end, at an error, or when told to.

    A class and not a generator: ``close()`` of a generator that was never started closes nothing.
    """

    def __init__(
        self, read: Callable[[int], bytes], close: Callable[[], None], length: int | None = None
    ) -> None:
        self._read = read
        self._close = close
        self._left = length

    def __next__(self) -> bytes:
        """The next piece, never empty."""
        wanted = PIECE if self._left is None else min(PIECE, self._left)
        try:
            piece = self._read(wanted) if wanted else b""
        except BaseException:
            self.close()
            raise
        if not piece:
            self.close()
            raise StopIteration
        if self._left is not None:
            self._left -= len(piece)
        return piece

    def close(self) -> None:
        """Close the source; safe to repeat."""
        self._left = 0
        self._close()
