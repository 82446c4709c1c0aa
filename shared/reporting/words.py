"""Every word of the report, the picture and the PDF, in Russian and English."""

from __future__ import annotations

from collections.abc import Mapping

from shared.errors import Lang

#: token -> (Russian, English)
WORDS: Mapping[str, tuple[str, str]] = {
    # verdicts
    "normal": ("Норма", "Normal"),
    "pathology": ("Патология", "Pathology"),
    "no_result": ("Нет результата", "No result"),
    # findings
    "solid": ("солидная плотность", "solid"),
    "ground_glass": ("матовое стекло", "ground glass"),
    "low_attenuation": ("пониженная плотность", "low attenuation"),
    "calcified": ("обызвествление", "calcified"),
    "fluid": ("жидкостная плотность", "fluid"),
    "lung": ("лёгкое", "lung"),
    "pleura": ("плевра", "pleura"),
    "mediastinum": ("средостение", "mediastinum"),
    "left": ("слева", "left"),
    "right": ("справа", "right"),
    "middle_side": ("по средней линии", "midline"),
    "upper": ("верхняя треть", "upper third"),
    "middle": ("средняя треть", "middle third"),
    "lower": ("нижняя треть", "lower third"),
    "undescribed": ("плотность не определена", "density not described"),
    # the report as a whole
    "title": ("КТ органов грудной клетки: автоматический анализ", "Chest CT: automatic analysis"),
    "disclaimer": (
        "Только для исследовательских целей. Не является диагнозом.",
        "Research use only. Not a diagnosis.",
    ),
    "exact": (
        "Цвет показывает точный вклад каждого места в это решение.",
        "The heat is each place's exact share in this decision.",
    ),
    "patient": ("Пациент", "Patient"),
    "study": ("Исследование", "Study"),
    "study_date": ("Дата исследования", "Study date"),
    "file": ("Файл", "File"),
    "series": ("Серия", "Series"),
    "analysed_at": ("Проанализировано", "Analysed"),
    "seconds": ("Время обработки, с", "Processing time, s"),
    "verdict": ("Заключение", "Verdict"),
    "probability": ("Вероятность патологии", "Probability of pathology"),
    "threshold": ("Порог", "Threshold"),
    "reason": ("Причина", "Reason"),
    "findings": ("Находки", "Findings"),
    "no_findings": ("Находок нет.", "No findings."),
    "warnings": ("Предупреждения", "Warnings"),
    "no_warnings": ("Предупреждений нет.", "No warnings."),
    "passport": ("Что прочитано", "What was read"),
    "model": ("Модель", "Model"),
    "number": ("№", "No."),
    "share": ("Доля в решении", "Share in decision"),
    "volume_ml": ("Объём, мл", "Volume, ml"),
    "place": ("Место", "Place"),
    "appearance": ("Вид", "Appearance"),
    "slice_no": ("Срез", "Slice"),
    "sum": ("Сумма", "Sum"),
    "elsewhere": ("вне находок", "outside the findings"),
    # the passport's summary
    "modality": ("Модальность", "Modality"),
    "scanner": ("Аппарат", "Scanner"),
    "kernel": ("Фильтр реконструкции", "Kernel"),
    "slices": ("Срезов", "Slices"),
    "voxel": ("Воксель (z × y × x), мм", "Voxel (z × y × x), mm"),
    "coverage": ("Лёгкие", "Lungs"),
    "lungs_both": ("оба", "both"),
    "lungs_left": ("только левое", "left only"),
    "lungs_right": ("только правое", "right only"),
    "lungs_none": ("не найдены", "not found"),
    "ml": ("мл", "ml"),
    "choice": ("Выбор серии", "Choice of series"),
    # the picture
    "slice": ("Срез {n} из {total}, счёт от стоп", "Slice {n} of {total}, counted from the feet"),
    "z": ("z = {z} мм", "z = {z} mm"),
    "slice_share": ("Доля среза в решении: {share}", "Share of the slice in the decision: {share}"),
    "decisive": ("Решающий срез", "Decisive slice"),
    "decisive_is": ("Решающий срез: {n}", "The decisive slice is {n}"),
    "window": ("Окно: {level} / {width} HU", "Window: {level} / {width} HU"),
    "bar_title": ("Вклад в решение,", "Evidence for pathology,"),
    "bar_unit": ("ед./мл, шкала постоянна", "units/ml, fixed scale"),
    "on_slice": ("Находки на срезе", "Findings on this slice"),
    "none_on_slice": ("нет", "none"),
    "right_of_patient": ("правая", "right"),
    "left_of_patient": ("левая", "left"),
    "front": ("спереди", "front"),
    "back": ("сзади", "back"),
    "sides_unsure": ("Стороны предположены", "The sides are assumed"),
    "scale": ("{mm} мм", "{mm} mm"),
    "there_already": ("уже загружен", "is there already"),
    "and_more": ("и ещё {n}", "and {n} more"),
}


def say(token: str, lang: Lang, /, **params: str | int | float) -> str:
    """The words for a token; raises KeyError for one that the table lacks."""
    ru, en = WORDS[token]
    text = ru if lang == "ru" else en
    return text.format(**params) if params else text


def number(value: float, digits: int, lang: Lang) -> str:
    """A number with ``digits`` decimals, the language's decimal mark and a real minus sign."""
    text = f"{value:.{digits}f}".replace("-", "−")
    return text.replace(".", ",") if lang == "ru" else text


def percent(share: float, lang: Lang) -> str:
    """A share 0..1 in percent, one decimal."""
    return f"{number(100.0 * share, 1, lang)} %"


def side_words(side: str, lang: Lang) -> str:
    """``left``, ``right`` or ``middle`` (the mid line) of the patient."""
    return say("middle_side" if side == "middle" else side, lang)


def place_words(side: str, third: str, place: str, lang: Lang) -> str:
    """Where a finding is, in words: lung, right, upper third."""
    return f"{say(place, lang)}, {side_words(side, lang)}, {say(third, lang)}"


def appearance_words(appearance: str | None, lang: Lang) -> str:
    """What a finding looks like: its density, never a disease."""
    return say(appearance or "undescribed", lang)
