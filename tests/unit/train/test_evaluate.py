"""`./ct evaluate` on an index of 8-bit slices: figures as JSON, and what could not be judged by name."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from batch.evaluate import evaluate
from batch.train.cli import train
from batch.train.dataset import GRID_MM, resample
from batch.train.synthetic import draw
from shared.model.config import MODEL_FILE
from shared.model.session import WEIGHTS

from .slices import MM, slice_hu, write_index

needs_weights = pytest.mark.skipif(not (WEIGHTS / MODEL_FILE).exists(), reason="no shipped weights yet")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices")
    entries = [(f"h{i}", slice_hu(i)[0], 0, True) for i in range(6)]
    for i in range(6, 12):
        hu, lungs = slice_hu(i)
        rng = np.random.default_rng(i)
        entries.append((f"s{i}", draw(hu, lungs, lungs, MM, rng, kind="consolidation").hu, 1, True))
    entries.append(("blank", np.full((90, 90), 40.0), 1, True))
    entries.append(("uncalibrated", slice_hu(1)[0], 0, False))
    return write_index(folder, entries)


@needs_weights
def test_the_answer_has_the_figures_their_intervals_and_the_failures(index, tmp_path):
    out = tmp_path / "metrics.json"
    done = CliRunner().invoke(evaluate, [str(index), "--out", str(out), "--draws", "50"])
    assert done.exit_code == 0, done.output
    result = json.loads(out.read_text())
    assert result["n"] == 12
    assert {f["path"] for f in result["failures"]} == {"blank.webp", "uncalibrated.webp"}
    assert result["datasets"].keys() == {"made"}
    pooled = result["pooled"]
    for name in ("auroc", "auprc", "ece", "brier", "sensitivity_balanced", "specificity_rule_out"):
        assert 0 <= pooled[name]["low"] <= pooled[name]["value"] <= pooled[name]["high"] <= 1
    assert result["model"]["trained_on"]


def test_a_folder_without_a_model_is_refused_in_words(index, tmp_path):
    done = CliRunner().invoke(
        evaluate, [str(index), "--out", str(tmp_path / "m.json"), "--model", str(tmp_path)]
    )
    assert done.exit_code == 1
    assert "no usable model" in done.output


def test_training_without_data_says_how_to_name_it(tmp_path):
    done = CliRunner().invoke(train, ["--data", str(tmp_path), "--out", str(tmp_path / "o")])
    assert done.exit_code == 2
    assert "index.csv" in done.output and "--data" in done.output


def test_the_contact_sheet_shows_every_pathology(index, tmp_path):
    sheet = tmp_path / "sheet.png"
    done = CliRunner().invoke(train, ["--data", str(index.parent), "--contact-sheet", str(sheet)])
    assert done.exit_code == 0, done.output
    assert sheet.stat().st_size > 100_000


def test_resampling_keeps_means():
    hu, _ = slice_hu(0)
    small = resample(hu, MM / GRID_MM)
    assert small.mean() == pytest.approx(hu.mean(), abs=3)
