"""Studies with one thing wrong, as scanners, exports and archives write them.

Each test is a kind of fault; the volume must equal the truth voxel for voxel, or the refusal must
carry the right code. Lungs are looked for elsewhere: these tests stop at the decoded volume.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from shared.ct.pixels import Loaded, load_stack
from shared.ct.study import Study, read_studies, read_study
from shared.errors import Refusal
from tests.phantoms import (
    POSITIONS,
    Truth,
    cached_chest,
    datasets,
    to_bytes,
    uid_of,
    write_files,
    write_study,
)

SLICES = 24


def decode(study: Study) -> Loaded:
    stack = study.chosen.stack
    assert stack is not None
    return load_stack(stack)


def write(path: Path, edit=None, **options) -> Truth:
    return write_study(path, slices=SLICES, matrix=64, spacing=(5.0, 6.0, 6.0), edit=edit, **options)


def assert_true(loaded: Loaded, truth: Truth, *, tolerance: int = 0) -> None:
    """Same voxels, same places."""
    volume = loaded.volume
    assert volume.shape == truth.volume.shape
    np.testing.assert_allclose(volume.affine, truth.affine, atol=2e-3)
    difference = np.abs(volume.hu.astype(int) - truth.volume.hu)
    assert difference.max() <= tolerance


def codes(study: Study) -> list[str]:
    return [w.code for w in study.passport.warnings]


# ── the same volume, written in another way ─────────────────────────────────────────────────


@pytest.mark.parametrize("position", POSITIONS)
def test_every_patient_position_gives_the_same_volume(tmp_path, position):
    truth = write(tmp_path / "a", position=position)
    assert_true(decode(read_study(truth.path)), truth)


@pytest.mark.parametrize(
    "transfer_syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEG2000Lossless, "1.2.840.10008.1.2.1.99"],
    ids=lambda uid: UID(uid).name,
)
def test_every_transfer_syntax_gives_the_same_volume(tmp_path, transfer_syntax):
    def edit(ds, k):
        if transfer_syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        return ds

    truth = write(tmp_path / "a.zip", edit, transfer_syntax=transfer_syntax)
    assert_true(decode(read_study(truth.path)), truth)


def stored_as(ds: Dataset, hu: np.ndarray, *, bits: int, signed: bool, slope=1.0, intercept=0.0) -> Dataset:
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.PixelRepresentation = int(signed)
    values = np.rint((hu - intercept) / slope).astype(np.int64) & ((1 << bits) - 1)
    ds.PixelData = values.astype("<u2").tobytes()
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    return ds


def hu_of(ds: Dataset) -> np.ndarray:
    values = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
    return values.astype(np.int32) - 1024


def _per_slice(ds, k):
    return stored_as(ds, hu_of(ds), bits=16, signed=True, intercept=-1024 - 37 * (k % 5), slope=1)


def _fraction(ds, k):
    return stored_as(ds, hu_of(ds), bits=16, signed=False, slope=0.25, intercept=-1024)


def _signed12(ds, k):
    return stored_as(ds, np.minimum(hu_of(ds), 2047), bits=12, signed=True)


def _overlay_bits(ds, k):
    values = np.frombuffer(ds.PixelData, "<u2").copy().reshape(ds.Rows, ds.Columns)
    values[5:40, 5:40] |= 0xA000
    ds.PixelData = values.tobytes()
    return ds


def _high_bit(ds, k):
    values = np.frombuffer(ds.PixelData, "<u2").copy()
    ds.PixelData = (values << 4).tobytes()
    ds.HighBit = 15
    return ds


def _thirty_two_bits(ds, k):
    hu = hu_of(ds)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 32, 32, 31, 1
    ds.PixelData = hu.astype("<i4").tobytes()
    ds.RescaleIntercept = 0
    return ds


def _padding_signed(value, tag_vr="SS"):
    def edit(ds, k):
        hu = hu_of(ds)
        y, x = np.ogrid[-1:1:64j, -1:1:64j]
        outside = x * x + y * y > 1
        stored = np.where(outside, value, hu + 1024)
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 15, int(tag_vr == "SS")
        ds.PixelData = stored.astype(np.int32).astype("<u2" if tag_vr == "US" else "<i2").tobytes()
        ds.add_new(0x00280120, tag_vr, value if tag_vr == "SS" else value % 65536)
        return ds

    return edit


def _padding_untagged(ds, k):
    _padding_signed(-1024)(ds, k)
    del ds[0x00280120]
    return ds


def _no_rescale_but_hu(ds, k):
    stored_as(ds, hu_of(ds), bits=16, signed=True)
    del ds.RescaleSlope, ds.RescaleIntercept
    return ds


def _empty_rescale(ds, k):
    stored_as(ds, hu_of(ds), bits=16, signed=True)
    ds.RescaleSlope = ds.RescaleIntercept = None
    return ds


def _no_slope(ds, k):
    del ds.RescaleSlope
    return ds


def _zero_slope(ds, k):
    ds.RescaleSlope = 0
    return ds


def _some_without_rescale(ds, k):
    if k % 7 == 3:
        del ds.RescaleSlope, ds.RescaleIntercept
    return ds


def _monochrome1(ds, k):
    ds.PhotometricInterpretation = "MONOCHROME1"
    return ds


def _instances_lie(ds, k):
    ds.InstanceNumber = 1
    ds.SliceLocation = -float(ds.SliceLocation)
    return ds


def _spacing_lies(ds, k):
    ds.SpacingBetweenSlices = -5
    ds.SliceThickness = 8
    return ds


def _one_sop_uid(ds, k):
    ds.SOPInstanceUID = "1.2.3"
    return ds


def _no_uids(ds, k):
    ds.StudyInstanceUID = ds.SeriesInstanceUID = ds.SOPInstanceUID = ""
    ds.PatientID = ds.PatientName = ""
    return ds


def _uuid_uids(ds, k):
    ds.add_new(0x0020000D, "LO", "7cb2fd91-1f8f-4ee2-93b0-5b1ab87d3c68")
    ds.add_new(0x0020000E, "LO", "1f0a19cf-73a0-4a85-a0a2-5bc98a1c3ffa")
    return ds


def _text_vrs(ds, k):
    ds.add_new(0x00280010, "IS", str(ds.Rows))
    ds.add_new(0x00200013, "LO", f"{k}.0")
    return ds


def _binary_vrs(ds, k):
    ds.add_new(0x00280030, "FD", [6.0, 6.0])
    ds.add_new(0x00200032, "FL", [float(v) for v in ds.ImagePositionPatient])
    return ds


def _deep_private(ds, k):
    inner = Dataset()
    inner.add_new(0x00091001, "LO", "deep")
    for _ in range(12):
        outer = Dataset()
        outer.add_new(0x00091002, "SQ", Sequence([inner]))
        outer["00091002"].is_undefined_length = True
        inner = outer
    ds.add_new(0x00090010, "LO", "SYNTHETIC")
    ds.add_new(0x00091003, "SQ", Sequence([inner]))
    ds["00091003"].is_undefined_length = True
    ds.add_new(0x00091004, "OB", bytes(200_000))
    return ds


def _excess_pixels(ds, k):
    ds.PixelData += bytes(512)
    return ds


def _no_modality(ds, k):
    del ds.Modality
    return ds


def _acquisition_each(ds, k):
    ds.AcquisitionNumber = k
    return ds


def _two_slabs(ds, k):
    ds.AcquisitionNumber = 1 + (k >= SLICES // 2)
    return ds


def _localizer_words_in_protocol(ds, k):
    ds.ProtocolName = "Topogram + Thorax"
    return ds


SAME_VOLUME = {
    "rescale of its own in every slice": _per_slice,
    "slope of a quarter": _fraction,
    "signed 12 bits without sign extension": _signed12,
    "overlay in unused bits": _overlay_bits,
    "value in the upper bits": _high_bit,
    "32 bits": _thirty_two_bits,
    "padding below the scale": _padding_signed(-2000),
    "padding that no tag names": _padding_untagged,
    "padding read as unsigned": _padding_signed(-2000, "US"),
    "HU without rescale": _no_rescale_but_hu,
    "empty rescale": _empty_rescale,
    "intercept without slope": _no_slope,
    "slope zero": _zero_slope,
    "some slices without rescale": _some_without_rescale,
    "MONOCHROME1 in HU": _monochrome1,
    "instance numbers and slice location lie": _instances_lie,
    "spacing and thickness tags lie": _spacing_lies,
    "one SOP UID on all slices": _one_sop_uid,
    "no UIDs at all": _no_uids,
    "UUIDs as UIDs": _uuid_uids,
    "numbers as text": _text_vrs,
    "numbers in binary": _binary_vrs,
    "deep and large private elements": _deep_private,
    "bytes behind the pixels": _excess_pixels,
    "no modality": _no_modality,
    "an acquisition number of its own in every slice": _acquisition_each,
    "two slabs": _two_slabs,
    "topogram in the protocol's name": _localizer_words_in_protocol,
}


@pytest.mark.parametrize("edit", SAME_VOLUME.values(), ids=SAME_VOLUME)
def test_the_volume_is_the_same_in_spite_of(tmp_path, edit):
    truth = write(tmp_path / "a", edit, shuffle=3)
    loaded = decode(read_study(truth.path))
    if "padding" in str(edit):
        y, x = np.ogrid[-1:1:64j, -1:1:64j]
        outside = x * x + y * y > 1
        assert (loaded.volume.hu[:, outside] == -1024).all()
        inside = loaded.volume.hu[:, ~outside]
        np.testing.assert_array_equal(inside, truth.volume.hu[:, ~outside])
        return
    assert_true(loaded, truth)


# ── files as they come ──────────────────────────────────────────────────────────────────────


def _bare(data: bytes) -> bytes:
    """Without preamble and file meta."""
    length = struct.unpack_from("<I", data, 140)[0]
    return data[144 + length :]


def _meta_lies(ds, k):
    data = to_bytes(ds, ImplicitVRLittleEndian)
    return data.replace(b"1.2.840.10008.1.2\x00", b"1.2.840.10008.1.2.1\x00"[:18])


BYTES = {
    "no preamble, implicit": lambda ds, k: _bare(to_bytes(ds, ImplicitVRLittleEndian)),
    "no preamble, explicit": lambda ds, k: _bare(to_bytes(ds)),
    "no preamble but the magic": lambda ds, k: to_bytes(ds)[128:],
    "no transfer syntax": lambda ds, k: to_bytes(ds).replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x11\x00UI"),
    "transfer syntax of another encoding": lambda ds, k: to_bytes(ds, ImplicitVRLittleEndian).replace(
        b"1.2.840.10008.1.2\x00", b"1.2.840.10008.1.9\x00"
    ),
    "text before the extension": lambda ds, k: to_bytes(ds) + b"trailing bytes",
}


@pytest.mark.parametrize("edit", BYTES.values(), ids=BYTES)
def test_files_are_read_whatever_their_frame(tmp_path, edit):
    truth = write(tmp_path / "a", edit)
    assert_true(decode(read_study(truth.path)), truth)


def test_the_same_files_twice_change_nothing(tmp_path):
    truth = write(tmp_path / "a" / "one")
    write(tmp_path / "a" / "two")
    study = read_study(tmp_path / "a")
    assert_true(decode(study), truth)
    assert "duplicates_dropped" in codes(study)


def test_a_list_of_files_in_any_order_is_a_study(tmp_path):
    truth = write(tmp_path / "a")
    files = sorted(truth.path.iterdir(), key=lambda p: p.name[::-1])
    assert_true(decode(read_study(files)), truth)


# ── several things in one series ────────────────────────────────────────────────────────────


def mixed(tmp_path: Path, second, **options) -> tuple[Truth, Study]:
    """A study with a second set of files made by ``second(dataset, k)``."""
    truth = write(tmp_path / "a" / "one", **options)
    volume = cached_chest((SLICES, 64, 64), (5.0, 6.0, 6.0))
    files = []
    for k, ds in enumerate(datasets(volume, name="phantom")):
        ds.SOPInstanceUID = uid_of("second", k)
        edited = second(ds, k)
        if edited is not None:
            files.append(to_bytes(edited))
    write_files(tmp_path / "a" / "two", files)
    return truth, read_study(tmp_path / "a")


def _darker(ds: Dataset) -> Dataset:
    values = np.frombuffer(ds.PixelData, "<u2").astype(np.int32) - 200
    ds.PixelData = np.maximum(values, 0).astype("<u2").tobytes()
    return ds


def _other_kernel(ds, k):
    ds.ConvolutionKernel = "B30f"
    return _darker(ds)


def _other_phase(ds, k):
    ds.TemporalPositionIdentifier = 2
    return _darker(ds)


def _later_instances(ds, k):
    ds.InstanceNumber += 1000
    return _darker(ds)


def _half_step(ds, k):
    ds.AcquisitionNumber = 2
    ds.ImagePositionPatient = [*ds.ImagePositionPatient[:2], float(ds.ImagePositionPatient[2]) + 2.5]
    return _darker(ds)


PASSES = {
    "another kernel": _other_kernel,
    "another phase": _other_phase,
    "no difference but the pixels": _later_instances,
    "half a step further": _half_step,
}


@pytest.mark.parametrize("second", PASSES.values(), ids=PASSES)
def test_two_passes_under_one_uid_are_never_interleaved(tmp_path, second):
    truth, study = mixed(tmp_path, second)
    assert_true(decode(study), truth)
    assert "slices_set_aside" in codes(study)


def _localizer(ds, k):
    if k > 1:
        return None
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    return ds


def _scout_without_a_word(ds, k):
    if k > 1:
        return None
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1] if k else [0, 1, 0, 0, 0, -1]
    return ds


def _other_matrix(ds, k):
    if k > 4:
        return None
    ds.PixelData = np.frombuffer(ds.PixelData, "<u2").reshape(64, 64)[::2, ::2].tobytes()
    ds.Rows = ds.Columns = 32
    ds.PixelSpacing = [12, 12]
    return ds


def _far_away(ds, k):
    if k:
        return None
    ds.ImagePositionPatient = [*ds.ImagePositionPatient[:2], 900]
    return ds


def _moved_aside(ds, k):
    if k != 5:
        return None
    ds.ImagePositionPatient = [40, -150, float(ds.ImagePositionPatient[2]) + 2.5]
    return ds


def _colour(ds, k):
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelData = bytes(64 * 64 * 3)
    return ds


def _report(ds, k):
    if k > 2:
        return None
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.67"
    ds.Modality = "SR"
    del ds.PixelData
    return ds


def _mip(ds, k):
    ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL", "MIP"]
    return _darker(ds)


STRANGERS = {
    "localizers": _localizer,
    "scouts whose tags do not say so": _scout_without_a_word,
    "slices of another matrix": _other_matrix,
    "a slice far away": _far_away,
    "a slice beside the others": _moved_aside,
    "colour pictures": _colour,
    "reports": _report,
    "projections": _mip,
}


@pytest.mark.parametrize("second", STRANGERS.values(), ids=STRANGERS)
def test_strangers_in_the_series_are_set_aside(tmp_path, second):
    truth, study = mixed(tmp_path, second)
    assert_true(decode(study), truth)
    if second is not _report:
        assert "slices_set_aside" in codes(study)


# ── gaps, steps, tilt ───────────────────────────────────────────────────────────────────────


def _without(*missing):
    return lambda ds, k: None if k in missing else ds


def test_a_missing_slice_is_filled_and_named(tmp_path):
    truth = write(tmp_path / "a", _without(10))
    study = read_study(truth.path)
    volume = decode(study).volume
    assert volume.shape == truth.volume.shape
    for k in (9, 11, SLICES - 1):
        np.testing.assert_array_equal(volume.hu[k], truth.volume.hu[k])
    assert "slices_missing" in codes(study)
    (gap,) = study.passport.gaps
    assert (gap.missing, gap.below_mm + 5, gap.above_mm - 5) == (1, gap.above_mm - 5, gap.below_mm + 5)


def test_a_wide_gap_is_refused(tmp_path):
    truth = write(tmp_path / "a", _without(8, 9, 10, 11, 12))
    with pytest.raises(Refusal) as caught:
        read_study(truth.path).chosen.load()
    assert caught.value.code == "uneven_slices"


def test_thinned_slices_keep_their_places(tmp_path):
    truth = write(tmp_path / "a", lambda ds, k: ds if k < 12 or k % 2 == 0 else None)
    study = read_study(truth.path)
    volume = decode(study).volume
    np.testing.assert_array_equal(volume.hu[4], truth.volume.hu[4])
    np.testing.assert_array_equal(volume.hu[20], truth.volume.hu[20])
    assert "uneven_spacing" in codes(study)


def test_positions_rounded_to_a_tenth_are_even(tmp_path):
    rng = np.random.default_rng(1)

    def edit(ds, k):
        x, y, z = (float(v) for v in ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y, round(z + rng.uniform(-0.05, 0.05), 1)]
        ds.ImageOrientationPatient = [1, rng.uniform(-1e-4, 1e-4), 0, 0, 1, 0]
        return ds

    truth = write(tmp_path / "a", edit)
    study = read_study(truth.path)
    loaded = decode(study)
    np.testing.assert_array_equal(loaded.volume.hu, truth.volume.hu)
    assert loaded.volume.spacing_mm[0] == pytest.approx(5.0, abs=0.02)
    assert not codes(study)


@pytest.mark.parametrize("deg", [-20.0, 12.0])
def test_a_tilted_gantry_keeps_every_place(tmp_path, deg):
    angle = np.radians(deg)

    def edit(ds, k):
        # the same planes, sheared: rows stay, columns lean; sampled from the truth at its places
        ds.ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(angle)), float(np.sin(angle))]
        return ds

    truth = write(tmp_path / "a", edit)
    study = read_study(truth.path)
    volume = decode(study).volume
    assert "gantry_tilt" in codes(study)
    assert study.passport.tilt_deg == pytest.approx(abs(deg), abs=0.1)
    # a voxel of slice k, row r lies where the file says
    column = np.array([0, np.cos(angle), np.sin(angle)])
    for k, r, c in ((5, 20, 30), (12, 32, 32), (20, 40, 25)):
        origin = truth.affine[:3] @ [0, 0, k, 1]
        place = origin + column * 6.0 * r + np.array([1, 0, 0]) * 6.0 * c
        index = volume.index_of(place)
        z, _, x = np.rint(index).astype(int)
        assert abs(index[0] - z) < 0.01
        low = int(np.floor(index[1] + 1e-6))
        part = index[1] - low
        seen = (1 - part) * volume.hu[z, low, x] + part * volume.hu[z, min(low + 1, volume.shape[1] - 1), x]
        near = truth.volume.hu[k, r - 1 : r + 2, c]
        assert near.min() - 1 <= seen <= near.max() + 1


# ── refusals ────────────────────────────────────────────────────────────────────────────────


def _set(**values):
    def edit(ds, k):
        for name, value in values.items():
            if value is None:
                delattr(ds, name)
            else:
                setattr(ds, name, value)
        return ds

    return edit


def _along(orientation, direction):
    def edit(ds, k):
        ds.ImageOrientationPatient = orientation
        ds.ImagePositionPatient = [-150 + 5 * k * d for d in direction]
        return ds

    return edit


def _windowed(ds, k):
    grey = np.clip((hu_of(ds) + 1000) / 1400 * 255, 0, 255).astype(np.uint8)
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = grey.tobytes()
    del ds.RescaleSlope, ds.RescaleIntercept
    return ds


def _labels(ds, k):
    ds.PixelData = (hu_of(ds) > -500).astype("<u2").tobytes()
    ds.RescaleIntercept = 0
    return ds


def _suv(ds, k):
    stored_as(ds, (hu_of(ds) + 1024) / 100.0, bits=16, signed=False, slope=0.01, intercept=0)
    return ds


def _scale_lost(ds, k):
    return stored_as(ds, hu_of(ds) * 4, bits=16, signed=True)


REFUSED = {
    "MR": (_set(Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), "not_ct"),
    "PET": (_set(Modality="PT", SOPClassUID="1.2.840.10008.5.1.4.1.1.128"), "not_ct"),
    "localizers": (_set(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer_only"),
    "projections": (_set(ImageType=["DERIVED", "SECONDARY", "MIP"]), "no_axial_ct_series"),
    "secondary capture": (_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "no_axial_ct_series"),
    "no positions": (_set(ImagePositionPatient=None), "mixed_geometry"),
    "no orientation": (_set(ImageOrientationPatient=None), "mixed_geometry"),
    "orientation of zeros": (_set(ImageOrientationPatient=[0] * 6), "mixed_geometry"),
    "no pixel spacing": (_set(PixelSpacing=None), "mixed_geometry"),
    "pixel spacing of zero": (_set(PixelSpacing=[0, 0]), "mixed_geometry"),
    "oblique": (_along([1, 0, 0, 0, 0.8192, 0.5736], [0, -0.5736, 0.8192]), "no_axial_ct_series"),
    "coronal with thick steps": (_along([1, 0, 0, 0, 0, -1], [0, 1, 0]), "no_axial_ct_series"),
    "sagittal with thick steps": (_along([0, 1, 0, 0, 0, -1], [-1, 0, 0]), "no_axial_ct_series"),
    "slices that do not move": (_along([1, 0, 0, 0, 1, 0], [0, 1, 0]), "too_few_slices"),
    "grey levels": (_windowed, "not_hounsfield"),
    "labels": (_labels, "not_hounsfield"),
    "SUV": (_suv, "not_hounsfield"),
    "a lost slope": (_scale_lost, "not_hounsfield"),
    "six slices": (lambda ds, k: ds if k < 6 else None, "too_few_slices"),
    "one slice": (lambda ds, k: ds if k == 0 else None, "too_few_slices"),
    "steps of 20 mm": (lambda ds, k: ds if k % 2 == 0 else None, "too_thick_slices"),
    "pixels cut off": (lambda ds, k: to_bytes(ds)[:-3000], "unreadable_pixels"),
    "a codec that nobody knows": (
        lambda ds, k: (
            to_bytes(ds, RLELossless)
            .replace(b"1.2.840.10008.1.2.5\x00", b"1.2.840.10008.1.2.9\x00")
            .replace(b"@\0\0\0", b"A\0\0\0")
        ),
        "unreadable_pixels",
    ),
    "rows beyond reason": (_set(Rows=60000), "unreadable"),
    "colour": (_colour, "no_axial_ct_series"),
    "no pixels": (_set(PixelData=None), "unreadable"),
}


@pytest.mark.parametrize(("edit", "code"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, edit, code):
    spacing = (20.0, 6.0, 6.0) if code == "too_thick_slices" else (5.0, 6.0, 6.0)
    truth = write_study(tmp_path / "a", slices=SLICES, matrix=64, spacing=spacing, edit=edit)
    study = read_study(truth.path)
    with pytest.raises(Refusal) as caught:
        study.chosen.load()
    assert caught.value.code == code, str(caught.value)
    assert study.passport.refusal is not None and study.passport.refusal.code == code


@pytest.mark.parametrize(
    ("shift", "edit"),
    [
        (1024, lambda ds, k: _set(RescaleIntercept=None, RescaleSlope=None)(ds, k)),
        (
            -1024,
            lambda ds, k: (
                stored_as(ds, hu_of(ds), bits=16, signed=True) and _set(RescaleIntercept=-1024)(ds, k)
            ),
        ),
        (1000, lambda ds, k: _set(RescaleIntercept=-24)(ds, k)),
    ],
    ids=["absent", "twice", "another offset"],
)
def test_a_wrong_offset_is_found_from_the_pixels_and_said(tmp_path, shift, edit):
    truth = write(tmp_path / "a", edit)
    loaded = decode(read_study(truth.path))
    assert [w.code for w in loaded.warnings] == ["rescale_repaired"]
    assert_true(loaded, truth)


def test_a_thin_coronal_reformat_is_turned_to_axial(tmp_path):
    truth = cached_chest((48, 48, 48), (3.0, 3.0, 3.0), noise_hu=5.0)
    files = []
    for k, ds in enumerate(datasets(truth)):
        ds.Rows, ds.Columns = 48, 48
        ds.ImageType = ["DERIVED", "SECONDARY", "REFORMATTED"]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        ds.ImagePositionPatient = [float(v) for v in truth.lps_of(np.array([47.0, k, 0.0]))]
        ds.PixelData = (truth.hu[::-1, k].astype(np.int32) + 1024).astype("<u2").tobytes()
        files.append(to_bytes(ds))
    write_files(tmp_path / "a", files)
    study = read_study(tmp_path / "a")
    volume = decode(study).volume
    np.testing.assert_array_equal(volume.hu, truth.hu)
    np.testing.assert_allclose(volume.affine, truth.affine, atol=1e-3)
    assert "resampled_axial" in codes(study)


def test_two_patients_are_two_studies(tmp_path):
    one = write(tmp_path / "a" / "1", name="one", patient_id="ONE")
    two = write(tmp_path / "a" / "2", name="two", patient_id="TWO")
    assert {s.study_uid for s in read_studies(tmp_path / "a")} == {one.study_uid, two.study_uid}
    with pytest.raises(Refusal) as caught:
        read_study(tmp_path / "a")
    assert caught.value.code == "several_studies"
    assert_true(decode(read_study(tmp_path / "a", study_uid=two.study_uid)), two)


def test_two_patients_under_the_same_uids_are_not_merged(tmp_path):
    write(tmp_path / "a" / "1", patient_id="ONE")
    write(tmp_path / "a" / "2", _half_step, patient_id="TWO")
    studies = read_studies(tmp_path / "a")
    assert len({s.study_uid for s in studies}) == 2
    assert [s.passport.n_slices for s in studies] == [SLICES, SLICES]
