"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path

import click

from shared.errors import LANGS

lang_option = click.option(
    "--lang", type=click.Choice(LANGS), help="Language of words.  [default: CT_DEFAULT_LANG]"
)
token_option = click.option("--token", envvar="CT_TOKEN", default="", help="Bearer token.  [env: CT_TOKEN]")
paths_argument = click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)
out_option = click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The table, CSV."
)
xlsx_option = click.option(
    "--xlsx", type=click.Path(dir_okay=False, path_type=Path), help="The same table as a workbook."
)
resume_option = click.option(
    "--resume", is_flag=True, help="Go on with a table that was begun; done studies are skipped."
)
