"""A small training run on made-up slices learns, resumes, and exports what it learnt."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.timeout(900)
torch = pytest.importorskip("torch", reason="torch is not installed: training is not tested here")

from batch.train import export, loop  # noqa: E402
from batch.train.calibrate_slice import CELL_CM2, fit, inside, scores  # noqa: E402
from batch.train.config import TrainConfig  # noqa: E402
from batch.train.dataset import GRID_MM, Slice  # noqa: E402
from batch.train.metrics import auroc  # noqa: E402
from batch.train.network import RECEPTIVE_MM, EvidenceNet  # noqa: E402
from batch.train.synthetic import draw  # noqa: E402
from shared.model.evidence import density_of, score_of  # noqa: E402
from shared.model.session import Model  # noqa: E402

from .slices import prepared  # noqa: E402

KINDS = ("nodule_solid", "mass", "ground_glass", "consolidation", "effusion")


def sick(item, rng, kind=None):
    lesion = draw(item.hu, item.lungs, item.mask, GRID_MM, rng, kind=kind or str(rng.choice(KINDS)))
    return Slice(item.row, lesion.hu, item.mask, item.lungs, item.mm)


def relabel(item):
    row = item.row
    return Slice(
        type(row)(row.path, row.dataset, row.group, 1, "", 1, 0, True, row.mm_per_px, 0.9), *rest(item)
    )


def rest(item):
    return item.hu, item.mask, item.lungs, item.mm


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A run of a minute, broken off in the middle and resumed."""
    torch.set_num_threads(1)  # threads that wait for each other are slow beside other tests
    out = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    healthy = [prepared(i) for i in range(16)]
    slices = healthy + [relabel(sick(prepared(i), rng)) for i in range(16, 28)]
    config = TrainConfig(
        steps=60, sick=2, healthy=2, pairs=3, width=16, average=0.9, checkpoint_every=20, report_every=10
    )
    half = TrainConfig(**{**config.as_dict(), "steps": 30})
    loop.train(slices, half, out)
    net, head = loop.train(slices, config, out, resume=True)
    return net, head, slices, out


def test_it_tells_fresh_lesions_from_fresh_healthy_slices(learnt):
    net, _, _, _ = learnt
    rng = np.random.default_rng(99)
    healthy = [prepared(i) for i in range(100, 130)]
    ill = [sick(item, rng) for item in healthy]
    got = scores(loop.cell_logits(net, healthy + ill), healthy + ill, 0.0)
    label = np.r_[np.zeros(30), np.ones(30)]
    assert auroc(label, got) >= 0.8


def test_a_resumed_run_goes_on_where_it_stopped(learnt):
    _, _, _, out = learnt
    steps = [json.loads(line)["step"] for line in (out / "steps.jsonl").read_text().splitlines()]
    assert steps == [10, 20, 30, 40, 50, 60]


def test_the_exported_model_computes_the_same_and_its_slice_score_is_the_sum_of_its_cells(learnt, tmp_path):
    net, _, slices, _ = learnt
    calibration = fit(loop.cell_logits(net, slices), slices)
    config = export.write_model(
        net,
        tmp_path,
        name="test",
        version="0",
        slice_calibration=calibration,
        figures={},
        trained_on=["made"],
    )
    assert config.figures["onnx_parity_max_abs"] <= 1e-4
    model = Model.load(tmp_path, provider="cpu", threads=1)
    for item in slices[-3:]:
        z = model.logits(item.hu[None, None])[0]
        density = density_of(z, inside(item), config.slice)
        total = score_of(density, CELL_CM2)
        shares = density.astype(np.float64) * CELL_CM2 / total
        assert shares.sum() == pytest.approx(1.0, rel=1e-4)
        (own,) = scores(loop.cell_logits(net, [item]), [item], config.slice.tau)
        assert total == pytest.approx(own, rel=1e-3, abs=1e-3)


def test_a_cell_sees_no_further_than_the_stated_field():
    net = EvidenceNet(8).eval()
    hu = torch.full((1, 1, 160, 160), -850.0)
    far = hu.clone()
    reach = int(RECEPTIVE_MM / GRID_MM / 2) + 4
    far[:, :, :, 80 + reach :] = 100.0
    near = hu.clone()
    near[:, :, :, 84:] = 100.0
    with torch.inference_mode():
        middle = [net(x)[0, 0, 20, 20].item() for x in (hu, far, near)]
    assert middle[0] == middle[1]
    assert middle[0] != middle[2]
