"""Which language a client gets: ``?lang=`` first, then ``Accept-Language``, then the setting."""

from __future__ import annotations

from flask import current_app, has_request_context, request

from shared.errors import LANGS, Lang


def request_lang() -> Lang:
    """The language of the present answer."""
    if not has_request_context():
        return "en"
    named = request.args.get("lang", "")
    if named in LANGS:
        return named
    default = current_app.config.get("DEFAULT_LANG", "ru")
    best = request.accept_languages.best_match(LANGS, default)
    return "en" if best == "en" else "ru"
