"""What there is to judge under the paths of a command line: archives, NIfTI files, loose DICOM studies.

Every archive and every NIfTI file is a source of its own. Loose files are grouped by folder, and
folders that hold series of one study (by their first file's Study Instance UID) are joined.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.ct.sniff import SNIFF_BYTES, sniff

#: kinds of file that are a study, or a parcel of studies, by themselves
_ALONE = {"nifti", "zip", "gzip", "bzip2", "xz", "tar", "7z", "rar", "nrrd"}
#: files that lie beside studies and are none; they are looked at only when they are named themselves
_BESIDE = {
    *(".csv", ".tsv", ".txt", ".md", ".rst", ".json", ".jsonl", ".xml", ".yml", ".yaml", ".html", ".htm"),
    *(
        ".journal",
        ".log",
        ".pdf",
        ".doc",
        ".docx",
        ".xls",
        ".xlsx",
        ".ods",
        ".png",
        ".jpg",
        ".jpeg",
        ".gif",
        ".webp",
    ),
    *(".py", ".ipynb", ".sh", ".bat", ".exe", ".inf", ".ini", ".db", ".sqlite", ".lnk", ".url"),
}
_FOLDERS_BESIDE = {"__MACOSX"}


@dataclass(frozen=True, slots=True)
class Source:
    """One thing to read: a file, or the loose files of one study.

    Attributes
    ----------
    shown : str
        The path that the table says: of the file, or of the folder of the loose files.
    files : tuple of str
        What is read.
    stamp : str
        Changes when a file's name, size or time of change does.
    """

    shown: str
    files: tuple[str, ...]
    stamp: str

    @property
    def reads(self) -> str | list[str]:
        """What `shared.ct.study.read_studies` takes."""
        return self.files[0] if self.files[0] == self.shown else list(self.files)


def stamp_of(files: Sequence[str]) -> str:
    """A digest of names, sizes and times of change; a file that is gone counts as such."""
    digest = hashlib.sha256()
    for name in files:
        try:
            about = os.stat(name)  # noqa: PTH116  (a Path for each of 100 000 files is slow)
            digest.update(f"{name}\0{about.st_size}\0{about.st_mtime_ns}\0".encode(errors="surrogateescape"))
        except OSError:
            digest.update(f"{name}\0gone\0".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def find_sources(paths: Iterable[Path], study_uids: Callable[[Sequence[str]], Sequence[str]]) -> list[Source]:
    """All sources under ``paths``, in a stable order, each once.

    Parameters
    ----------
    paths : iterable of Path
        Files and folders; they must exist.
    study_uids : callable
        Answers the Study Instance UID of each of some loose files, "" where it has none. It is asked
        only where more than one folder has loose files.
    """
    found: dict[str, Source] = {}

    def add(shown: str, files: Sequence[str]) -> None:
        files = sorted(files)
        key = "\0".join(files)
        if key not in found:
            found[key] = Source(shown, tuple(files), stamp_of(files))

    for path in paths:
        if path.is_file():
            add(str(path), [str(path)])
            continue
        loose: dict[str, list[str]] = {}
        for folder, name in _walk(path):
            file = os.path.join(folder, name)  # noqa: PTH118
            if _kind(file) in _ALONE:
                add(file, [file])
            else:
                loose.setdefault(folder, []).append(file)
        for shown, files in _join(loose, study_uids):
            add(shown, files)
    return sorted(found.values(), key=lambda source: (source.shown, source.files))


def _walk(root: Path) -> Iterator[tuple[str, str]]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in _FOLDERS_BESIDE and not f.startswith("."))
        for name in sorted(names):
            suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
            if not name.startswith(".") and suffix not in _BESIDE and name.upper() != "DICOMDIR":
                yield folder, name


def _kind(file: str) -> str:
    try:
        with open(file, "rb") as stream:  # noqa: PTH123
            return sniff(stream.read(SNIFF_BYTES))
    except OSError:
        return "other"


def _join(
    loose: dict[str, list[str]], study_uids: Callable[[Sequence[str]], Sequence[str]]
) -> Iterator[tuple[str, list[str]]]:
    if len(loose) < 2:
        yield from loose.items()
        return
    folders = list(loose)
    groups: dict[str, list[str]] = {}
    for folder, uid in zip(folders, study_uids([loose[f][0] for f in folders]), strict=True):
        groups.setdefault(uid or f"\0{folder}", []).append(folder)
    for members in groups.values():
        yield os.path.commonpath(members), [file for folder in members for file in loose[folder]]
