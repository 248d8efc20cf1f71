"""`homeserver email`: whether this server can send mail."""

from datetime import UTC, datetime
from pathlib import Path

import click

from homeserver.cli.errors import Refusal
from homeserver.cli.options import config_option
from homeserver.clients.email import deliver, message_of
from homeserver.clients.errors import RemoteError
from homeserver.config import ConfigError, load
from homeserver.core.errors import InvalidParam
from homeserver.core.mails import trial
from homeserver.core.threepids import email_of


@click.group
def email() -> None:
    """Try out the sending of mail."""


@email.command
@config_option
@click.argument("address")
def test(config_path: Path, address: str) -> None:
    """Send a mail to ADDRESS by the mail server of the configuration, and say what that answers."""
    config = load(config_path)
    if config.email is None:
        raise ConfigError("email", None, "is missing: without it no mail is sent")
    try:
        recipient = email_of(address).address
    except InvalidParam as error:
        raise Refusal(f"{address}: {error.message}") from error
    mail = trial(recipient, config.server_name)
    try:
        deliver(config.email, message_of(config.email, mail, datetime.now(UTC)))
    except RemoteError as error:
        raise Refusal(f"the mail was not sent: {error}") from error
    click.echo(f"{config.email.host} has taken a mail to {recipient}.")
