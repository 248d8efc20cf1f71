"""Secrets that this server gives out, and how they are told from each other without being kept.

All come from the operating system's random source. The database holds hashes only: each secret has 192 bits
or more of chance in it, so a plain hash cannot be turned back.
"""

import hashlib
import secrets
import string
from typing import Final

import attrs

from homeserver.core.identifiers import DeviceID

_DEVICE_ID_LETTERS: Final = string.ascii_uppercase
_LOCALPART_LETTERS: Final = string.ascii_lowercase + "234567"


@attrs.frozen
class RefreshToken:
    """A refresh token. `family` is common to all that follow from one login; it is as secret as the token."""

    family: str = attrs.field(repr=False)
    secret: str = attrs.field(repr=False)

    @classmethod
    def new(cls, family: str | None = None) -> "RefreshToken":
        """Make one; without `family` for a new login."""
        return cls(secrets.token_urlsafe(24) if family is None else family, secrets.token_urlsafe(24))

    @classmethod
    def parse(cls, text: str) -> "RefreshToken":
        """Read what a client sends; anything can be read, nothing is known yet."""
        family, _, secret = text.partition(".")
        return cls(family, secret)

    @property
    def text(self) -> str:
        """As clients get it."""
        return f"{self.family}.{self.secret}"

    @property
    def token_hash(self) -> bytes:
        """What the token is stored under."""
        return hash_of(self.text)

    @property
    def family_hash(self) -> bytes:
        """What the family is stored as."""
        return hash_of(self.family)


def new_token() -> str:
    """An access token, login token, nonce or session id: 256 bits, in characters that need no escaping."""
    return secrets.token_urlsafe(32)


def new_device_id() -> DeviceID:
    """A device ID that the user does not have yet, by all odds."""
    return DeviceID("".join(secrets.choice(_DEVICE_ID_LETTERS) for _ in range(10)))


def new_localpart() -> str:
    """The localpart for a user who wants none in particular; nobody else gets the same, by all odds."""
    return secrets.choice(string.ascii_lowercase) + "".join(
        secrets.choice(_LOCALPART_LETTERS) for _ in range(15)
    )


def hash_of(token: str) -> bytes:
    """What a token is stored under."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
