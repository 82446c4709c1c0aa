"""The training loop: seeded, resumable, with an estimate of the time left.

A checkpoint holds everything a resumed run needs; the exported weights are a moving average of the
trained ones, so that a run that is cut short still leaves good weights.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import multiprocessing
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from batch.train.batches import Batch, Sampler
from batch.train.config import TrainConfig
from batch.train.dataset import Slice
from batch.train.network import EvidenceNet, SliceHead, slice_scores

log = logging.getLogger("ct.train")
CHECKPOINT = "checkpoint.pt"
_sampler: Sampler | None = None


def _make(step: int) -> Batch:
    if _sampler is None:
        raise RuntimeError("the sampler is set before the pool forks")
    return _sampler.batch(step)


def _ahead(sampler: Sampler, first: int, last: int, depth: int = 3) -> Iterator[Batch]:
    """Batches first..last-1, drawn in one child process a few steps ahead."""
    global _sampler
    _sampler = sampler
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as workers:
        waiting: deque[Future[Batch]] = deque()
        for step in range(first, last):
            while len(waiting) < depth and step + len(waiting) < last:
                waiting.append(workers.submit(_make, step + len(waiting)))
            yield waiting.popleft().result()


def loss_of(
    net: nn.Module,
    head: SliceHead,
    batch: Batch,
    config: TrainConfig,
    device: torch.device,
    sharpness: float = 1.0,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Label, cell and pair terms of one batch, and their values."""
    hu, cells, target, label, weight = (
        torch.from_numpy(a).to(device)
        for a in (batch.hu, batch.cells, batch.target, batch.label, batch.weight)
    )
    z = net(hu.contiguous(memory_format=torch.channels_last))
    logit = head(slice_scores(z, cells, sharpness))
    by_label = nn.functional.binary_cross_entropy_with_logits(logit, label, reduction="none")
    label_term = (by_label * weight).sum() / weight.sum()

    clean = cells * (target == 0)
    ill = cells * (target == 1)
    up, down = nn.functional.softplus(-z), nn.functional.softplus(z)
    axes = (1, 2, 3)
    quiet = (down * clean).sum(axes) / clean.sum(axes).clamp(min=1)
    known = (clean.sum(axes) > 0).float()
    # the mean keeps all of a healthy slice quiet, the loudest cells are what raises false alarms
    loudest = (down * clean).flatten(1).topk(12).values.mean(1)
    quiet_term = ((quiet + 0.3 * loudest) * known).sum() / known.sum().clamp(min=1)
    has = (ill.sum(axes) > 0).float()
    ill_term = ((up * ill).sum(axes) / ill.sum(axes).clamp(min=1) * has).sum() / has.sum().clamp(min=1)

    pairs = logit[-2 * batch.pairs :].view(-1, 2)
    pair_term = nn.functional.softplus(config.pair_margin - (pairs[:, 1] - pairs[:, 0])).mean()
    total = (
        label_term
        + config.healthy_cells * quiet_term
        + config.lesion_cells * ill_term
        + config.pair * pair_term
    )
    terms = {"label": label_term, "quiet": quiet_term, "lesion": ill_term, "pair": pair_term}
    return total, {name: float(value.detach()) for name, value in terms.items()}


def rate_at(step: int, config: TrainConfig) -> float:
    """Learning rate: linear warm-up, then a cosine to a hundredth."""
    done = step / max(1, config.steps)
    if done < config.warm_up:
        return config.peak_rate * (step + 1) / (config.warm_up * config.steps + 1)
    turn = (done - config.warm_up) / (1 - config.warm_up)
    return config.peak_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, turn))))


def _average(into: nn.Module, source: nn.Module, keep: float) -> None:
    with torch.no_grad():
        for kept, new in zip(into.state_dict().values(), source.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - keep)
            else:
                kept.copy_(new)


def train(
    slices: Sequence[Slice],
    config: TrainConfig,
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = False,
    start: Path | None = None,
) -> tuple[nn.Module, SliceHead]:
    """Train on ``slices`` and return the averaged network and slice head, in evaluation mode.

    Checkpoints go to ``out/checkpoint.pt`` and the terms of the loss to ``out/steps.jsonl``.
    ``start`` is a folder of another run whose network is gone on from, with a fresh schedule and head.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    where = torch.device(device)
    net = EvidenceNet(config.width).to(where, memory_format=torch.channels_last)
    head = SliceHead().to(where)
    mean_net, mean_head = copy.deepcopy(net), copy.deepcopy(head)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1] + list(head.parameters())
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.peak_rate, betas=(0.9, 0.98))
    first = 0
    checkpoint = out / CHECKPOINT
    parts: dict[str, Any] = {
        "net": net, "head": head, "mean_net": mean_net, "mean_head": mean_head, "optimiser": optimiser
    }  # fmt: skip
    if resume and checkpoint.exists():
        saved = torch.load(checkpoint, map_location=where, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        first = int(saved["step"])
        log.info("resumed at step %d", first)
    elif start is not None:
        saved = torch.load(start / CHECKPOINT, map_location=where, weights_only=True)
        for part in (net, mean_net):
            part.load_state_dict(saved["mean_net"])
        log.info("went on from the weights of %s", start)

    net.train()
    started = time.monotonic()
    recent: dict[str, list[float]] = {}
    sampler = Sampler(slices, config)
    with (out / "steps.jsonl").open("a", encoding="utf-8") as journal:
        for step, batch in enumerate(_ahead(sampler, first, config.steps), start=first):
            for group in optimiser.param_groups:
                group["lr"] = rate_at(step, config)
            sharpness = config.sharpness_first + step / config.steps * (
                config.sharpness_last - config.sharpness_first
            )
            total, terms = loss_of(net, head, batch, config, where, sharpness)
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            nn.utils.clip_grad_norm_([*decayed, *plain], 2.0)
            optimiser.step()
            keep = min(config.average, (1 + step) / (10 + step))
            _average(mean_net, net, keep)
            _average(mean_head, head, keep)
            for name, value in terms.items():
                recent.setdefault(name, []).append(value)
            done = step + 1
            if done % config.report_every == 0 or done == config.steps:
                means = {name: round(float(np.mean(values)), 4) for name, values in recent.items()}
                recent = {}
                pace = (time.monotonic() - started) / (done - first)
                left = pace * (config.steps - done) / 60
                log.info("step %d/%d %s %.2f s a step, %.0f min left", done, config.steps, means, pace, left)
                journal.write(json.dumps({"step": done, **means}) + "\n")
                journal.flush()
            if done % config.checkpoint_every == 0 or done == config.steps:
                state = {name: part.state_dict() for name, part in parts.items()}
                torch.save({**state, "step": done}, checkpoint.with_suffix(".new"))
                checkpoint.with_suffix(".new").replace(checkpoint)
    return mean_net.eval(), mean_head.eval()


def cell_logits(net: nn.Module, slices: Sequence[Slice], size: int = 16) -> list[np.ndarray[Any, Any]]:
    """Raw logits of each slice, shape (h / 4, w / 4)."""
    net.eval()
    where = next(net.parameters()).device
    out: list[np.ndarray[Any, Any]] = []
    with torch.inference_mode():
        for i in range(0, len(slices), size):
            hu = np.stack([item.hu for item in slices[i : i + size]])[:, None]
            out.extend(net(torch.from_numpy(hu).to(where))[:, 0].cpu().numpy())
    return out
