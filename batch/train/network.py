"""The network: HU in, one raw logit per cell out, with a receptive field that is bounded by design.

Windowing is the first layer, so that the exported graph takes HU as they are. Batch normalisation
(fixed numbers at inference) keeps the field bounded; a norm over the whole slice would not.
"""

from __future__ import annotations

import torch
from torch import nn

from batch.train.dataset import GRID_MM, STRIDE

#: display windows in HU, one input channel each: thin lung, lung, soft tissue, everything
WINDOWS = ((-1020.0, -840.0), (-1000.0, -400.0), (-200.0, 200.0), (-1000.0, 300.0))


class Block(nn.Module):
    """Two 3 x 3 convolutions with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_one = nn.BatchNorm2d(channels)
        self.two = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_two = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape in and out."""
        y = torch.relu(self.norm_one(self.one(x)))
        return torch.relu(x + self.norm_two(self.two(y)))


class EvidenceNet(nn.Module):
    """Fully convolutional, output stride 4, field of 51 pixels (102 mm on a 2 mm grid)."""

    def __init__(self, width: int = 56) -> None:
        super().__init__()
        low = torch.tensor([w[0] for w in WINDOWS]).view(1, -1, 1, 1)
        high = torch.tensor([w[1] for w in WINDOWS]).view(1, -1, 1, 1)
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        stem = 24
        self.stem = nn.Sequential(
            nn.Conv2d(len(WINDOWS), stem, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
            nn.Conv2d(stem, stem, 3, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
            nn.Conv2d(stem, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.body = nn.Sequential(Block(width), Block(width))
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 32, 1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
        )
        nn.init.constant_(self.head[-1].bias, -3.0)

    def forward(self, hu: torch.Tensor) -> torch.Tensor:
        """HU (n, 1, h, w) → raw logits (n, 1, h / 4, w / 4)."""
        windows = torch.clamp((hu - self.low) / (self.high - self.low), 0.0, 1.0) * 2.0 - 1.0
        return self.head(self.body(self.stem(windows)))


class SliceHead(nn.Module):
    """Slice logit from the sum of evidence: ``a log(S + s0) + b`` with a, s0 > 0 and S in cm²."""

    def __init__(self) -> None:
        super().__init__()
        self.log_a = nn.Parameter(torch.tensor(-0.6))
        self.log_s0 = nn.Parameter(torch.tensor(0.4))
        self.b = nn.Parameter(torch.tensor(-1.2))

    def forward(self, score: torch.Tensor) -> torch.Tensor:
        """Scores (n,) in cm² → logits (n,)."""
        return torch.exp(self.log_a) * torch.log(score + torch.exp(self.log_s0)) + self.b


#: area of one output cell, cm²
CELL_CM2 = (GRID_MM * STRIDE / 10.0) ** 2
#: how far one cell sees, mm
RECEPTIVE_MM = 51 * GRID_MM


def slice_scores(z: torch.Tensor, cells: torch.Tensor, sharpness: float) -> torch.Tensor:
    """Sum of evidence over the thorax cells, cm²; z and cells have shape (n, 1, h, w).

    Evidence is ``softplus(k z) / k``: at sharpness k = 1 every cell has a gradient, the larger k,
    the closer to the ``relu`` of inference and the less the many quiet cells add up to.
    """
    return (nn.functional.softplus(z, beta=sharpness) * cells).sum(dim=(1, 2, 3)) * CELL_CM2
