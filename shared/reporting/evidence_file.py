"""The evidence grid as a small file: numpy's npz, compressed, float32, no pickles."""

from __future__ import annotations

import io

import numpy as np

from shared.model.analysis import Analysis, Evidence


def pack(analysis: Analysis) -> bytes:
    """The evidence of an analysis as npz bytes; equal evidence gives equal bytes."""
    evidence = analysis.evidence
    out = io.BytesIO()
    np.savez_compressed(
        out,
        density=evidence.density.astype(np.float32, copy=False),
        affine=evidence.affine.astype(np.float64, copy=False),
        slice_share=evidence.slice_share.astype(np.float64, copy=False),
    )
    return out.getvalue()


def unpack(data: bytes) -> Evidence:
    """The evidence that `pack` wrote; raises ValueError or KeyError for other bytes."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return Evidence(density=arrays["density"], affine=arrays["affine"], slice_share=arrays["slice_share"])
