"""Loading a model: damaged or absent weights and an absent GPU are said, never worked around."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from shared.model.config import MODEL_FILE
from shared.model.session import Model, ModelError
from tests.unit.model.tiny import tiny_model, write_model


def test_the_provider_in_use_is_reported() -> None:
    assert tiny_model().info.provider == "CPUExecutionProvider"


def test_weights_that_do_not_match_their_description_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    with (tmp_path / MODEL_FILE).open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(ModelError, match="sha256"):
        Model.load(tmp_path, provider="cpu")


def test_absent_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no usable model"):
        Model.load(tmp_path, provider="cpu")


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is here")
def test_cuda_that_is_demanded_and_absent_is_an_error_and_auto_takes_the_cpu(tmp_path: Path) -> None:
    write_model(tmp_path)
    with pytest.raises(ModelError, match="CUDA"):
        Model.load(tmp_path, provider="cuda")
    assert Model.load(tmp_path, provider="auto").info.provider == "CPUExecutionProvider"


@pytest.mark.parametrize("neighbours", [1, 3])
def test_logits_have_one_value_a_cell(neighbours: int) -> None:
    hu = np.full((2, neighbours, 16, 32), -1000, np.float32)
    hu[1, neighbours // 2, :4, :4] = -600
    z = tiny_model(neighbours=neighbours).logits(hu)
    assert z.shape == (2, 4, 8) and z.dtype == np.float32
    assert z[1, 0, 0] == pytest.approx(6) and z[0].max() == pytest.approx(-2)


def test_threads_do_not_change_an_answer() -> None:
    hu = np.random.default_rng(0).uniform(-1000, 100, (3, 1, 64, 64)).astype(np.float32)
    assert tiny_model(1).logits(hu).tobytes() == tiny_model(2).logits(hu).tobytes()
