"""Which language a client gets: ``?lang=`` first, then ``Accept-Language``, then the setting."""

from __future__ import annotations

from typing import cast, get_args

from flask import current_app, has_request_context, request

from shared.errors import Lang

LANGS: tuple[str, ...] = get_args(Lang)


def request_lang() -> Lang:
    """The language of the present answer."""
    if not has_request_context():
        return "en"
    named = request.args.get("lang", "")
    if named in LANGS:
        return cast(Lang, named)
    default = current_app.config.get("DEFAULT_LANG", "ru")
    return cast(Lang, request.accept_languages.best_match(LANGS, default) or default)
