"""`./ct train`: from the folder of labelled slices to a folder of weights with their figures.

`./ct train --contact-sheet FILE` only draws synthetic pathologies for a person to look at.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batch.train.config import TrainConfig

if TYPE_CHECKING:
    from batch.train.dataset import Slice

log = logging.getLogger("ct.train")
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
NAME = "exact-evidence-2d"
VERSION = "0.1.0"


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with index.csv and the pictures [default: ../shared/data/train].",
)
@click.option(
    "--volumes",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of studies for hard negatives [default: ../shared/data/studies, where it exists].",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/train"))
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--leave-out", default="", help="Source that training must not see; figures are made on it.")
@click.option("--steps", type=click.IntRange(min=1), default=TrainConfig.steps, show_default=True)
@click.option(
    "--start",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of another run: go on from its weights, with a lower learning rate.",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option(
    "--contact-sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Only draw every synthetic pathology on slices of --data into this PNG.",
)
def train(
    data: Path | None,
    volumes: Path | None,
    out: Path,
    seed: int,
    device: str,
    leave_out: str,
    steps: int,
    start: Path | None,
    resume: bool,
    threads: int,
    contact_sheet: Path | None,
) -> None:
    """Train the exact-evidence network and export it with its figures.

    Writes model.onnx, model.json, manifest.json, figures.json, checkpoint.pt and steps.jsonl into
    --out. The study level is fitted afterwards, on volumes.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    from batch.train.cache import prepared
    from batch.train.dataset import read_index

    data = data or BESIDE / "train"
    if not (data / "index.csv").is_file():
        raise click.UsageError(f"no index.csv in {data}; name the folder with --data")
    rows = read_index(data / "index.csv")
    if contact_sheet is not None:
        from batch.train.sheet import write_sheet

        write_sheet(data, rows, contact_sheet, seed=seed)
        click.echo(f"wrote {contact_sheet}")
        return
    try:
        import torch
    except ImportError as error:
        raise click.ClickException(
            "training needs torch 2.13.0; see requirements/train.in for how it is installed"
        ) from error
    torch.set_num_threads(threads)

    config = TrainConfig(seed=seed, steps=steps, leave_out=leave_out)
    if start is not None:
        config = config.going_on()
    unknown = set(config.left_out) - {row.dataset for row in rows}
    if unknown:
        raise click.UsageError(f"no such source in the index: {', '.join(sorted(unknown))}")
    slices, dropped, key = prepared(data, rows, out)
    negatives = _hard_negatives(volumes)
    log.info("%d slices, %d not usable, %d from volumes", len(slices), len(dropped), len(negatives))
    run(
        slices,
        negatives,
        config,
        out,
        device=device,
        resume=resume,
        start=start,
        data_sha256=key,
        dropped=dropped,
    )


def _hard_negatives(volumes: Path | None) -> list[Slice]:
    folder = volumes or BESIDE / "studies"
    if not folder.is_dir():
        return []
    from batch.train.volumes import clear_slices

    return clear_slices(folder)


def run(
    slices: list[Slice],
    negatives: list[Slice],
    config: TrainConfig,
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = False,
    start: Path | None = None,
    data_sha256: str = "",
    dropped: list[tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """One run: train, calibrate slices, measure on what was left out, export. Returns the figures."""
    from batch.train import export, loop
    from batch.train.calibrate_slice import fit
    from batch.train.report import on_real, on_synthetic

    started = time.monotonic()
    seen = [s for s in slices if s.row.dataset not in config.left_out] + negatives
    unseen = [s for s in slices if s.row.dataset in config.left_out]
    net, _ = loop.train(seen, config, out, device=device, resume=resume, start=start)

    def logits(items: Any) -> Any:
        return loop.cell_logits(net, items)

    of_seen = logits(seen)
    calibration = fit(of_seen, seen)
    results: dict[str, Any] = {
        "in_source": {"real": on_real(lambda _: of_seen, seen, calibration, draws=200)}
    }
    if unseen:
        results["left_out"] = {
            "sources": list(config.left_out),
            "real": on_real(logits, unseen, calibration),
            "synthetic": on_synthetic(logits, unseen, calibration),
        }
    sources = sorted({s.row.dataset for s in seen})
    written = export.write_model(
        net,
        out,
        name=NAME,
        version=VERSION + (f"+without-{config.leave_out}" if config.leave_out else ""),
        slice_calibration=calibration,
        figures={"left_out": results["left_out"]} if unseen else {},
        trained_on=sources,
    )
    results["onnx_parity_max_abs"] = written.figures["onnx_parity_max_abs"]
    (out / "figures.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    manifest = {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 1),
        "config": config.as_dict(),
        "started_from": json.loads((start / "manifest.json").read_text()) if start else None,
        "data_sha256": data_sha256,
        "slices": len(seen),
        "sources": sources,
        "hard_negatives": sorted({s.row.path.split("#")[0] for s in negatives}),
        "not_used": len(dropped or []),
        "model_sha256": written.sha256,
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    log.info("wrote %s", out / "model.onnx")
    return results
