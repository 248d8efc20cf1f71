"""How commands end that cannot do what they should."""

from typing import IO, Any

import click


class Refusal(click.ClickException):
    """One line on stderr and exit code 2: what outside the program is wrong, and what to do about it."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"homeserver: {self.message}", file=file, err=file is None)
