"""The one table of reason codes, with words in Russian and English, and the exceptions that carry them.

Everything that can go wrong for a user has a row here: refusals of input, warnings beside a
verdict, and problems of a request. Nothing else in ``shared`` lies below this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

Lang = Literal["ru", "en"]
LANGS: tuple[Lang, ...] = ("ru", "en")
#: ``refusal`` ends a study without a verdict; ``warning`` stands beside one; ``problem`` ends a request.
Kind = Literal["refusal", "warning", "problem"]
Param = str | int | float


@dataclass(frozen=True, slots=True)
class Reason:
    """One row: what happened and what the user can do, in both languages.

    Texts are ``str.format`` templates over the parameters of a `Notice`.
    """

    kind: Kind
    status: int
    ru: str
    en: str
    ru_way_out: str = ""
    en_way_out: str = ""


def _refusal(ru: str, en: str, ru_way: str, en_way: str, status: int = 422) -> Reason:
    return Reason("refusal", status, ru, en, ru_way, en_way)


def _problem(status: int, ru: str, en: str, ru_way: str = "", en_way: str = "") -> Reason:
    return Reason("problem", status, ru, en, ru_way, en_way)


def _warning(ru: str, en: str) -> Reason:
    return Reason("warning", 200, ru, en)


REASONS: Mapping[str, Reason] = {
    # ── the upload itself ────────────────────────────────────────────────────────────────
    "not_an_archive": _refusal(
        "Файл не является ни архивом, ни DICOM, ни NIfTI",
        "The file is not an archive, DICOM or NIfTI",
        "Загрузите zip с файлами DICOM, отдельные файлы DICOM или .nii/.nii.gz",
        "Upload a zip of DICOM files, loose DICOM files, or a .nii/.nii.gz",
        415,
    ),
    "unsupported_format": _refusal(
        "Этот формат не поддерживается: {what}",
        "This format is not supported: {what}",
        "Сохраните исследование как zip с DICOM или как NIfTI",
        "Save the study as a zip of DICOM files or as NIfTI",
        415,
    ),
    "empty_archive": _refusal(
        "В архиве нет файлов",
        "The archive holds no files",
        "Проверьте, что выгрузка завершилась, и загрузите архив снова",
        "Check that the export finished, and upload the archive again",
    ),
    "encrypted_archive": _refusal(
        "Архив защищён паролем",
        "The archive is encrypted",
        "Загрузите архив без пароля",
        "Upload the archive without a password",
    ),
    "unsafe_archive_path": _refusal(
        "В архиве есть имена файлов, ведущие за его пределы",
        "The archive holds file names that lead outside it",
        "Упакуйте исследование заново обычной программой",
        "Pack the study again with an ordinary program",
    ),
    "archive_limits": _refusal(
        "Архив превышает предел: {what}",
        "The archive is over a limit: {what}",
        "Загрузите одно исследование за раз, без вложенных архивов",
        "Upload one study at a time, without nested archives",
        413,
    ),
    "no_dicom": _refusal(
        "В загруженном нет ни одного изображения DICOM или NIfTI",
        "There is no DICOM or NIfTI image in the upload",
        "Выгрузите из PACS исходные файлы DICOM",
        "Export the original DICOM files from the PACS",
    ),
    "unreadable": _refusal(
        "Файлы повреждены или не являются изображениями: {what}",
        "The files are damaged or are not images: {what}",
        "Выгрузите исследование заново и проверьте, что оно открывается",
        "Export the study again and check that it opens",
    ),
    # ── which series ─────────────────────────────────────────────────────────────────────
    "not_ct": _refusal(
        "Это не КТ: {what}",
        "This is not CT: {what}",
        "Сервис читает только КТ органов грудной клетки",
        "The service reads chest CT only",
    ),
    "localizer_only": _refusal(
        "В исследовании только обзорные снимки (топограммы)",
        "The study holds localizers only",
        "Добавьте аксиальную серию",
        "Add the axial series",
    ),
    "no_axial_ct_series": _refusal(
        "Нет подходящей аксиальной серии КТ: {what}",
        "No usable axial CT series: {what}",
        "Добавьте исходную аксиальную серию",
        "Add the original axial series",
    ),
    "several_studies": _refusal(
        "В загруженном несколько исследований: {n}",
        "The upload holds several studies: {n}",
        "Выберите одно исследование или загрузите их по отдельности",
        "Choose one study, or upload them one by one",
    ),
    "unsupported_4d": _refusal(
        "Четырёхмерная серия (несколько фаз или времён)",
        "A four-dimensional series (several phases or times)",
        "Выгрузите одну фазу отдельной серией",
        "Export one phase as a series of its own",
    ),
    "mixed_geometry": _refusal(
        "Геометрия срезов противоречива или неизвестна: {what}",
        "The geometry of the slices is contradictory or unknown: {what}",
        "Выгрузите исходную серию с её метаданными",
        "Export the original series with its metadata",
    ),
    "uneven_slices": _refusal(
        "В серии не хватает срезов: {what}",
        "Slices are missing in the series: {what}",
        "Выгрузите серию целиком",
        "Export the whole series",
    ),
    "too_few_slices": _refusal(
        "Слишком мало срезов: {n}",
        "Too few slices: {n}",
        "Нужна вся серия, а не отдельные срезы",
        "The whole series is needed, not single slices",
    ),
    "too_thick_slices": _refusal(
        "Срезы слишком редкие: {mm} мм",
        "The slices are too far apart: {mm} mm",
        "Загрузите серию с шагом не больше {max_mm} мм",
        "Upload a series with a step of at most {max_mm} mm",
    ),
    # ── pixels ───────────────────────────────────────────────────────────────────────────
    "unreadable_pixels": _refusal(
        "Пиксели не читаются: {what}",
        "The pixels cannot be read: {what}",
        "Выгрузите серию без сжатия или со сжатием без потерь",
        "Export the series uncompressed or with lossless compression",
    ),
    "not_hounsfield": _refusal(
        "Значения не в единицах Хаунсфилда: {what}",
        "The values are not in Hounsfield units: {what}",
        "Нужны исходные данные КТ, а не картинки и не маски",
        "Original CT data are needed, not pictures and not masks",
    ),
    # ── is it a chest, and enough of one ─────────────────────────────────────────────────
    "not_chest": _refusal(
        "На изображениях не найдены лёгкие",
        "No lungs were found in the images",
        "Загрузите КТ органов грудной клетки",
        "Upload a CT of the chest",
    ),
    "partial_chest": _refusal(
        "Грудная клетка видна не полностью: {what}",
        "Only a part of the chest is covered: {what}",
        "Для заключения «норма» нужна вся грудная клетка",
        "A verdict of normal needs the whole chest",
    ),
    # ── the analysis ─────────────────────────────────────────────────────────────────────
    "out_of_distribution": _refusal(
        "Исследование слишком непохоже на те, на которых модель проверена: {what}",
        "The study is too unlike those that the model was tested on: {what}",
        "Требуется чтение врачом",
        "It needs to be read by a doctor",
    ),
    "decode_timeout": _refusal(
        "Обработка не уложилась в отведённое время: {seconds} с",
        "Processing did not finish within its time limit: {seconds} s",
        "Повторите анализ; если ошибка повторится, загрузите серию меньше",
        "Run the analysis again; if it fails again, upload a smaller series",
    ),
    "memory_limit": _refusal(
        "Исследование не поместилось в отведённую память",
        "The study did not fit into the memory limit",
        "Загрузите одну серию вместо всего исследования",
        "Upload one series instead of the whole study",
    ),
    "processing_failed": _refusal(
        "Обработка прервалась {attempts} раза подряд",
        "Processing broke off {attempts} times in a row",
        "Повторите анализ; сообщите администратору номер запроса",
        "Run the analysis again; give the administrator the request id",
        500,
    ),
    # ── warnings beside a verdict ────────────────────────────────────────────────────────
    "thick_slices": _warning(
        "Толстые срезы ({mm} мм): мелкие изменения могут быть не видны",
        "Thick slices ({mm} mm): small findings may be invisible",
    ),
    "slices_missing": _warning(
        "Пропущены срезы: {what}; пробел заполнен по соседним",
        "Slices are missing: {what}; the gap was filled from its neighbours",
    ),
    "uneven_spacing": _warning(
        "Шаг между срезами неравномерен ({what}); объём пересчитан на ровную сетку",
        "The slice step is uneven ({what}); the volume was resampled to an even grid",
    ),
    "duplicates_dropped": _warning("Повторные срезы отброшены: {n}", "Duplicate slices were dropped: {n}"),
    "slices_set_aside": _warning(
        "Отложены изображения другой геометрии: {n}",
        "Images of another geometry were set aside: {n}",
    ),
    "slices_unreadable": _warning(
        "Не прочитано срезов: {n}; пробел заполнен по соседним",
        "Slices that could not be read: {n}; filled from their neighbours",
    ),
    "files_unreadable": _warning(
        "Не прочитано файлов: {n}; возможно, это срезы",
        "Files that could not be read: {n}; they may be slices",
    ),
    "gantry_tilt": _warning(
        "Наклон гентри {deg}°: объём пересчитан", "Gantry tilt of {deg}°: the volume was resampled"
    ),
    "resampled_axial": _warning(
        "Серия не аксиальная: пересчитана в аксиальную",
        "The series is not axial: it was resampled to axial",
    ),
    "geometry_assumed": _warning(
        "Положение частично предположено ({what}): стороны могут быть перепутаны",
        "The position is partly assumed ({what}): the sides may be swapped",
    ),
    "rescale_repaired": _warning(
        "Единицы Хаунсфилда восстановлены по самим данным: {what}",
        "Hounsfield units were restored from the data themselves: {what}",
    ),
    "values_clipped": _warning(
        "Значения вне шкалы (металл) обрезаны", "Values outside the scale (metal) were clipped"
    ),
    "contrast": _warning("Вероятно введён контраст", "Contrast was probably given"),
    "chest_cut_out": _warning(
        "Из большого исследования вырезана грудная клетка",
        "The chest was cut out of a larger examination",
    ),
    "partial_chest_warning": _warning(
        "Грудная клетка видна не полностью ({what}): заключение «норма» не выдаётся",
        "Only a part of the chest is covered ({what}): no verdict of normal is given",
    ),
    "unusual_input": _warning(
        "Исследование непохоже на те, на которых модель проверена: {what}",
        "The study is unlike those that the model was tested on: {what}",
    ),
    "lossy": _warning("Изображения сжаты с потерями", "The images were compressed with loss"),
    "unsafe_names": _warning(
        "В архиве были опасные имена файлов: они не использовались",
        "The archive held unsafe file names: they were not used",
    ),
    "grey_zone": _warning(
        "Вероятность близка к порогу: нужен взгляд врача",
        "The probability is close to the threshold: a doctor should look",
    ),
    # ── problems of a request ────────────────────────────────────────────────────────────
    "bad_request": _problem(400, "Запрос не разобран: {what}", "The request was not understood: {what}"),
    "invalid_fields": _problem(
        422,
        "Некоторые поля заполнены неверно",
        "Some fields are not valid",
        "Исправьте указанные поля",
        "Correct the fields that are named",
    ),
    "not_found": _problem(404, "Не найдено", "Not found"),
    "method_not_allowed": _problem(
        405, "Этот путь не принимает такой метод", "This path does not take that method"
    ),
    "patient_not_found": _problem(
        404,
        "Пациент не найден",
        "There is no such patient",
        "Возможно, его удалили: обновите список",
        "It may have been deleted: reload the list",
    ),
    "scan_not_found": _problem(
        404,
        "Исследование не найдено",
        "There is no such scan",
        "Возможно, его удалили: обновите список",
        "It may have been deleted: reload the list",
    ),
    "job_not_found": _problem(404, "Задание не найдено", "There is no such job"),
    "upload_not_found": _problem(
        404,
        "Загрузка не найдена или истекла",
        "There is no such upload, or it expired",
        "Начните загрузку заново",
        "Start the upload again",
    ),
    "blob_not_found": _problem(404, "Объекта нет в хранилище", "The object is not in the bucket"),
    "not_analysed": _problem(
        409,
        "Исследование ещё не проанализировано",
        "The scan has not been analysed yet",
        "Запустите анализ",
        "Run the analysis",
    ),
    "conflict": _problem(
        409,
        "Запись изменена кем-то другим",
        "Somebody else changed the record",
        "Обновите и повторите",
        "Reload and try again",
    ),
    "idempotency_mismatch": _problem(
        422,
        "Этот Idempotency-Key уже использован с другим запросом",
        "This Idempotency-Key was used with another request",
    ),
    "precondition_failed": _problem(
        412,
        "Запись изменилась с момента чтения",
        "The record changed since it was read",
        "Обновите и повторите",
        "Reload and try again",
    ),
    "too_large": _problem(
        413,
        "Файл больше предела {limit_mb} МБ",
        "The file is larger than the limit of {limit_mb} MB",
        "Загрузите одно исследование без лишних серий",
        "Upload one study without the series that are not needed",
    ),
    "unsupported_media_type": _problem(
        415,
        "Неверный Content-Type: ожидается {expected}",
        "Wrong Content-Type: {expected} is expected",
    ),
    "no_file": _problem(
        422,
        "В запросе нет файла",
        "The request holds no file",
        "Передайте файл в поле file или files",
        "Send the file in the field file or files",
    ),
    "upload_incomplete": _problem(
        409,
        "Загружены не все части",
        "Not all parts were uploaded",
        "Догрузите недостающие части",
        "Upload the missing parts",
    ),
    "range_not_satisfiable": _problem(
        416, "Запрошенный диапазон вне файла", "The requested range is outside the file"
    ),
    "not_prepared": _problem(
        409,
        "Исследование ещё готовится",
        "The scan is still being prepared",
        "Повторите через несколько секунд",
        "Try again in a few seconds",
    ),
    "job_cancelled": _problem(
        409,
        "Анализ отменён",
        "The analysis was cancelled",
        "Запустите анализ снова",
        "Run the analysis again",
    ),
    "job_not_cancellable": _problem(409, "Задание уже завершено", "The job has already ended"),
    "queue_full": _problem(
        429, "Очередь заполнена", "The queue is full", "Повторите позже", "Try again later"
    ),
    "analysis_timeout": _problem(
        504,
        "Анализ ещё идёт",
        "The analysis is still running",
        "Следите за заданием {job_id}",
        "Follow job {job_id}",
    ),
    "store_unavailable": _problem(
        503,
        "Хранилище недоступно",
        "The store is not available",
        "Повторите позже",
        "Try again later",
    ),
    "service_unavailable": _problem(
        503,
        "Эта часть сервиса сейчас недоступна",
        "This part of the service is not available now",
        "Повторите через минуту",
        "Try again in a minute",
    ),
    "model_unavailable": _problem(
        503,
        "Модель недоступна: {what}",
        "The model is not available: {what}",
        "Сообщите администратору",
        "Tell the administrator",
    ),
    "storage_full": _problem(
        507,
        "На сервере закончилось место",
        "The server is out of space",
        "Сообщите администратору",
        "Tell the administrator",
    ),
    "internal": _problem(
        500,
        "Внутренняя ошибка",
        "Internal error",
        "Сообщите администратору номер запроса",
        "Give the administrator the request id",
    ),
}


class Notice(BaseModel):
    """A code from `REASONS` with its parameters: words are made when they are shown."""

    model_config = ConfigDict(frozen=True)

    code: str
    params: dict[str, Param] = {}

    def text(self, lang: Lang = "ru") -> str:
        """What happened, in ``lang``."""
        row = REASONS[self.code]
        return (row.ru if lang == "ru" else row.en).format_map(_Params(self.params))

    def way_out(self, lang: Lang = "ru") -> str:
        """What the user can do, in ``lang``; empty where there is nothing."""
        row = REASONS[self.code]
        return (row.ru_way_out if lang == "ru" else row.en_way_out).format_map(_Params(self.params))

    def words(self, lang: Lang = "ru") -> str:
        """Both of them as one text."""
        return ". ".join(part for part in (self.text(lang), self.way_out(lang)) if part)


class _Params(dict[str, Param]):
    """A missing parameter shows as an ellipsis: an error text must never raise."""

    def __missing__(self, key: str) -> str:
        return "…"


class CodedError(Exception):
    """An error that carries a code of `REASONS`; ``str()`` is the code and English words."""

    def __init__(self, code: str, **params: Param) -> None:
        if code not in REASONS:
            raise KeyError(f"unknown reason code {code!r}")
        self.notice = Notice(code=code, params=params)
        super().__init__(f"{code}: {self.notice.text('en')}")

    @classmethod
    def of(cls, notice: Notice) -> Self:
        """The error that says what ``notice`` says."""
        error = cls(notice.code)
        error.notice = notice
        return error

    @property
    def code(self) -> str:
        """The reason code."""
        return self.notice.code

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.notice.code, self.notice.params))


def _rebuild(cls: type[CodedError], code: str, params: dict[str, Param]) -> CodedError:
    return cls(code, **params)


class Refusal(CodedError):
    """The only way a study ends without a volume or a verdict.

    It becomes ``no_result`` in the service and an empty row in the batch. The way out is in
    the text: see `Notice.words`.
    """


class Problem(CodedError):
    """A request that cannot be answered; becomes RFC 9457 ``application/problem+json``."""

    def __init__(self, code: str, *, fields: Mapping[str, str] | None = None, **params: Param) -> None:
        super().__init__(code, **params)
        #: messages by field name, for forms
        self.fields: Mapping[str, str] = dict(fields or {})
