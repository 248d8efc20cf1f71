"""What endpoints share that have an address validated: the request, and its answer.

Spec: client-server API, `POST /register/email/requestToken`, whose parameters and answer the others have.
"""

import msgspec

from homeserver.core.errors import ThreepidMediumNotSupported
from homeserver.services.email_validations import TokenRequest


class EmailTokenBody(msgspec.Struct):
    """Where to send a mail. An identity server that is named has no part in it: this server validates by itself."""

    client_secret: str
    email: str
    send_attempt: int
    next_link: str | None = None

    @property
    def wanted(self) -> TokenRequest:
        """As the service takes it."""
        return TokenRequest(self.client_secret, self.email, self.send_attempt, self.next_link)


class PhoneTokenBody(msgspec.Struct):
    """Where to send a text message."""

    client_secret: str
    country: str
    phone_number: str
    send_attempt: int
    next_link: str | None = None


class TokenResponse(msgspec.Struct):
    """The validation session."""

    sid: str


def no_phone_numbers() -> ThreepidMediumNotSupported:
    """There is nothing that this server could send text messages by."""
    return ThreepidMediumNotSupported(
        "This server cannot send text messages, so it takes no telephone numbers"
    )
