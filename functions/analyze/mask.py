"""The seed's mask: a black and white picture of the decisive slice, white where there is evidence."""

from __future__ import annotations

import io

from shared import keys
from shared.documents import AnalysisDoc
from shared.stores.protocols import BlobStore


def mask_png(blobs: BlobStore, scan_id: str, analysis: AnalysisDoc) -> bytes:
    """PNG with the decisive slice's rows and columns: 255 where the key picture shows heat, else 0."""
    import numpy as np
    from PIL import Image

    from shared.reporting.evidence_file import unpack
    from shared.reporting.heat import colours, density_on_slice

    volume, decisive = analysis.passport.volume, analysis.decisive_slice
    if volume is None or decisive is None:
        nz, ny, nx = volume.shape if volume else (1, 1, 1)
        mask = np.zeros((ny, nx), dtype=np.uint8)
    else:
        nz, ny, nx = volume.shape
        evidence = unpack(blobs.get(keys.evidence(scan_id, analysis.id)))
        affine = np.asarray(volume.affine_lps, dtype=np.float64)
        _, opacity = colours(density_on_slice(evidence, affine, (nz, ny, nx), decisive.index))
        mask = np.where(opacity > 0, 255, 0).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    return out.getvalue()
