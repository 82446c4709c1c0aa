"""``./ct inspect`` prints the passport, saves the volume, and refuses with exit code 3 and no file."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner

from batch.inspect import inspect
from tests.phantoms import write_study


def run(*args: object):
    return CliRunner().invoke(inspect, [str(a) for a in args])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study") / "a.zip")


def test_the_saved_volume_is_the_truth_in_another_program(study, tmp_path):
    out = tmp_path / "v.nii.gz"
    result = run(study.path, "--json", "--lang", "en", "--save", out)
    assert result.exit_code == 0, result.output
    image = nibabel.load(out)
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), study.volume.hu)
    np.testing.assert_allclose(image.affine, np.diag([-1, -1, 1, 1]) @ study.affine, atol=1e-3)
    assert list(tmp_path.iterdir()) == [out]
    answer = json.loads(result.output)
    assert answer["reason_code"] is None
    (passport,) = answer["studies"]
    assert passport["volume"]["shape"] == list(study.volume.shape)
    assert [row["chosen"] for row in passport["series"]] == [True]
    assert passport["series_uid"] == study.series_uid


def test_the_table_names_the_series_and_the_spacing(study):
    result = run(study.path, "--lang", "en")
    assert result.exit_code == 0, result.output
    assert "56 × 96 × 96" in result.output
    assert "B70f" in result.output


def test_several_studies_want_one_to_be_named_before_saving(tmp_path):
    one = write_study(tmp_path / "in" / "1", name="one", patient_id="ONE")
    write_study(tmp_path / "in" / "2", name="two", patient_id="TWO")
    out = tmp_path / "v.nii"
    refused = run(tmp_path / "in", "--json", "--save", out)
    assert refused.exit_code == 3
    assert json.loads(refused.output)["reason_code"] == "several_studies"
    assert not out.exists()
    assert run(tmp_path / "in", "--save", out, "--study", one.study_uid).exit_code == 0
    assert out.exists()


def test_a_refusal_has_exit_code_3_and_leaves_no_file(tmp_path):
    bad = tmp_path / "a.zip"
    bad.write_bytes(b"<html>502 Bad Gateway</html>")
    out = tmp_path / "v.nii.gz"
    result = run(bad, "--json", "--lang", "en", "--save", out)
    assert result.exit_code == 3
    assert json.loads(result.output)["reason_code"] == "not_an_archive"
    assert not out.exists()
