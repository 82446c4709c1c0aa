"""The way in: `read_studies` and `read_study` find studies from headers; `Series.load` decodes one.

for study in read_studies("folder_or.zip"):
    passport = study.passport
    volume = study.chosen.load()
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from shared.ct import describe
from shared.ct.archive import Entry, Limits, Source, Upload, open_upload
from shared.ct.chest import look_at_chest
from shared.ct.choice import order_of, why_not
from shared.ct.dicom import Header, NotDicomError, read_header
from shared.ct.frame import expand, role
from shared.ct.inflate import DamagedError
from shared.ct.nifti import NiftiImage, is_ct_scale, load_nifti, read_nifti
from shared.ct.passport import Passport, SeriesRow, VolumeInfo
from shared.ct.pixels import Loaded, load_stack
from shared.ct.stack import Stack, build_stacks
from shared.ct.volume import Volume
from shared.errors import Notice, Refusal

#: a chest cut out of a study is worth it when it drops at least this share of the slices
CUT_SHARE = 0.25


@dataclass(slots=True, eq=False)
class Series:
    """One candidate for a volume: a stack of DICOM images or a NIfTI file, or what is neither."""

    row: SeriesRow
    study: Study
    stack: Stack | None = None
    nifti: NiftiImage | None = None
    #: a representative header, None for NIfTI
    header: Header | None = None
    #: images of the same series that are not in the volume
    set_aside: int = 0
    #: pixels of another kind than CT: `shared.ct.frame.role`
    role: str = "ct"

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return self.row.series_uid

    @property
    def refusal(self) -> Notice | None:
        """Why no volume can be made of it, as far as headers tell."""
        if self.stack is not None:
            return self.stack.refusal
        if self.nifti is not None:
            return self.nifti.refusal
        return describe.refusal_of_role(self)

    def load(self, *, workers: int = 1, progress: Callable[[float], None] | None = None) -> Volume:
        """Decode the volume and complete the study's passport.

        Parameters
        ----------
        workers : int
            Processes for compressed pixels.
        progress : callable, optional
            Gets the share that is done, 0 to 1.

        Raises
        ------
        Refusal
            With its code also in ``study.passport.refusal``.
        """
        try:
            return self._load(workers, progress)
        except Refusal as refusal:
            self.study.passport.refusal = refusal.notice
            raise

    def _load(self, workers: int, progress: Callable[[float], None] | None) -> Volume:
        if self.refusal is not None:
            raise Refusal(self.refusal.code, **self.refusal.params)
        passport = self.study.passport
        loaded = self._decode(workers, progress)
        passport.hu_check = loaded.hu_check
        for warning in loaded.warnings:
            self.study.warn(warning)
        volume = loaded.volume
        chest = look_at_chest(volume)
        passport.coverage = chest.coverage
        low, high = chest.chest_z
        if high - low < (1 - CUT_SHARE) * volume.shape[0]:
            affine = volume.affine.copy()
            affine[:3, 3] += affine[:3, 2] * low
            volume = Volume(np.ascontiguousarray(volume.hu[low:high]), affine)
            self.study.warn(Notice(code="chest_cut_out"))
        if chest.partial:
            self.study.warn(Notice(code="partial_chest_warning", params={"what": chest.partial}))
        passport.volume = VolumeInfo(
            shape=list(volume.shape),
            spacing_mm=[round(v, 6) for v in volume.spacing_mm],
            affine_lps=volume.affine.tolist(),
        )
        if progress is not None:
            progress(1.0)
        return volume

    def _decode(self, workers: int, progress: Callable[[float], None] | None) -> Loaded:
        if self.nifti is not None:
            return load_nifti(self.nifti, progress=progress)
        if self.stack is None:
            raise Refusal("no_axial_ct_series", what=self.role)
        return load_stack(self.stack, workers=workers, progress=progress)


@dataclass(slots=True, eq=False)
class Study:
    """A study of an upload: its series, the choice among them, and the passport."""

    study_uid: str
    passport: Passport = field(default_factory=Passport)
    series: list[Series] = field(default_factory=list)
    patient: bytes = b""
    _chosen: Series | None = None

    @property
    def chosen(self) -> Series:
        """The series that the verdict is to be about.

        Raises
        ------
        Refusal
            Nothing in the study can be read; the same as ``passport.refusal``.
        """
        if self._chosen is None:
            notice = self.passport.refusal or Notice(code="not_ct", params={"what": "?"})
            raise Refusal(notice.code, **notice.params)
        return self._chosen

    @property
    def has_ct(self) -> bool:
        """There are CT images in it, localizers not counted."""
        return any(s.stack is not None or s.nifti is not None for s in self.series)

    def warn(self, notice: Notice) -> None:
        """Add a warning to the passport, once."""
        if notice not in self.passport.warnings:
            self.passport.warnings.append(notice)

    def choose(self, series_uid: str | None = None) -> None:
        """Choose the best series, or the best of those with ``series_uid``, and write the passport."""
        candidates = [s for s in self.series if s.stack is not None or s.nifti is not None]
        if series_uid is not None:
            candidates = [s for s in candidates if s.uid == series_uid]
        described = [describe.candidate_of(s) for s in candidates]
        order = order_of(described)
        best = candidates[order[0]] if order else None
        self._chosen = best if best is not None and best.refusal is None else None
        longest = max((c.extent_mm for c in described if c.readable and c.plane == "axial"), default=0.0)
        for k in order[1:]:
            reason = candidates[k].refusal
            candidates[k].row.reason = (
                reason.code if reason else why_not(described[k], described[order[0]], longest)
            )
        self.passport = describe.passport_of(self, self._chosen, best)


def read_studies(
    source: Source | Sequence[Source], *, series_uid: str | None = None, limits: Limits | None = None
) -> list[Study]:
    """Find the studies of an upload. Only headers are read.

    Parameters
    ----------
    source : path, or sequence of paths
        A zip, tar or tar.gz, a folder, a DICOM or NIfTI file, or several files.
    series_uid : str, optional
        Choose this series instead of the best.
    limits : Limits, optional
        How much the upload may hold.

    Returns
    -------
    list of Study
        In order of date and UID. A study that cannot be read has ``passport.refusal`` set.

    Raises
    ------
    Refusal
        The upload holds no study at all.
    """
    limits = limits or Limits()
    upload = open_upload(source, limits)
    files: list[tuple[Entry, Header]] = []
    volumes: list[NiftiImage] = []
    for entry, kind, head in upload.entries:
        if kind == "dicom":
            try:
                files.append((entry, read_header(entry, head, limits)))
            except (NotDicomError, DamagedError) as error:
                upload.damaged.append(str(error) or "not DICOM")
        elif kind == "nifti":
            volumes.append(read_nifti(entry, head if len(head) >= 540 else entry.read(0, 540)))
    studies = _dicom_studies(files, upload)
    if not any(s.has_ct for s in studies) and volumes:
        studies = _nifti_studies(volumes) + studies
    if not studies:
        raise _nothing_found(upload)
    for study in studies:
        study.choose(series_uid)
        for warning in upload.warnings:
            study.warn(warning)
        if upload.damaged:
            study.warn(Notice(code="files_unreadable", params={"n": len(upload.damaged)}))
    return sorted(studies, key=lambda s: (s.passport.study_date, s.study_uid))


def read_study(
    source: Source | Sequence[Source],
    *,
    study_uid: str | None = None,
    series_uid: str | None = None,
    limits: Limits | None = None,
) -> Study:
    """The one study of an upload, or the one with ``study_uid``.

    Studies without CT images do not count beside one that has them.

    Raises
    ------
    Refusal
        ``several_studies`` where there is more than one and none is named; as `read_studies`.
    """
    studies = read_studies(source, series_uid=series_uid, limits=limits)
    return select_study(studies, study_uid=study_uid, series_uid=series_uid)


def select_study(
    studies: Sequence[Study], *, study_uid: str | None = None, series_uid: str | None = None
) -> Study:
    """The rule of `read_study` over studies that were read already."""
    if study_uid is not None:
        studies = [s for s in studies if s.study_uid == study_uid]
    elif series_uid is not None:
        studies = [s for s in studies if any(x.uid == series_uid for x in s.series)] or studies
    if not studies:
        raise Refusal("no_dicom")
    counted = [s for s in studies if s.has_ct] or list(studies)
    if len(counted) > 1 and any(s.passport.refusal is None for s in counted):
        raise Refusal("several_studies", n=len(counted))
    # nothing can be read: the fullest study says why
    return min(counted, key=lambda s: (-len(s.series), s.study_uid))


def _nothing_found(upload: Upload) -> Refusal:
    if upload.damaged:
        ((what, _),) = Counter(upload.damaged).most_common(1)
        return Refusal("unreadable", what=what)
    return Refusal("no_dicom")


def _dicom_studies(files: list[tuple[Entry, Header]], upload: Upload) -> list[Study]:
    """Group files by study and patient; series follow from `_series_of`."""
    files = [(e, h) for e, h in files if role(h) != "directory"]
    groups: dict[bytes, dict[bytes, list[tuple[Entry, Header]]]] = defaultdict(lambda: defaultdict(list))
    for entry, header in files:
        if not header.values or not (
            header.raw("Modality") or header.raw("SOPClassUID") or header.pixel_offset
        ):
            upload.damaged.append("no DICOM image")
            continue
        patient = header.raw("PatientID") or header.raw("PatientName")
        groups[header.raw("StudyInstanceUID") or b"?" + header.raw("StudyDate")][patient].append(
            (entry, header)
        )
    studies = []
    for uid, by_patient in groups.items():
        _adopt_nameless(by_patient)
        for patient, members in by_patient.items():
            shown = _study_uid(uid, members)
            if len(by_patient) > 1:
                shown += "." + str(int(hashlib.sha256(patient).hexdigest()[:8], 16))
            study = Study(shown, patient=patient)
            study.series = _series_of(study, members)
            studies.append(study)
    return _with_companions(studies)


def _adopt_nameless(by_patient: dict[bytes, list[tuple[Entry, Header]]]) -> None:
    """Files without a patient belong to the only patient of their study."""
    if b"" in by_patient and len(by_patient) == 2:
        nameless = by_patient.pop(b"")
        next(iter(by_patient.values())).extend(nameless)


def _study_uid(uid: bytes, members: Iterable[tuple[Entry, Header]]) -> str:
    """The UID, or one made from the content where there is none."""
    if not uid.startswith(b"?"):
        return uid.decode("latin-1")
    parts = sorted(h.raw("SeriesInstanceUID") + h.raw("SOPInstanceUID") for _, h in members)
    return _made_uid(b"/".join(parts))


def _made_uid(content: bytes) -> str:
    return "2.25." + str(int(hashlib.sha256(content).hexdigest()[:28], 16))


def _with_companions(studies: list[Study]) -> list[Study]:
    """A study without CT images goes to the same patient's only study that has them."""
    with_ct = [s for s in studies if s.has_ct]
    kept = list(with_ct)
    for study in studies:
        if study.has_ct:
            continue
        hosts = [s for s in with_ct if s.patient == study.patient]
        if len(hosts) == 1:
            for series in study.series:
                series.study = hosts[0]
                series.row.reason = "other_study"
            hosts[0].series += study.series
        else:
            kept.append(study)
    return kept


def _series_of(study: Study, members: list[tuple[Entry, Header]]) -> list[Series]:
    by_series: dict[tuple[bytes, bytes, bytes], list[tuple[Entry, Header]]] = defaultdict(list)
    for entry, header in members:
        uid = header.raw("SeriesInstanceUID")
        key = (uid, b"", b"")
        if not uid:
            key = (b"", header.raw("SeriesNumber"), header.raw("SeriesDescription"))
        by_series[key].append((entry, header))
    out: list[Series] = []
    for key in sorted(by_series):
        out += _split_series(study, by_series[key])
    return out


def _split_series(study: Study, files: list[tuple[Entry, Header]]) -> list[Series]:
    """The stacks of one series, and its other objects by what they are."""
    roles: dict[str, list[tuple[Entry, Header]]] = defaultdict(list)
    for entry, header in files:
        roles[role(header)].append((entry, header))
    out = []
    frames = [frame for entry, header in roles.pop("ct", []) for frame in expand(entry, header)]
    stacks = build_stacks(frames)
    uid = files[0][1].text("SeriesInstanceUID") or _made_uid(
        b"/".join(sorted(h.raw("SOPInstanceUID") + h.raw("ImagePositionPatient") for _, h in files))
    )
    with_pixels = len(frames) + sum(
        len(members) for name, members in roles.items() if name not in ("not_ct", "no_pixels")
    )
    for stack in stacks:
        header = stack.frames[0].header
        row = describe.row_of_stack(uid, stack)
        rest = with_pixels - len(stack.frames) - sum(s.dropped for s in stacks)
        out.append(Series(row, study, stack=stack, header=header, set_aside=rest))
    for name, members in sorted(roles.items()):
        header = min((h for _, h in members), key=lambda h: h.raw("SOPInstanceUID"))
        row = describe.row_of_others(uid, name, header, len(members))
        out.append(Series(row, study, header=header, role=name))
    return out


def _nifti_studies(volumes: list[NiftiImage]) -> list[Study]:
    """One study per scan; masks go with the scan whose grid they share."""
    scans = volumes if len(volumes) == 1 else [v for v in volumes if v.refusal is None and is_ct_scale(v)]
    if not scans:
        scans = volumes[:1]
    studies = []
    for scan in scans:
        study = Study(scan.uid)
        study.series = [Series(describe.row_of_nifti(scan), study, nifti=scan)]
        studies.append(study)
    for other in volumes:
        if all(other is not scan for scan in scans):
            host = next((s for s in studies if _same_grid(s, other)), studies[0])
            row = describe.row_of_nifti(other)
            row.reason = "not_hounsfield"
            host.series.append(Series(row, host, role="mask"))
    return studies


def _same_grid(study: Study, other: NiftiImage) -> bool:
    scan = study.series[0].nifti
    return scan is not None and scan.shape == other.shape
