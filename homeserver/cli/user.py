"""`homeserver user`: accounts. It works on the database, whether the server is running or not."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from homeserver.cli.accounts import with_accounts
from homeserver.cli.errors import Refusal
from homeserver.cli.options import config_option
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import UserID
from homeserver.database.errors import StorageUnavailable
from homeserver.services.accounts import Accounts
from homeserver.storage.users import User

PAGE = 500

password_option = click.option(
    "--password",
    "given_password",
    default=None,
    help="The password; other users of this machine may see it.  [default: asked for, or read from a pipe]",
)


@click.group
def user() -> None:
    """Create and change accounts; NAME is alice or @alice:example.org."""


@user.command
@config_option
@click.argument("name")
@click.option("--admin", is_flag=True, help="The account may administer the server.")
@password_option
def create(config_path: Path, name: str, given_password: str | None, *, admin: bool) -> None:
    """Make an account."""
    text = password_of(given_password)
    with one_line_errors(name):
        user_id = with_accounts(config_path, lambda accounts: accounts.create(name, text, is_admin=admin))
    click.echo(f"{user_id} was made{', and may administer the server' if admin else ''}.")


@user.command
@config_option
@click.argument("name")
@click.option("--keep-sessions", is_flag=True, help="Do not log out the account's devices.")
@password_option
def password(config_path: Path, name: str, given_password: str | None, *, keep_sessions: bool) -> None:
    """Set a new password, and log out all devices of the account."""
    text = password_of(given_password)

    async def change(accounts: Accounts) -> UserID:
        user_id = meant(accounts, name)
        await accounts.set_password(user_id, text, logout_devices=not keep_sessions)
        return user_id

    with one_line_errors(name):
        user_id = with_accounts(config_path, change)
    click.echo(f"{user_id} has a new password.")


@user.command
@config_option
@click.argument("name")
@click.option("--erase", is_flag=True, help="Newcomers to its rooms do not get to see its messages.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def deactivate(config_path: Path, name: str, *, erase: bool, yes: bool) -> None:
    """Close an account for good; its name cannot be used again."""
    if not yes:
        click.confirm(f"Close the account {name} for good?", abort=True)

    async def close(accounts: Accounts) -> UserID:
        user_id = meant(accounts, name)
        await accounts.deactivate(user_id, erase=erase)
        return user_id

    with one_line_errors(name):
        user_id = with_accounts(config_path, close)
    click.echo(f"{user_id} is closed; a running server takes it out of its rooms.")


@user.command("list")
@config_option
@click.option("--deactivated", is_flag=True, help="Also those that are closed.")
def list_(config_path: Path, *, deactivated: bool) -> None:
    """List the accounts.

    One per line: the user ID, a tab, and what is special about it.
    """

    async def all_of(accounts: Accounts) -> list[User]:
        found: list[User] = []
        while page := await accounts.page(
            after=found[-1].user_id if found else "", limit=PAGE, deactivated=deactivated
        ):
            found += page
        return found

    with one_line_errors(None):
        for each in with_accounts(config_path, all_of):
            click.echo(f"{each.user_id}\t{','.join(traits_of(each))}")


def traits_of(account: User) -> Iterator[str]:
    """What is special about an account, in one word each."""
    for trait in ("admin", "guest", "locked", "suspended", "deactivated", "erased"):
        if getattr(account, f"is_{trait}"):
            yield trait


def meant(accounts: Accounts, name: str) -> UserID:
    """The user ID for what the operator has written. Errors: Refusal."""
    user_id = accounts.names.claimed(name)
    if user_id is None:
        wanted = f"NAME or @NAME:{accounts.names.server_name}"
        raise Refusal(f"{name}: is not a user of this server: write {wanted}")
    return user_id


def password_of(given: str | None) -> str:
    """The password that was given, or else that is asked for, or is the first line of a pipe or file."""
    if given is not None:
        return given
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    text: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return text


@contextmanager
def one_line_errors(name: str | None) -> Iterator[None]:
    """Turn what is refused, about the account `name`, into one line."""
    try:
        yield
    except MatrixError as error:
        raise Refusal(f"{name}: {error.message}" if name else error.message) from error
    except StorageUnavailable as error:
        raise Refusal(f"database: {error}: try again") from error
