"""docs/reading.md says what the code does."""

from batch.reading_doc import DOCUMENT, filled


def test_limits_choice_and_reasons_in_the_document_are_those_of_the_code():
    text = DOCUMENT.read_text("utf-8")
    assert text == filled(text), "run: python -m batch.reading_doc"
