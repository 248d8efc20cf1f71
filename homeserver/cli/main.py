"""The command `homeserver`.

Each subcommand is a module, imported when it is called for: what `run` does not need, such as alembic, does
not weigh on the server's memory.
"""

import importlib
from collections.abc import Mapping

import click
import msgspec

from homeserver.cli.errors import Refusal
from homeserver.config import ConfigError
from homeserver.database.errors import DatabaseError


class Place(msgspec.Struct, frozen=True):
    """Where a subcommand is, and what it is for."""

    module: str
    attribute: str
    help: str


COMMANDS: Mapping[str, Place] = {
    "init": Place("homeserver.cli.init", "init", "Write a configuration file and a signing key."),
    "run": Place("homeserver.cli.run", "run", "Start the server."),
    "check-config": Place("homeserver.cli.check_config", "check_config", "Check the configuration."),
    "user": Place("homeserver.cli.user", "user", "Create and change accounts."),
    "federation": Place("homeserver.cli.federation", "federation", "See and retry other servers."),
    "email": Place("homeserver.cli.email", "email", "Try out the sending of mail."),
    "reports": Place("homeserver.cli.reports", "reports", "See what users have reported."),
    "db": Place("homeserver.cli.db", "db", "Bring the database's schema up to date."),
    "version": Place("homeserver.cli.version", "version", "Print the version."),
}


class Commands(click.Group):
    """Finds subcommands by `COMMANDS`; errors of the configuration become one line and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, in the order of a server's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """The subcommand of that name, or None."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        command = getattr(importlib.import_module(place.module), place.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{place.module}.{place.attribute} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except (ConfigError, DatabaseError) as error:
            raise Refusal(str(error)) from error


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A Matrix homeserver."""
