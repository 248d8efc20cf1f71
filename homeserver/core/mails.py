"""What this server writes to people: plain text, so that nothing in it can be anything but text."""

from textwrap import TextWrapper
from typing import Final

import attrs

from homeserver.core.identifiers import ServerName, UserID

LINE: Final = 72


@attrs.frozen
class Mail:
    """A mail to one address."""

    recipient: str
    subject: str
    text: str = attrs.field(repr=False)


def confirm_registration(recipient: str, server_name: ServerName, link: str) -> Mail:
    """Asks whether the address belongs to who makes an account."""
    return _mail(
        recipient,
        f"Confirm your e-mail address for {server_name}",
        f"Somebody is making an account on the Matrix server {server_name} with this e-mail address. If that is you,"
        " open this link and confirm:",
        link,
        "If it is not you, do nothing: without your confirmation the address is not used.",
    )


def confirm_addition(recipient: str, server_name: ServerName, link: str) -> Mail:
    """Asks whether the address belongs to who adds it to an account."""
    return _mail(
        recipient,
        f"Confirm your e-mail address for {server_name}",
        f"Somebody wants to add this e-mail address to an account on the Matrix server {server_name}. Whoever has that"
        " account can then be found by this address, and have the password reset by it. If that is you, open this"
        " link and confirm:",
        link,
        "If it is not you, do nothing: without your confirmation the address is not added.",
    )


def confirm_reset(recipient: str, server_name: ServerName, user_id: UserID, link: str) -> Mail:
    """Asks whether the owner of the account has forgotten the password."""
    return _mail(
        recipient,
        f"Reset your password on {server_name}",
        f"Somebody wants to set a new password for your account {user_id} on the Matrix server {server_name}. If that"
        " is you, open this link and confirm, then go back to your app:",
        link,
        "If it is not you, DO NOT confirm, since whoever it is could then take over your account. If you do nothing,"
        " your password stays as it is.",
    )


def already_used(recipient: str, server_name: ServerName) -> Mail:
    """Tells whose address it is that somebody wants to use it once more."""
    return _mail(
        recipient,
        f"Your e-mail address on {server_name}",
        f"Somebody wants to use this e-mail address for an account on the Matrix server {server_name}. It belongs to"
        " an account there already, and can belong to one only.",
        None,
        "If that is you, log in to that account; if you have forgotten the password, your app can have it reset"
        " by this address. If it is not you, do nothing.",
    )


def nobodys(recipient: str, server_name: ServerName) -> Mail:
    """Tells that there is no account whose password could be reset."""
    return _mail(
        recipient,
        f"Your e-mail address on {server_name}",
        f"Somebody wants to have a password reset on the Matrix server {server_name} by this e-mail address. But no"
        " account there has this address.",
        None,
        "If that is you, perhaps you have used another address, or you have no account there yet. If it is not you,"
        " do nothing.",
    )


def trial(recipient: str, server_name: ServerName) -> Mail:
    """Tells an operator that mail arrives."""
    return _mail(
        recipient,
        f"A trial of {server_name}",
        f"This is a trial: the Matrix server {server_name} can send mail.",
        None,
        "There is nothing to do.",
    )


def _mail(recipient: str, subject: str, question: str, link: str | None, otherwise: str) -> Mail:
    wrapper = TextWrapper(LINE, break_long_words=False, break_on_hyphens=False)
    parts = [wrapper.fill(question), *([] if link is None else [link]), wrapper.fill(otherwise)]
    return Mail(recipient, subject, "Hello,\n\n" + "\n\n".join(parts) + "\n")
