"""What counts as a study under a path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from batch.sources import find_sources
from batch.study import picture_name

ZIP = b"PK\x05\x06" + bytes(18)
DICOM = bytes(128) + b"DICM"


def write(root: Path, **files: bytes) -> None:
    for name, data in files.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def uids(files: Sequence[str]) -> list[str]:
    """The made UID of a loose file is the name of its study folder's first letter."""
    return ["A" if "/a" in os.path.dirname(file) else "" for file in files]  # noqa: PTH120


def test_archives_are_sources_and_loose_files_are_grouped_by_folder_and_study(tmp_path: Path) -> None:
    write(
        tmp_path,
        one=ZIP,
        x__two=b"\x1f\x8b\x08",
        a1__s1__i1=DICOM,
        a1__s1__i2=DICOM,
        a1__s2__i3=DICOM,
        b__i4=DICOM,
        b__notes=b"plain text",
    )
    found = find_sources([tmp_path], uids)
    shown = {Path(s.shown).relative_to(tmp_path).as_posix(): len(s.files) for s in found}
    assert shown == {"one": 1, "x/two": 1, "a1": 3, "b": 2}
    assert [s.shown for s in found] == sorted(s.shown for s in found)


def test_files_beside_studies_are_not_studies_unless_named(tmp_path: Path) -> None:
    write(
        tmp_path, **{"index.csv": b"a", "DICOMDIR": b"x", ".hidden": b"x", "__MACOSX__._a": DICOM, "i": DICOM}
    )
    assert [s.files for s in find_sources([tmp_path], uids)] == [(str(tmp_path / "i"),)]
    assert len(find_sources([tmp_path / "index.csv"], uids)) == 1


def test_source_named_twice_is_one_source_and_order_of_arguments_does_not_matter(tmp_path: Path) -> None:
    write(tmp_path, one=ZIP, two=ZIP)
    found = find_sources([tmp_path / "two", tmp_path, tmp_path / "one"], uids)
    assert found == find_sources([tmp_path], uids)


def test_stamp_changes_with_content_and_time_and_with_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, d__i1=DICOM, d__i2=DICOM)
    (before,) = find_sources([tmp_path / "d"], uids)
    assert find_sources([tmp_path / "d"], uids) == [before]
    (tmp_path / "d" / "i2").write_bytes(DICOM + b"\0")
    (after,) = find_sources([tmp_path / "d"], uids)
    assert after.stamp != before.stamp


def test_loose_files_are_read_as_a_list_and_an_archive_as_a_path(tmp_path: Path) -> None:
    write(tmp_path, d__i1=DICOM, z=ZIP)
    loose, archive = find_sources([tmp_path], uids)
    assert loose.reads == [str(tmp_path / "d" / "i1")]
    assert archive.reads == str(tmp_path / "z")


def test_picture_names_are_safe_and_never_collide(tmp_path: Path) -> None:
    names = {picture_name(p, u) for p in ("a/x.zip", "b/x.zip", "../..", "", "=1|2:*?") for u in ("1", "2")}
    assert len(names) == 10
    for name in names:
        assert Path(name).name == name
        assert not set(name) & set('<>:"/\\|?*')
        assert not name.startswith(".")
