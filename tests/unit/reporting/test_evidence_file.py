"""The evidence file: small, exact, and the same bytes for the same evidence."""

from __future__ import annotations

import numpy as np
import pytest

from shared.reporting.evidence_file import pack, unpack
from tests.unit.reporting import made


def test_evidence_comes_back_bit_for_bit() -> None:
    analysis = made.analysis(made.volume())
    back = unpack(pack(analysis))
    assert (back.density == analysis.evidence.density).all()
    assert back.density.dtype == np.float32
    assert (back.affine == analysis.evidence.affine).all()
    assert (back.slice_share == analysis.evidence.slice_share).all()


def test_file_is_small_and_repeatable() -> None:
    analysis = made.analysis(made.volume())
    assert pack(analysis) == pack(analysis)
    assert len(pack(analysis)) < 4000


@pytest.mark.parametrize("data", [b"", b"not a file", b"\x80\x04."])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises((ValueError, KeyError, EOFError)):
        unpack(data)
