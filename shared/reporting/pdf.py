"""The report on A4, from the report's JSON and the key picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import font_roboto
from fpdf import FPDF
from fpdf.enums import Align, XPos, YPos
from fpdf.fonts import FontFace

from shared.errors import Lang
from shared.reporting.words import appearance_words, number, percent, place_words, say

#: so that verdict, picture and findings fit on the first page
_PICTURE_MM = 150
_INK = (20, 24, 28)
_QUIET = (95, 105, 115)
_VERDICT_COLOUR = {"pathology": (178, 74, 0), "normal": (0, 84, 150), "no_result": (90, 50, 110)}


def report_pdf(
    report: Mapping[str, Any],
    *,
    lang: Lang = "ru",
    picture: bytes | None = None,
    patient: str = "",
) -> bytes:
    """The report as PDF.

    Parameters
    ----------
    report : mapping
        What `shared.reporting.report.report_fields` answers.
    lang : {"ru", "en"}
        Language of the words.
    picture : bytes, optional
        The key picture, PNG.
    patient : str
        Name to print; nothing is printed for an empty one.

    Returns
    -------
    bytes
        Equal for equal input: the file's date is the analysis's date.
    """
    page = _Page(lang)
    page.set_creation_date(datetime.fromisoformat(report["created_at"]))
    page.set_title(say("title", lang))
    page.set_lang(lang)
    page.add_page()
    page.heading(say("title", lang), 16)
    page.paragraph(say("disclaimer", lang), bold=True)
    page.ln(2)
    _identity(page, report, patient)
    page.ln(2)
    _verdict(page, report)
    if picture is not None and report["verdict"] != "no_result":
        page.ln(3)
        page.image(io.BytesIO(picture), w=_PICTURE_MM, x=Align.C, alt_text=say("decisive", lang))
    _findings(page, report)
    _passport(page, report)
    _warnings(page, report)
    model = report["model"]
    page.heading(say("model", lang))
    page.paragraph(f"{model['name']} {model['version']}")
    page.paragraph(f"sha256 {model['sha256']}", quiet=True)
    return bytes(page.output())


class _Page(FPDF):
    """A4 with a shipped font that has Cyrillic, and the disclaimer under every page."""

    def __init__(self, lang: Lang) -> None:
        super().__init__(format="A4", unit="mm")
        self.lang: Lang = lang
        self.add_font("Roboto", fname=font_roboto.font_files["Roboto"])
        self.add_font("Roboto", style="B", fname=font_roboto.font_files["RobotoBold"])
        self.set_margins(16, 14, 16)
        self.set_auto_page_break(True, 18)
        self.set_text_color(*_INK)

    def footer(self) -> None:
        """Disclaimer and page number."""
        self.set_y(-13)
        self.set_font("Roboto", size=8)
        self.set_text_color(*_QUIET)
        self.cell(0, 5, f"{say('disclaimer', self.lang)}  ·  {self.page_no()}", align="C")
        self.set_text_color(*_INK)

    def heading(self, text: str, size: int = 12) -> None:
        """A heading that is not left alone at the foot of a page."""
        if self.will_page_break(size + 14):
            self.add_page()
        self.ln(2)
        self.set_font("Roboto", "B", size)
        self.multi_cell(0, size * 0.5, text, align=Align.L, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(0.5)

    def paragraph(self, text: str, *, bold: bool = False, quiet: bool = False, size: float = 9.5) -> None:
        """Wrapped text."""
        self.set_font("Roboto", "B" if bold else "", size)
        self.set_text_color(*(_QUIET if quiet else _INK))
        self.multi_cell(0, 4.6, text, align=Align.L, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_text_color(*_INK)

    def pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        """Names and values; empty values are left out."""
        for name, value in rows:
            if not value:
                continue
            self.set_font("Roboto", size=9.5)
            self.set_text_color(*_QUIET)
            self.cell(48, 5, name)
            self.set_text_color(*_INK)
            self.multi_cell(0, 5, value, align=Align.L, new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def grid(self, head: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
        """A table with a bold first line."""
        self.set_font("Roboto", size=8.5)
        with self.table(
            col_widths=tuple(widths),
            line_height=4.6,
            borders_layout="HORIZONTAL_LINES",
            headings_style=FontFace(emphasis="BOLD"),
        ) as table:
            for row in [head, *rows]:
                table.row(list(row))


def _identity(page: _Page, report: Mapping[str, Any], patient: str) -> None:
    lang, passport = page.lang, report["passport"]
    page.pairs(
        [
            (say("patient", lang), patient),
            (say("file", lang), str(report["path_to_study"])),
            (say("study", lang), str(report["study_uid"])),
            (say("series", lang), str(report["series_uid"])),
            (say("study_date", lang), str(passport.get("study_date") or "")),
            (say("analysed_at", lang), str(report["created_at"])[:19].replace("T", " ") + " UTC"),
            (say("seconds", lang), number(float(report["time_of_processing"]), 1, lang)),
        ]
    )


def _verdict(page: _Page, report: Mapping[str, Any]) -> None:
    lang, verdict = page.lang, report["verdict"]
    page.set_text_color(*_VERDICT_COLOUR[verdict])
    page.set_font("Roboto", "B", 17)
    page.multi_cell(
        0,
        9,
        f"{say('verdict', lang)}: {say(verdict, lang)}",
        align=Align.L,
        new_x=XPos.LMARGIN,
        new_y=YPos.NEXT,
    )
    page.set_text_color(*_INK)
    if verdict == "no_result":
        page.paragraph(f"{say('reason', lang)}: {report['reason'] or ''} ({report['reason_code']})", size=11)
        return
    probability, threshold = float(report["probability_of_pathology"]), float(report["threshold"])
    page.paragraph(
        f"{say('probability', lang)}: {number(probability, 3, lang)}   "
        f"{say('threshold', lang).lower()}: {number(threshold, 3, lang)}",
        size=11,
    )
    # the probability on its way from 0 to 1, with the threshold as a mark
    x, y, width, height = page.l_margin, page.get_y() + 1.5, page.epw, 3.0
    page.set_fill_color(228, 231, 234)
    page.rect(x, y, width, height, style="F")
    page.set_fill_color(*_VERDICT_COLOUR[verdict])
    page.rect(x, y, width * probability, height, style="F")
    page.set_draw_color(*_INK)
    page.set_line_width(0.5)
    page.line(x + width * threshold, y - 1.2, x + width * threshold, y + height + 1.2)
    page.set_line_width(0.2)
    page.set_fill_color(255, 255, 255)
    page.set_y(y + height + 2)


def _findings(page: _Page, report: Mapping[str, Any]) -> None:
    lang = page.lang
    if report["verdict"] == "no_result":
        return
    page.heading(say("findings", lang))
    findings = report["findings"]
    if not findings:
        page.paragraph(say("no_findings", lang))
        return
    rows = [
        [
            str(n),
            percent(f["share"], lang),
            number(f["volume_ml"], 1, lang),
            place_words(f["side"], f["third"], f["place"], lang),
            appearance_words(f["appearance"], lang),
            str(f["peak_slice"] + 1),
        ]
        for n, f in enumerate(findings, start=1)
    ]
    total = sum(f["share"] for f in findings)
    rows.append(["", percent(max(0.0, 1.0 - total), lang), "", say("elsewhere", lang), "", ""])
    head = ["number", "share", "volume_ml", "place", "appearance", "slice_no"]
    page.grid([say(name, lang) for name in head], rows, [6, 18, 16, 40, 26, 10])
    page.ln(1)
    page.paragraph(say("exact", lang), quiet=True, size=8.5)


def _passport(page: _Page, report: Mapping[str, Any]) -> None:
    lang, passport = page.lang, report["passport"]
    volume, coverage = passport.get("volume"), passport.get("coverage")
    voxel = " × ".join(number(v, 2, lang) for v in volume["spacing_mm"]) if volume else ""
    lungs = ""
    if coverage:
        lungs = (
            f"{say('lungs_' + coverage['lungs_found'], lang)}, "
            f"{number(coverage['lung_ml'], 0, lang)} {say('ml', lang)}"
        )
    page.heading(say("passport", lang))
    page.pairs(
        [
            (say("modality", lang), str(passport["modality"])),
            (say("scanner", lang), f"{passport['manufacturer']} {passport['scanner_model']}".strip()),
            (say("kernel", lang), str(passport["kernel"])),
            (say("slices", lang), str(passport["n_slices"] or "")),
            (say("voxel", lang), voxel),
            (say("coverage", lang), lungs),
            (say("choice", lang), str(passport["choice"])),
        ]
    )


def _warnings(page: _Page, report: Mapping[str, Any]) -> None:
    lang = page.lang
    page.heading(say("warnings", lang))
    for warning in report["warnings"]:
        page.paragraph(f"•  {warning['text']}")
    if not report["warnings"]:
        page.paragraph(say("no_warnings", lang))
