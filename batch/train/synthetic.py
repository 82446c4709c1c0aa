"""Synthetic pathologies on healthy axial slices: seeded, parametrised in mm, with exact masks.

Each recipe draws one appearance (density and texture, not a disease) into the lungs or the
mediastinum of a slice in HU. The mask is what the lesion really changed. NumPy and SciPy only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: a pixel belongs to the lesion where it changed by at least this much, HU
CHANGED_HU = 30.0


@dataclass(slots=True)
class Scene:
    """A slice to draw into, with what the recipes need to know about it."""

    hu: Floats
    lungs: Mask
    thorax: Mask
    mm: float
    rng: np.random.Generator

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels (height, width)."""
        height, width = self.hu.shape
        return height, width

    def uniform(self, low: float, high: float) -> float:
        """One number from [low, high)."""
        return float(self.rng.uniform(low, high))

    def field(self, scale_mm: float) -> Floats:
        """Smooth noise of zero mean and unit spread with structures of about ``scale_mm``."""
        noise = ndimage.gaussian_filter(self.rng.standard_normal(self.shape), scale_mm / self.mm / 2)
        return np.asarray((noise - noise.mean()) / (noise.std() + 1e-9), dtype=np.float32)

    def depth(self) -> Floats:
        """Distance of each lung pixel from the edge of the lungs, mm; 0 outside."""
        return np.asarray(ndimage.distance_transform_edt(self.lungs) * self.mm, dtype=np.float32)

    def one_lung(self) -> Mask:
        """One of the two lungs (the pixels on one side of the thorax), at random."""
        xs = np.flatnonzero(self.thorax.any(axis=0))
        middle = (xs[0] + xs[-1]) / 2
        side = (np.arange(self.shape[1]) < middle) == (self.rng.random() < 0.5)
        lung = self.lungs & side[None, :]
        return lung if lung.sum() > 0.15 * self.lungs.sum() else self.lungs

    def point(self, where: Mask) -> tuple[int, int]:
        """A random pixel (y, x) of ``where``; of the lungs if it is empty."""
        ys, xs = np.nonzero(where if where.any() else self.lungs)
        i = int(self.rng.integers(len(ys)))
        return int(ys[i]), int(xs[i])

    def lung_hu(self) -> float:
        """Typical density of aerated lung in this slice, HU."""
        return float(np.median(self.hu[self.lungs]))

    def blob(self, centre: tuple[int, int], radius_mm: float, rough: float, edge_mm: float) -> Floats:
        """Soft irregular disc, 1 inside and 0 outside; ``rough`` 0 is a smooth ellipse."""
        dy, dx = (np.mgrid[: self.shape[0], : self.shape[1]].T - np.array(centre)).T * self.mm
        tilt, flat = self.uniform(0, np.pi), self.uniform(0.7, 1.0)
        u = dx * np.cos(tilt) + dy * np.sin(tilt)
        v = (dy * np.cos(tilt) - dx * np.sin(tilt)) / flat
        angle = np.arctan2(v, u)
        wave = sum(
            self.rng.normal(0, rough / k) * np.cos(k * angle + self.uniform(0, 6.3)) for k in range(2, 9)
        )
        distance = radius_mm * (1 + wave) - np.hypot(u, v)
        return np.asarray(1 / (1 + np.exp(-np.clip(distance / edge_mm, -30, 30))), dtype=np.float32)


def _mix(hu: Floats, alpha: Floats, target: Floats | float) -> Floats:
    return np.asarray(hu + alpha * (target - hu), dtype=np.float32)


def _veil(scene: Scene, hu: Floats, alpha: Floats, rise_hu: float) -> Floats:
    """Denser lung with vessels and walls still visible: they keep a part of their contrast."""
    room = np.clip((20.0 - hu) / (20.0 - scene.lung_hu()), 0.0, 1.0)
    return np.asarray(hu + alpha * rise_hu * room, dtype=np.float32)


def _spread(scene: Scene, coverage: float, scale_mm: float, weight: Floats | None = None) -> Floats:
    """Soft patches covering about ``coverage`` of the lungs, more where ``weight`` is high."""
    field = scene.field(scale_mm) + 0.35 * scene.field(scale_mm / 4)
    if weight is not None:
        field = field + weight
    level = float(np.quantile(field[scene.lungs], 1 - coverage))
    soft = 1 / (1 + np.exp(-np.clip((field - level) / 0.18, -30, 30)))
    return np.asarray(soft * ndimage.gaussian_filter(scene.lungs.astype(np.float32), 0.6), dtype=np.float32)


def _dependence(scene: Scene) -> Floats:
    """0 at the front of the lungs, 1 at the back, plus up to 1 at the pleura."""
    ys = np.flatnonzero(scene.lungs.any(axis=1))
    slope = np.clip((np.arange(scene.shape[0]) - ys[0]) / max(1, ys[-1] - ys[0]), 0, 1)
    rim = np.exp(-scene.depth() / 15.0)
    return np.asarray(slope[:, None] + rim, dtype=np.float32)


def _nodule(scene: Scene, size_mm: float | None, low: float, high: float) -> tuple[Floats, float]:
    size = size_mm or float(np.exp(scene.uniform(np.log(low), np.log(high))))
    rim = scene.rng.random() < 0.35
    depth = scene.depth()
    where = (depth > 0) & (depth < 5) if rim else depth > min(6.0, size / 3)
    alpha = scene.blob(scene.point(where), size / 2, scene.uniform(0.0, 0.22), scene.uniform(0.5, 1.4))
    return alpha * scene.thorax, size


def _spicules(scene: Scene, alpha: Floats, count: int) -> Floats:
    """Thin rays leaving a nodule or a mass."""
    centre = np.array(ndimage.center_of_mass(alpha))
    radius = np.sqrt(float(alpha.sum()) / np.pi)
    rays = np.zeros(scene.shape, np.float32)
    for _ in range(count):
        angle, reach = scene.uniform(0, 2 * np.pi), radius * scene.uniform(1.3, 2.2)
        steps = np.linspace(0.6 * radius, reach, 24)
        ys = np.round(centre[0] + steps * np.sin(angle)).astype(int)
        xs = np.round(centre[1] + steps * np.cos(angle)).astype(int)
        ok = (ys >= 0) & (ys < scene.shape[0]) & (xs >= 0) & (xs < scene.shape[1])
        rays[ys[ok], xs[ok]] = np.linspace(1.0, 0.3, 24)[ok]
    rays = ndimage.gaussian_filter(rays, 0.6) * 1.4
    return np.asarray(np.maximum(alpha, np.clip(rays, 0, 0.8) * scene.lungs), dtype=np.float32)


def nodule_solid(scene: Scene, size_mm: float | None = None) -> Floats:
    """Solid nodule of 5 to 30 mm, smooth, lobed or spiculated."""
    alpha, size = _nodule(scene, size_mm, 5, 30)
    if size > 10 and scene.rng.random() < 0.4:
        alpha = _spicules(scene, alpha, int(scene.rng.integers(5, 14)))
    return _mix(scene.hu, alpha, scene.uniform(-20, 70) + 15 * scene.field(5))


def nodule_ground_glass(scene: Scene, size_mm: float | None = None) -> Floats:
    """Pure ground-glass nodule of 8 to 30 mm."""
    alpha, _ = _nodule(scene, size_mm, 8, 30)
    return _veil(scene, scene.hu, alpha, scene.uniform(170, 380))


def nodule_part_solid(scene: Scene, size_mm: float | None = None) -> Floats:
    """Ground-glass nodule with a solid core."""
    alpha, size = _nodule(scene, size_mm, 10, 32)
    hu = _veil(scene, scene.hu, alpha, scene.uniform(180, 350))
    centre = np.array(ndimage.center_of_mass(alpha)) + scene.rng.normal(0, size / 10 / scene.mm, 2)
    core = scene.blob((int(centre[0]), int(centre[1])), size * scene.uniform(0.15, 0.3), 0.2, 0.9)
    return _mix(hu, core * (alpha > 0.2), scene.uniform(-20, 60))


def nodule_calcified(scene: Scene, size_mm: float | None = None) -> Floats:
    """Calcified nodule of 4 to 15 mm."""
    alpha, _ = _nodule(scene, size_mm, 4, 15)
    return _mix(scene.hu, alpha, scene.uniform(200, 600))


def nodules_many(scene: Scene, size_mm: float | None = None) -> Floats:
    """Four to fifteen small nodules, as metastases lie."""
    hu = scene.hu
    density = scene.uniform(-50, 60)
    for _ in range(int(scene.rng.integers(4, 16))):
        alpha, _ = _nodule(scene, size_mm, 4, 13)
        hu = _mix(hu, alpha, density)
    return hu


def mass(scene: Scene, size_mm: float | None = None) -> Floats:
    """Mass of 30 to 80 mm in the lung, at the pleura or at the hilum."""
    size = size_mm or scene.uniform(30, 80)
    near_hilum = scene.depth()
    where = (near_hilum > 0) & (near_hilum < 12) if scene.rng.random() < 0.5 else scene.lungs
    alpha = scene.blob(scene.point(where), size / 2, scene.uniform(0.05, 0.2), scene.uniform(0.8, 2.0))
    alpha = alpha * scene.thorax
    if scene.rng.random() < 0.5:
        alpha = _spicules(scene, alpha, int(scene.rng.integers(8, 24)))
    inner = scene.uniform(10, 60) + 10 * scene.field(12)
    if scene.rng.random() < 0.25:
        inner = inner - 30 * (alpha > 0.99)
    return _mix(scene.hu, np.asarray(alpha * (scene.hu < inner), np.float32), inner)


def consolidation(scene: Scene, size_mm: float | None = None) -> Floats:
    """Consolidation, mostly dependent and at the pleura, with air bronchograms and a hazy edge."""
    del size_mm
    lung = scene.one_lung()
    coverage = scene.uniform(0.06, 0.4)
    patch = _spread(scene, coverage, scene.uniform(25, 60), 1.3 * _dependence(scene)) * lung
    haze = ndimage.gaussian_filter(patch, scene.uniform(2, 6) / scene.mm) * lung
    hu = _veil(scene, scene.hu, np.asarray(haze, np.float32), scene.uniform(100, 350))
    hu = _mix(hu, patch, scene.uniform(-10, 50) + 20 * scene.field(6))
    if scene.rng.random() < 0.7:
        branches = np.exp(-((scene.field(14) / scene.uniform(0.05, 0.09)) ** 2)) * (scene.field(20) > 0.2)
        hu = _mix(hu, np.asarray(branches * (patch > 0.6), np.float32), scene.uniform(-850, -450))
    return hu


def ground_glass(scene: Scene, size_mm: float | None = None) -> Floats:
    """Ground-glass patches, one or many, often with finer lines inside (crazy paving)."""
    scale = size_mm or scene.uniform(14, 60)
    lungs = scene.lungs if scene.rng.random() < 0.7 else scene.one_lung()
    weight = scene.uniform(0, 1.2) * _dependence(scene)
    patch = _spread(scene, scene.uniform(0.04, 0.5), scale, weight) * lungs
    uneven = np.clip(1 + 0.2 * scene.field(8), 0.4, 1.6)
    hu = _veil(scene, scene.hu, np.asarray(patch * uneven, np.float32), scene.uniform(120, 420))
    if scene.rng.random() < 0.3:
        lines = np.exp(-((scene.field(7) / 0.22) ** 2))
        hu = _veil(scene, hu, np.asarray(lines * patch, np.float32), scene.uniform(100, 250))
    return hu


def reticulation(scene: Scene, size_mm: float | None = None) -> Floats:
    """Thickened septa: a net of lines, mostly under the pleura and at the back."""
    del size_mm
    zone = _spread(scene, scene.uniform(0.12, 0.5), 30, 2.0 * _dependence(scene))
    lines = np.exp(-((scene.field(scene.uniform(7, 12)) / scene.uniform(0.15, 0.3)) ** 2))
    hu = _veil(scene, scene.hu, zone, scene.uniform(30, 150))
    return _veil(scene, hu, np.asarray(zone * lines, np.float32), scene.uniform(250, 500))


def honeycombing(scene: Scene, size_mm: float | None = None) -> Floats:
    """Stacked air cysts with walls under the pleura."""
    cell = size_mm or scene.uniform(6, 12)
    zone = _spread(scene, scene.uniform(0.08, 0.35), 30, 3.0 * _dependence(scene))
    count = max(8, int(np.prod(scene.shape) * scene.mm**2 / cell**2))
    seeds = np.ones(scene.shape, bool)
    seeds[scene.rng.integers(0, scene.shape[0], count), scene.rng.integers(0, scene.shape[1], count)] = False
    _, nearest = ndimage.distance_transform_edt(seeds, return_indices=True)
    owner = nearest[0] * scene.shape[1] + nearest[1]
    walls = (ndimage.maximum_filter(owner, 2) != ndimage.minimum_filter(owner, 2)).astype(np.float32)
    walls = np.clip(ndimage.gaussian_filter(walls, 0.6) * 1.2, 0, 1)
    hu = _mix(scene.hu, zone, -930.0)
    return _mix(hu, np.asarray(zone * walls, np.float32), scene.uniform(-350, -50))


def emphysema_centrilobular(scene: Scene, size_mm: float | None = None) -> Floats:
    """Many small holes of air without walls."""
    hole = size_mm or scene.uniform(4, 14)
    field = scene.field(hole)
    zone = _spread(scene, scene.uniform(0.3, 0.95), 60)
    level = float(np.quantile(field, 1 - scene.uniform(0.15, 0.4)))
    holes = 1 / (1 + np.exp(-np.clip((field - level) / 0.25, -30, 30)))
    alpha = np.asarray(holes * zone * (scene.hu < -600), np.float32)
    return _mix(scene.hu, alpha, scene.uniform(-1000, -960))


def emphysema_panlobular(scene: Scene, size_mm: float | None = None) -> Floats:
    """Whole regions of too-thin lung with few vessels left."""
    del size_mm
    zone = _spread(scene, scene.uniform(0.4, 1.0), 70) * (scene.hu < scene.uniform(-700, -450))
    thin = scene.uniform(-990, -955) + 8 * scene.field(8)
    return _mix(scene.hu, np.asarray(scene.uniform(0.6, 0.95) * zone, np.float32), thin)


def emphysema_paraseptal(scene: Scene, size_mm: float | None = None) -> Floats:
    """A row of bullae with thin walls under the pleura."""
    depth = scene.depth()
    hu = scene.hu
    lung = scene.one_lung()
    for _ in range(int(scene.rng.integers(3, 10))):
        size = size_mm or scene.uniform(8, 32)
        centre = scene.point(lung & (depth > size / 4) & (depth < size / 2))
        alpha = scene.blob(centre, size / 2, 0.1, 0.7) * scene.lungs
        shell = np.exp(-(((alpha - 0.5) / 0.22) ** 2)) * scene.lungs
        hu = _mix(hu, alpha, scene.uniform(-1000, -965))
        hu = _mix(hu, np.asarray(0.6 * shell, np.float32), scene.uniform(-700, -450))
    return hu


def cavity(scene: Scene, size_mm: float | None = None) -> Floats:
    """Ring with a wall of 3 to 10 mm around air, sometimes with fluid at its bottom."""
    size = size_mm or scene.uniform(15, 55)
    depth = scene.depth()
    centre = scene.point(depth > min(12.0, size / 4))
    outer = scene.blob(centre, size / 2, 0.12, 1.0) * scene.thorax
    wall = min(size / 2 - 3, scene.uniform(3, 10))
    distance = ndimage.distance_transform_edt(outer > 0.5) * scene.mm
    inner = 1 / (1 + np.exp(-np.clip((distance - wall) / 0.8, -30, 30)))
    hu = _mix(scene.hu, outer, scene.uniform(0, 60) + 10 * scene.field(6))
    hu = _mix(hu, np.asarray(inner, np.float32), scene.uniform(-1000, -900))
    if scene.rng.random() < 0.25:
        rows = np.arange(scene.shape[0])[:, None] > centre[0] + scene.uniform(0, size / 5) / scene.mm
        hu = _mix(hu, np.asarray(inner * rows, np.float32), scene.uniform(0, 30))
    return hu


def effusion(scene: Scene, size_mm: float | None = None) -> Floats:
    """Fluid in the back of one pleural space: a crescent with a meniscus, lung above it denser."""
    lung = scene.one_lung()
    ys, xs = np.nonzero(lung)
    height = (size_mm or scene.uniform(12, 75)) / scene.mm
    middle, half = (xs.min() + xs.max()) / 2, max(4.0, (xs.max() - xs.min()) / 2)
    columns = (np.arange(scene.shape[1]) - middle) / half
    outward = 1.0 if middle > scene.shape[1] / 2 else -1.0
    rise = 0.25 * columns**2 + 0.3 * np.clip(columns * outward, 0, 1.3)
    surface = np.percentile(ys, 99.5) - height * (0.75 + rise) + 2 * scene.field(25)[0]
    distance = np.arange(scene.shape[0])[:, None] - surface[None, :]
    fill = 1 / (1 + np.exp(-np.clip(distance / 0.6, -30, 30)))
    soft_lung = ndimage.gaussian_filter(ndimage.binary_dilation(lung).astype(np.float32), 0.5)
    pressed = np.exp(-np.clip(-distance, 0, None) * scene.mm / 10.0) * soft_lung
    hu = _veil(scene, scene.hu, np.asarray(pressed, np.float32), scene.uniform(50, 450))
    return _mix(hu, np.asarray(fill * soft_lung, np.float32), scene.uniform(-5, 30))


def pneumothorax(scene: Scene, size_mm: float | None = None) -> Floats:
    """Air without vessels in front of a lung that fell back, behind a thin pleural line."""
    lung = scene.one_lung()
    xs = np.nonzero(lung)[1]
    width = (size_mm or scene.uniform(12, 60)) / scene.mm
    shift = np.array([width, -np.sign(xs.mean() - scene.shape[1] / 2) * width * 0.4])
    fallen = ndimage.shift(lung.astype(np.float32), shift, order=1) > 0.5
    fallen = ndimage.gaussian_filter((fallen & lung).astype(np.float32), 1.2)
    free = np.asarray(lung * (1 - fallen), np.float32)
    line = np.exp(-(((fallen - 0.5) / 0.25) ** 2)) * ndimage.binary_erosion(lung, iterations=2)
    hu = _veil(scene, scene.hu, np.asarray(fallen * lung, np.float32), scene.uniform(20, 120))
    hu = _mix(hu, free, scene.uniform(-1005, -985))
    return _mix(hu, np.asarray(0.8 * line, np.float32), scene.uniform(-600, -300))


def atelectasis(scene: Scene, size_mm: float | None = None) -> Floats:
    """Plate-like bands, or collapse of the dependent lung."""
    hu = scene.hu
    if scene.rng.random() < 0.35:
        patch = _spread(scene, scene.uniform(0.05, 0.2), 50, 5.0 * _dependence(scene)) * scene.one_lung()
        return _mix(hu, np.asarray(patch, np.float32), scene.uniform(-150, 60))
    grid_y, grid_x = np.mgrid[: scene.shape[0], : scene.shape[1]]
    for _ in range(int(scene.rng.integers(1, 4))):
        cy, cx = scene.point(scene.depth() > 4)
        angle = scene.rng.normal(0, 0.5)
        u = ((grid_x - cx) * np.cos(angle) + (grid_y - cy) * np.sin(angle)) * scene.mm
        v = ((grid_y - cy) * np.cos(angle) - (grid_x - cx) * np.sin(angle)) * scene.mm
        v = v + 0.002 * scene.uniform(-2, 2) * u**2
        length, thick = (size_mm or scene.uniform(20, 70)) / 2, scene.uniform(1.2, 4.0)
        alpha = np.exp(-((v / thick) ** 4)) / (1 + np.exp(np.clip((np.abs(u) - length) / 2, -30, 30)))
        hu = _mix(hu, np.asarray(alpha * scene.lungs, np.float32), scene.uniform(-200, 40))
    return hu


def enlarged_nodes(scene: Scene, size_mm: float | None = None) -> Floats:
    """Round soft-tissue nodes of 12 to 35 mm in the fat of mediastinum and hila, pushing into lung."""
    hu = scene.hu
    deep = ndimage.binary_erosion(scene.thorax, iterations=max(1, round(25 / scene.mm)))
    between = deep & ~scene.lungs & ~ndimage.binary_erosion(~scene.lungs, iterations=6)
    middle = np.flatnonzero(scene.thorax.any(axis=0))
    third = (middle[-1] - middle[0]) / 4
    centre = (middle[-1] + middle[0]) / 2
    near = np.abs(np.arange(scene.shape[1]) - centre) < third
    density = scene.uniform(20, 70)
    for _ in range(int(scene.rng.integers(1, 5))):
        size = size_mm or scene.uniform(12, 35)
        alpha = scene.blob(scene.point(between & near[None, :]), size / 2, 0.08, 1.0) * scene.thorax
        hu = _mix(hu, np.asarray(alpha * (hu < density), np.float32), density)
    return hu


Recipe = Callable[[Scene, "float | None"], Floats]

#: every pathology with its weight in training
RECIPES: dict[str, tuple[Recipe, float]] = {
    "nodule_solid": (nodule_solid, 3.0),
    "nodule_part_solid": (nodule_part_solid, 1.0),
    "nodule_ground_glass": (nodule_ground_glass, 1.0),
    "nodule_calcified": (nodule_calcified, 1.0),
    "nodules_many": (nodules_many, 0.8),
    "mass": (mass, 2.4),
    "consolidation": (consolidation, 1.2),
    "ground_glass": (ground_glass, 2.0),
    "reticulation": (reticulation, 1.0),
    "honeycombing": (honeycombing, 0.6),
    "emphysema_centrilobular": (emphysema_centrilobular, 1.2),
    "emphysema_panlobular": (emphysema_panlobular, 0.8),
    "emphysema_paraseptal": (emphysema_paraseptal, 0.8),
    "cavity": (cavity, 1.6),
    "effusion": (effusion, 1.0),
    "pneumothorax": (pneumothorax, 0.8),
    "atelectasis": (atelectasis, 1.0),
    "enlarged_nodes": (enlarged_nodes, 0.2),
}


@dataclass(frozen=True, slots=True)
class Lesion:
    """A slice with a drawn pathology.

    Attributes
    ----------
    hu : ndarray of float32
        The slice with the lesion, HU.
    mask : ndarray of bool
        Pixels that changed by `CHANGED_HU` or more, inside the thorax.
    kind : str
        Key of `RECIPES`.
    """

    hu: Floats
    mask: Mask
    kind: str


def draw(
    hu: Floats,
    lungs: Mask,
    thorax: Mask,
    mm: float,
    rng: np.random.Generator,
    *,
    kind: str | None = None,
    size_mm: float | None = None,
    tries: int = 4,
) -> Lesion | None:
    """Draw one pathology into a healthy slice.

    Parameters
    ----------
    hu, lungs, thorax : ndarray, shape (height, width)
        The slice in HU, its aerated lung, and where lesions may lie.
    mm : float
        Pixel size, mm.
    kind, size_mm : optional
        Key of `RECIPES` and its main length in mm; drawn at random where None.

    Returns
    -------
    Lesion or None
        None where the slice has too little room for a visible lesion.
    """
    names = list(RECIPES)
    weights = np.array([RECIPES[name][1] for name in names])
    if lungs.sum() * mm**2 < 1500:
        return None
    for _ in range(tries):
        chosen = kind or str(rng.choice(names, p=weights / weights.sum()))
        scene = Scene(hu=hu, lungs=lungs, thorax=thorax, mm=mm, rng=rng)
        changed = np.clip(RECIPES[chosen][0](scene, size_mm), -1024, 3000).astype(np.float32)
        mask = (np.abs(changed - hu) >= CHANGED_HU) & thorax
        if mask.sum() * mm**2 >= 12.0:
            return Lesion(hu=changed, mask=mask, kind=chosen)
    return None
