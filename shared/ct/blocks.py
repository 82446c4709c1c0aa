"""The volume in blocks of slices for the viewer: gzip level 1 of int16 little-endian, (z, y, x)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from isal import igzip, isal_zlib

from shared.ct.volume import Volume

#: slices in a block: about 4 MB of a 512 x 512 study before compression
BLOCK_DEPTH = 8


def block_order(planes: int, depth: int = BLOCK_DEPTH) -> list[int]:
    """Numbers of the blocks, the middle one first and then outward: the order of packing."""
    count = -(-planes // depth)
    middle = count // 2
    return sorted(range(count), key=lambda block: (abs(block - middle), block))


def pack_blocks(volume: Volume, depth: int = BLOCK_DEPTH) -> Iterator[tuple[int, bytes]]:
    """Blocks of ``depth`` slices (the last one may be shorter) with their numbers, middle first.

    Block ``n`` holds the slices from ``n * depth`` on.
    """
    for block in block_order(volume.shape[0], depth):
        slices = volume.hu[block * depth : (block + 1) * depth]
        yield block, igzip.compress(np.ascontiguousarray(slices, "<i2").tobytes(), 1)


def unpack_block(data: bytes, plane_shape: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.int16]]:
    """The slices of a block, shape (z, rows, columns)."""
    values = np.frombuffer(isal_zlib.decompress(data, 31), "<i2").astype(np.int16, copy=False)
    return values.reshape(-1, *plane_shape)


def geometry(volume: Volume, depth: int = BLOCK_DEPTH) -> dict[str, Any]:
    """What the viewer needs to place the blocks; lengths in mm, axes z, y, x, affine (x, y, z) to LPS."""
    order = block_order(volume.shape[0], depth)
    return {
        "shape": list(volume.shape),
        "spacing_mm": list(volume.spacing_mm),
        "affine_lps": volume.affine.tolist(),
        "block_depth": depth,
        "blocks": len(order),
        "order": order,
        "dtype": "int16",
    }
