"""The key picture: one axial slice with its exact evidence, and all that is needed to read it.

The slice is drawn as radiologists look at it, from the feet: the patient's right is on the left.
A study without a verdict has no key picture, so that none can look healthy.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from shared.ct.passport import Passport
from shared.ct.volume import Volume
from shared.errors import Lang
from shared.model.analysis import Analysis, DecisiveSlice, Evidence, Finding, ModelInfo, Verdict
from shared.reporting.canvas import INK, Pen, fit, font, haloed
from shared.reporting.heat import FULL_SCALE_PER_ML, blend, density_on_slice
from shared.reporting.report import AnalysisRecord, all_warnings
from shared.reporting.words import appearance_words, number, percent, place_words, say

#: lung window, HU
LEVEL, WIDTH = -600, 1500

_VIEW = 768
_MARGIN = 20
_TOP = 64
_PANEL = 332
_FOOT = 56
_SIZE = (_MARGIN + _VIEW + _MARGIN + _PANEL + _MARGIN, _TOP + _VIEW + _FOOT)
_PAPER = (13, 16, 20)
_QUIET = (160, 170, 180)
_OUTLINE = (120, 230, 255)
_VERDICT_COLOUR = {"pathology": (255, 150, 70), "normal": (130, 200, 255)}
_VERDICT_SIGN = {"pathology": "▲", "normal": "●"}
_SCALE_BAR_MM = 50


@dataclass(frozen=True, slots=True)
class _Case:
    """What the picture says, whether the analysis is fresh or stored."""

    verdict: Verdict
    probability: float
    threshold: float
    decisive: DecisiveSlice | None
    findings: Sequence[Finding]
    model: ModelInfo
    warnings: Sequence[str]
    sides_unsure: bool


@dataclass(frozen=True, slots=True)
class _Slice:
    """One slice in HU (y, x) with where it lies."""

    hu: NDArray[np.int16]
    index: int
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Pixel size in mm along y and x."""
        x, y = np.linalg.norm(self.affine[:3, :2], axis=0)
        return float(y), float(x)

    @property
    def z_mm(self) -> float:
        """LPS z of the slice's middle, mm."""
        _, ny, nx = self.shape
        return float((self.affine @ [(nx - 1) / 2, (ny - 1) / 2, self.index, 1.0])[2])


def key_picture(
    volume: Volume,
    analysis: Analysis,
    *,
    lang: Lang = "ru",
    index: int | None = None,
    passport: Passport | None = None,
) -> Image.Image:
    """The picture of a fresh analysis.

    Parameters
    ----------
    volume, analysis
        What was analysed and the answer.
    lang : {"ru", "en"}
        Language of the words.
    index : int, optional
        Slice from the feet; the decisive one by default.
    passport : Passport, optional
        Its warnings are shown too.

    Raises
    ------
    ValueError
        The analysis has no verdict.
    IndexError
        There is no such slice.
    """
    notices = all_warnings(passport, analysis.warnings)
    case = _Case(
        verdict=analysis.verdict,
        probability=analysis.probability,
        threshold=analysis.threshold,
        decisive=analysis.decisive,
        findings=analysis.findings,
        model=analysis.model,
        warnings=[w.text(lang) for w in notices],
        sides_unsure=any(w.code == "geometry_assumed" for w in notices),
    )
    chosen = _choose(index, case, volume.shape[0])
    one = _Slice(volume.hu[chosen], chosen, volume.shape, volume.affine)
    return _draw(one, analysis.evidence, case, lang)


def picture_from_blocks(
    geometry: Mapping[str, Any],
    read_block: Callable[[int], bytes],
    evidence: Evidence,
    analysis: AnalysisRecord,
    *,
    lang: Lang = "ru",
    index: int | None = None,
) -> Image.Image:
    """The picture of a stored analysis, from the viewer's blocks: the source is not touched.

    Parameters
    ----------
    geometry : mapping
        The volume's ``geometry.json``.
    read_block : callable
        Answers the gzipped int16 block of a number (slice // ``block_depth``).
    evidence, analysis
        What `shared.reporting.evidence_file.unpack` and the document store answer.

    Raises
    ------
    ValueError
        The analysis has no verdict, or the block is not of the geometry's shape.
    IndexError
        There is no such slice.
    """
    nz, ny, nx = (int(v) for v in geometry["shape"])
    notices = all_warnings(analysis.passport, analysis.warnings)
    if analysis.probability is None or analysis.threshold is None:
        raise ValueError("an analysis without a verdict has no key picture")
    case = _Case(
        verdict=analysis.verdict,
        probability=analysis.probability,
        threshold=analysis.threshold,
        decisive=analysis.decisive_slice,
        findings=analysis.findings,
        model=analysis.model,
        warnings=[w.text(lang) for w in notices],
        sides_unsure=any(w.code == "geometry_assumed" for w in notices),
    )
    chosen = _choose(index, case, nz)
    depth = int(geometry["block_depth"])
    block = np.frombuffer(gzip.decompress(read_block(chosen // depth)), dtype="<i2").reshape(-1, ny, nx)
    affine = np.asarray(geometry["affine_lps"], dtype=np.float64)
    one = _Slice(block[chosen % depth].astype(np.int16), chosen, (nz, ny, nx), affine)
    return _draw(one, evidence, case, lang)


def png_bytes(image: Image.Image) -> bytes:
    """PNG bytes; the same picture gives the same bytes."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _choose(index: int | None, case: _Case, slices: int) -> int:
    if case.verdict == "no_result":
        raise ValueError("an analysis without a verdict has no key picture")
    if index is None:
        index = case.decisive.index if case.decisive else slices // 2
    if not 0 <= index < slices:
        raise IndexError(f"slice {index} of {slices}")
    return index


def _draw(one: _Slice, evidence: Evidence, case: _Case, lang: Lang) -> Image.Image:
    image = Image.new("RGB", _SIZE, _PAPER)
    draw = ImageDraw.Draw(image)
    _, ny, nx = one.shape
    mm_y, mm_x = one.pixel_mm
    scale = _VIEW / max(ny * mm_y, nx * mm_x)  # picture pixels per mm, equal in both directions
    width, height = max(1, round(nx * mm_x * scale)), max(1, round(ny * mm_y * scale))
    left, top = _MARGIN + (_VIEW - width) // 2, _TOP + (_VIEW - height) // 2

    low = LEVEL - WIDTH / 2
    grey = np.clip((one.hu.astype(np.float32) - low) * (255.0 / WIDTH), 0, 255).round().astype(np.uint8)
    resized = np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC))
    heat = density_on_slice(evidence, one.affine, one.shape, one.index, (height, width))
    draw.rectangle((_MARGIN, _TOP, _MARGIN + _VIEW - 1, _TOP + _VIEW - 1), fill=(0, 0, 0))
    image.paste(Image.fromarray(blend(resized, heat)), (left, top))

    here = [
        (number_, finding)
        for number_, finding in enumerate(case.findings, start=1)
        if finding.box_voxel[4] <= one.index <= finding.box_voxel[5]
    ]
    for number_, finding in here:
        _outline(draw, finding, number_, (left, top), width / nx, height / ny)
    _sides(draw, case, lang)
    _scale_bar(draw, scale, lang)
    _title(draw, case, lang)
    _panel(draw, image, one, evidence, case, here, lang)
    _footer(draw, case, lang)
    return image


def _outline(
    draw: ImageDraw.ImageDraw, finding: Finding, number_: int, origin: tuple[int, int], px: float, py: float
) -> None:
    x0, x1, y0, y1 = finding.box_voxel[:4]
    box = (
        round(origin[0] + x0 * px) - 1,
        round(origin[1] + y0 * py) - 1,
        round(origin[0] + (x1 + 1) * px),
        round(origin[1] + (y1 + 1) * py),
    )
    draw.rectangle(box, outline=_OUTLINE, width=1)
    haloed(draw, (box[0], box[1] - 3), str(number_), font(17, bold=True), _OUTLINE, "ls")


def _sides(draw: ImageDraw.ImageDraw, case: _Case, lang: Lang) -> None:
    """Side letters, by the volume's fixed axes: the first column is the patient's right."""
    middle, right, bottom = _TOP + _VIEW // 2, _MARGIN + _VIEW, _TOP + _VIEW
    unsure = "?" if case.sides_unsure else ""
    big, small = font(30, bold=True), font(15)
    centre = _MARGIN + _VIEW // 2
    haloed(draw, (_MARGIN + 8, middle), "R" + unsure, big, INK, "lm")
    haloed(draw, (_MARGIN + 8, middle + 28), say("right_of_patient", lang), small, INK, "lm")
    haloed(draw, (right - 8, middle), "L" + unsure, big, INK, "rm")
    haloed(draw, (right - 8, middle + 28), say("left_of_patient", lang), small, INK, "rm")
    haloed(draw, (centre, _TOP + 16), f"A {say('front', lang)}", small, INK, "mm")
    haloed(draw, (centre, bottom - 16), f"P {say('back', lang)}", small, INK, "mm")


def _scale_bar(draw: ImageDraw.ImageDraw, scale: float, lang: Lang) -> None:
    length = max(1, round(_SCALE_BAR_MM * scale))
    x, y = _MARGIN + 16, _TOP + _VIEW - 20
    draw.rectangle((x - 1, y - 6, x + length, y + 1), fill=(0, 0, 0))
    draw.rectangle((x, y - 5, x + length - 1, y), fill=INK)
    text = say("scale", lang, mm=_SCALE_BAR_MM)
    haloed(draw, (x, y - 12), text, font(15), INK, "ls")


def _title(draw: ImageDraw.ImageDraw, case: _Case, lang: Lang) -> None:
    colour = _VERDICT_COLOUR[case.verdict]
    middle = _TOP // 2
    x, size = _MARGIN, 22
    if case.verdict == "pathology":
        draw.polygon([(x, middle + 10), (x + size, middle + 10), (x + size // 2, middle - 10)], fill=colour)
    else:
        draw.ellipse((x, middle - 11, x + size, middle + 11), outline=colour, width=3)
    draw.text((x + size + 12, middle), say(case.verdict, lang), font=font(30, True), fill=colour, anchor="lm")
    text = (
        f"{say('probability', lang)}: {number(case.probability, 3, lang)}   "
        f"{say('threshold', lang).lower()}: {number(case.threshold, 3, lang)}"
    )
    draw.text((_MARGIN + _VIEW, middle), text, font=font(20), fill=INK, anchor="rm")
    title = say("title", lang)
    draw.text((_MARGIN * 2 + _VIEW, middle), title, font=fit(title, _PANEL, 17), fill=_QUIET, anchor="lm")


def _panel(
    draw: ImageDraw.ImageDraw,
    image: Image.Image,
    one: _Slice,
    evidence: Evidence,
    case: _Case,
    here: Sequence[tuple[int, Finding]],
    lang: Lang,
) -> None:
    x = 2 * _MARGIN + _VIEW
    pen = Pen(draw, x, _TOP, _PANEL, _TOP + _VIEW)
    decisive = case.decisive is not None and case.decisive.index == one.index
    if decisive:
        pen.line(say("decisive", lang), 18, bold=True)
    pen.line(say("slice", lang, n=one.index + 1, total=one.shape[0]), 18, bold=not decisive)
    pen.line(say("z", lang, z=number(one.z_mm, 1, lang)))
    pen.line(say("slice_share", lang, share=percent(float(evidence.slice_share[one.index]), lang)))
    if case.decisive is not None and not decisive:
        pen.line(say("decisive_is", lang, n=case.decisive.index + 1), colour=_QUIET)
    pen.line(say("window", lang, level=number(LEVEL, 0, lang), width=WIDTH), colour=_QUIET)
    pen.gap(14)
    _colour_bar(draw, image, pen, lang)
    pen.gap(14)
    pen.line(say("exact", lang), 15, colour=_QUIET)
    pen.gap(14)
    pen.line(f"{say('on_slice', lang)}:" + ("" if here else f" {say('none_on_slice', lang)}"), 16, bold=True)
    for shown, (number_, finding) in enumerate(here):
        if pen.y > pen.limit - 190:
            pen.line(say("and_more", lang, n=len(here) - shown), 15, colour=_QUIET)
            break
        volume = f"{number(finding.volume_ml, 1, lang)} {say('ml', lang)}"
        head = f"{number_}. {percent(finding.share, lang)}, {volume}"
        pen.line(head, 15, bold=True, colour=_OUTLINE)
        pen.line(appearance_words(finding.appearance, lang), 15)
        pen.line(place_words(finding.side, finding.third, finding.place, lang), 15)
    if case.warnings:
        pen.gap(10)
        pen.line(f"{say('warnings', lang)}:", 15, bold=True)
        for shown, text in enumerate(case.warnings):
            if not pen.line(text, 14):
                left = len(case.warnings) - shown
                pen.limit = _SIZE[1]
                pen.line(say("and_more", lang, n=left), 14, colour=_QUIET)
                break


def _colour_bar(draw: ImageDraw.ImageDraw, image: Image.Image, pen: Pen, lang: Lang) -> None:
    """Density to colour on the fixed scale, as it looks over dark lung."""
    pen.line(say("bar_title", lang), 15)
    pen.line(say("bar_unit", lang), 15)
    pen.gap(4)
    width, height = _PANEL - 40, 22
    ramp = np.linspace(0.0, FULL_SCALE_PER_ML, width, dtype=np.float32)
    bar = blend(np.full((height, width), 40, dtype=np.uint8), np.tile(ramp, (height, 1)))
    image.paste(Image.fromarray(bar), (pen.x, pen.y))
    draw.rectangle((pen.x - 1, pen.y - 1, pen.x + width, pen.y + height), outline=_QUIET)
    for value in range(int(FULL_SCALE_PER_ML) + 1):
        at = pen.x + round((width - 1) * value / FULL_SCALE_PER_ML)
        draw.line((at, pen.y + height, at, pen.y + height + 5), fill=_QUIET)
        text = f"≥ {value}" if value == FULL_SCALE_PER_ML else str(value)
        draw.text((at, pen.y + height + 8), text, font=font(14), fill=INK, anchor="ma")
    pen.y += height + 26


def _footer(draw: ImageDraw.ImageDraw, case: _Case, lang: Lang) -> None:
    y = _TOP + _VIEW + _FOOT // 2
    draw.text((_MARGIN, y), say("disclaimer", lang), font=font(18, bold=True), fill=INK, anchor="lm")
    model = case.model
    text = f"{say('model', lang)}: {model.name} {model.version}, sha256 {model.sha256[:12]}"
    draw.text((_SIZE[0] - _MARGIN, y), text, font=fit(text, 480, 15), fill=_QUIET, anchor="rm")
