"""Files made to break parsers: each class of the known attacks ends in a reason code, soon."""

from __future__ import annotations

import struct
import time
import tracemalloc

import numpy as np
import pytest
from pydicom.uid import RLELossless

from shared.ct.codecs import DecodeError, decode_frame, split_fragments
from shared.ct.decoders import DecoderPool, Job
from shared.ct.dicom import NotDicomError, parse_header
from shared.ct.study import read_studies, read_study
from shared.errors import Refusal
from tests.phantoms import to_bytes, write_study

PART10 = bytes(128) + b"DICM"
META = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00"


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    if vr in (b"SQ", b"OB", b"UN", b"OW"):
        return struct.pack("<HH2sHI", group, number, vr, 0, size) + value
    return struct.pack("<HH2sH", group, number, vr, size) + value


def nested(depth: int) -> bytes:
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    head = struct.pack("<HH2sHI", 0x0009, 0x1001, b"SQ", 0, 0xFFFFFFFF)
    return (head + item) * depth


HOSTILE = {
    "sequences nested without end": nested(50_000),
    "a length beyond the file": element(0x0009, 0x1001, b"UN", b"", 0xFFFFFFF0),
    "a sequence without delimiter": struct.pack("<HH2sHI", 9, 0x1001, b"SQ", 0, 0xFFFFFFFF) + bytes(9000),
    "zeros": bytes(100_000),
    "odd VRs": b"\x09\x00\x01\x10ZZ\x04\x00abcd" * 5000,
    "an item outside a sequence": struct.pack("<HHI", 0xFFFE, 0xE000, 8) * 1000,
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_header_ends_soon_and_small(tmp_path, body):
    path = tmp_path / "a"
    path.write_bytes(PART10 + META + element(8, 0x60, b"CS", b"CT") + body)
    begun = time.process_time()
    with pytest.raises(Refusal):
        read_study(path).chosen.load()
    assert time.process_time() - begun < 5


def test_dimensions_larger_than_the_file_take_no_memory(tmp_path):
    def edit(ds, k):
        ds.Rows, ds.Columns = 8000, 8000
        return ds

    truth = write_study(tmp_path / "a", slices=12, matrix=32, spacing=(5.0, 12.0, 12.0), edit=edit)
    tracemalloc.start()
    with pytest.raises(Refusal) as caught:
        read_study(truth.path).chosen.load()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code == "unreadable_pixels"
    assert peak < 100e6


def test_frames_beyond_reason_are_refused(tmp_path):
    def edit(ds, k):
        ds.NumberOfFrames = 2_000_000_000
        return ds

    truth = write_study(tmp_path / "a", slices=12, matrix=32, spacing=(5.0, 12.0, 12.0), edit=edit)
    with pytest.raises(Refusal):
        read_study(truth.path).chosen.load()


def test_a_dicomdir_that_points_outside_is_not_followed(tmp_path):
    truth = write_study(tmp_path / "a", slices=12, matrix=32, spacing=(5.0, 12.0, 12.0))
    media = b"\x02\x00\x02\x00UI\x14\x001.2.840.10008.1.3.10"
    records = element(4, 0x1500, b"CS", b"..\\..\\..\\ETC\\PASSWD ")
    (truth.path / "DICOMDIR").write_bytes(PART10 + media + META + records)
    (study,) = read_studies(truth.path)
    assert study.passport.n_slices == 12


def test_a_codestream_of_another_size_never_reaches_its_decoder():
    frame = (
        b"\xff\xd8\xff\xc3\x00\x0b\x10" + struct.pack(">HH", 65000, 65000) + b"\x01\x01\x11\x00" + bytes(50)
    )
    with pytest.raises(DecodeError, match="another size"):
        decode_frame("1.2.840.10008.1.2.4.70", frame, 64, 64, 16)


@pytest.mark.parametrize(
    "frame", [b"", b"\xff\xd8", b"\xff\x4f\xff\x51" + bytes(60), bytes(64), b"\x01" * 90]
)
def test_damaged_frames_are_errors_and_nothing_else(frame):
    for syntax in ("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90", ""):
        with pytest.raises(DecodeError):
            decode_frame(syntax, frame, 64, 64, 16)


@pytest.mark.parametrize("data", [b"", bytes(8), struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)])
def test_damaged_fragments_are_errors(data):
    with pytest.raises(DecodeError):
        split_fragments(data, 1)


def test_a_decoder_that_hangs_or_dies_costs_one_slice():
    good = np.arange(64 * 64, dtype="<u2")
    from pydicom.pixels.encoders import RLELosslessEncoder

    frame = RLELosslessEncoder.encode(
        good.tobytes(), rows=64, columns=64, bits_allocated=16, bits_stored=16, samples_per_pixel=1,
        pixel_representation=0, photometric_interpretation="MONOCHROME2", number_of_frames=1,
    )  # fmt: skip
    with DecoderPool(2) as pool:
        jobs = [Job(k, RLELossless, frame if k else b"\x01" * 99, 64, 64, 16) for k in range(20)]
        results = dict(pool.run(jobs))
    assert isinstance(results[0], str)
    assert all(np.array_equal(results[k], good) for k in range(1, 20))


def test_random_bytes_are_no_dicom():
    rng = np.random.default_rng(5)
    for _ in range(300):
        data = PART10 + rng.bytes(int(rng.integers(0, 400)))
        try:
            parse_header(data, complete=True)
        except NotDicomError:
            continue


def test_a_file_with_wrong_checksum_is_not_trusted(tmp_path):
    truth = write_study(tmp_path / "a.zip", slices=12, matrix=32, spacing=(5.0, 12.0, 12.0), compression=0)
    data = bytearray(truth.path.read_bytes())
    at = data.find(b"\xe0\x7f\x10\x00") + 600
    data[at] ^= 0x40
    truth.path.write_bytes(data)
    passport = read_study(truth.path).passport
    assert passport.n_slices == 11
    assert "files_unreadable" in [w.code for w in passport.warnings]


def test_header_bytes_survive_a_roundtrip_of_bits():
    from tests.phantoms import cached_chest, datasets

    data = to_bytes(next(iter(datasets(cached_chest((3, 32, 32), (5.0, 12.0, 12.0))))))
    rng = np.random.default_rng(7)
    for _ in range(400):
        broken = bytearray(data[:1500])
        for at in rng.integers(132, len(broken), 4):
            broken[at] ^= 1 << int(rng.integers(8))
        try:
            header = parse_header(bytes(broken), complete=True)
        except NotDicomError:
            continue
        header.integer("Rows")
        header.floats("ImagePositionPatient", 3)
        header.text("SeriesDescription")
