"""The batch command line: a group of verbs, each loaded only when it is asked for."""

from __future__ import annotations

from importlib import import_module

import click

#: verb -> (module, attribute, one line of help)
VERBS = {
    "predict": ("batch.predict", "predict", "Judge studies on this machine, into a table."),
    "submit": ("batch.submit", "submit", "Send studies to a running service, collect the same table."),
    "inspect": ("batch.inspect", "inspect", "Say what a study is and what would be read."),
    "train": ("batch.train.cli", "train", "Train the model."),
    "evaluate": ("batch.evaluate", "evaluate", "Measure the model."),
    "demo": ("batch.demo", "demo", "Make synthetic studies and load them into the service."),
}


class Verbs(click.Group):
    """A click group whose verbs come from `VERBS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of the verbs, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb itself; its module is imported now."""
        if cmd_name not in VERBS:
            return None
        module, attribute, _ = VERBS[cmd_name]
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs without importing any."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, words) for name, (_, _, words) in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Chest-CT triage from the command line. Research use, not a diagnosis."""
