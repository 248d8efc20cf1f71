"""Which identity servers this server deals with, and what its users are told when these refuse something."""

import re
from typing import Final

import msgspec
import structlog

from homeserver.clients.errors import RemoteError
from homeserver.clients.identity import Access, IdentityClient
from homeserver.clients.urls import HttpsUrl
from homeserver.core.auth_rules import InviteKey
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError, ServerNotTrusted, Unknown
from homeserver.core.identifiers import ServerName, parse_server_name
from homeserver.core.server_lists import ServerLists

LONGEST_TOKEN: Final = 4_096

_ABOUT_TOKENS: Final = frozenset({"M_MISSING_TOKEN", "M_UNKNOWN_TOKEN", "M_UNAUTHORIZED", "M_USER_LOCKED"})
"""Codes that an app would take for this server's word on its own access token, and log its user out."""

_ERRCODE = re.compile(r"[A-Z][0-9A-Z_.]{1,80}")

_log = structlog.get_logger(__name__)


class IdentityServers(msgspec.Struct, frozen=True):
    """The identity servers that users of this server may name."""

    client: IdentityClient
    lists: ServerLists

    def named(self, id_server: str) -> ServerName:
        """An identity server that a client names. Errors: InvalidParam; ServerNotTrusted."""
        name = parse_server_name(id_server)
        if not self.lists.allows(name):
            raise ServerNotTrusted("This server does not deal with that identity server")
        return name

    def access(self, id_server: str, token: str | None) -> Access:
        """An identity server, and the access token that the client has there. Errors: as `named`."""
        name = self.named(id_server)
        if not token or len(token) > LONGEST_TOKEN:
            raise InvalidParam("`id_access_token` is needed: an access token of the identity server")
        return Access(name, token)

    async def check_key(self, key: InviteKey) -> None:
        """Whether the identity server still stands by a key of a third-party invite.

        Errors: Forbidden if it does not, or cannot be asked; Unknown (502) if there is no answer at the moment.
        """
        if key.validity_url is None:
            # "If this URL is absent, the key must be considered valid indefinitely."
            return
        try:
            url = HttpsUrl.parse(key.validity_url)
        except ValueError as error:
            raise Forbidden(f"Nobody can be asked for the key of the invitation: {error}") from None
        if not self.lists.allows(url.server_name):
            raise Forbidden("This server does not deal with the identity server of the invitation")
        try:
            is_valid = await self.client.is_valid(url, key.public_key)
        except RemoteError as error:
            _log.info("an identity server was asked for a key", server=error.party, reason=error.message)
            if error.transient or error.status is None:
                raise Unknown(
                    "The identity server does not say whether its key is valid", status=502
                ) from error
            is_valid = False
        if not is_valid:
            raise Forbidden("The identity server does not stand by the key of the invitation any more")


def error_of(error: RemoteError) -> MatrixError:
    """What the client is told whose request led to the call: "simply proxy any errors received".

    Not those about access tokens, since they are about another one than the client would think.
    """
    _log.info("an identity server did not do what was asked", server=error.party, reason=error.message)
    status, errcode = error.status, error.errcode
    if status is None or not 400 <= status < 500 or errcode is None or not _ERRCODE.fullmatch(errcode):
        return Unknown(f"The identity server did not do it: {error}", status=502)
    if status == 401 or errcode in _ABOUT_TOKENS:
        return Forbidden(f"The identity server does not accept the access token: {error.message}")
    return MatrixError(errcode, error.message, status=429 if status == 429 else max(status, 400))
