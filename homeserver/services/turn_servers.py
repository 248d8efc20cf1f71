"""The TURN servers that calls may be relayed over. Spec: client-server API, "Voice over IP"."""

import msgspec

from homeserver.config.sections import Turn
from homeserver.core.errors import GuestAccessForbidden, NotFound
from homeserver.core.requester import Requester
from homeserver.core.turn import credentials
from homeserver.runtime.clock import Clock


class TurnLogin(msgspec.Struct, frozen=True):
    """What a client needs to use the servers; `ttl_s` is how long it is good for."""

    username: str
    password: str
    uris: tuple[str, ...]
    ttl_s: int


class TurnServers(msgspec.Struct, frozen=True):
    """Hands out logins; `section` is None where there are no such servers."""

    clock: Clock
    section: Turn | None

    def login(self, requester: Requester) -> TurnLogin:
        """A login for the requester.

        Errors: NotFound if there are no TURN servers; GuestAccessForbidden.
        """
        section = self.section
        if section is None:
            raise NotFound("This server has no TURN servers")
        if requester.is_guest and not section.allow_guests:
            raise GuestAccessForbidden("Guests cannot use the TURN servers")
        if section.shared_secret is not None:
            expires_s = self.clock.now_ts() // 1000 + section.ttl_s
            username, password = credentials(section.shared_secret, requester.user_id, expires_s=expires_s)
        else:
            username, password = section.username or "", section.password or ""
        return TurnLogin(username, password, section.uris, section.ttl_s)
