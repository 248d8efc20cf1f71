"""Having a membership event of a user here made part of a room that only other servers are in.

Spec: server-server API, "Joining Rooms", "Knocking upon a room", "Leaving Rooms".
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeVar

import msgspec
import structlog

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import FederationClient, federation_path
from homeserver.core.errors import MatrixError, NotFound, Unknown
from homeserver.core.event import Event
from homeserver.core.identifiers import RoomID, ServerName, UserID, server_of
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.rooms.draft import Signer
from homeserver.rooms.membership_events import Wanted, build
from homeserver.rooms.remote_templates import Expected, read_template
from homeserver.runtime.clock import Clock
from homeserver.services.remote_errors import error_for_client

T = TypeVar("T")

MOST_SERVERS: Final = 10
"""How many servers are tried in turn."""

ALL_MS: Final = 90_000
"""After that no further server is tried."""

PATIENCE_MS: Final = 20_000
"""For one answer, unless said otherwise."""

MOST_BYTES: Final = 512 * 1024
"""Of one answer, unless said otherwise."""

AUTHORISER: Final = "join_authorised_via_users_server"

_log = structlog.get_logger(__name__)


class Made(msgspec.Struct, frozen=True):
    """A membership event of ours with its place in the room, as the server `through` gave it."""

    through: ServerName
    event: Event
    data: bytes


class RemoteHandshakes(msgspec.Struct, frozen=True):
    """The steps that joins, knocks and leaves share."""

    clock: Clock
    signer: Signer
    client: FederationClient

    async def try_each(
        self, servers: Iterable[ServerName], attempt: Callable[[ServerName], Awaitable[T]]
    ) -> T:
        """The result of the first server with which the attempt succeeds.

        Errors: for the client, what is most telling of what the servers answered; Unknown (502) if none could
        be asked; NotFound if there is none to ask.
        """
        deadline_ms = self.clock.monotonic_ms() + ALL_MS
        best: MatrixError = Unknown("No server of the room could be asked", status=502)
        candidates = [name for name in dict.fromkeys(servers) if name != self.signer.server_name]
        if not candidates:
            raise NotFound("Unknown room, and no server that may know it")
        for server_name in candidates[:MOST_SERVERS]:
            if self.clock.monotonic_ms() >= deadline_ms:
                break
            try:
                return await attempt(server_name)
            except RemoteError as error:
                _log.info("a handshake failed", server=server_name, reason=error.message)
                told = error_for_client(error)
                # Who has said something to the point says more than who could not be reached.
                if isinstance(best, Unknown) or not isinstance(told, Unknown):
                    best = told
        raise best

    async def make(self, server_name: ServerName, room_id: RoomID, wanted: Wanted) -> Made:
        """Ask a server for a place in the room, and make the event for it. Errors: RemoteError; BadJson, TooLarge."""
        membership = str(wanted.content["membership"])
        path = federation_path("v1", f"make_{membership}", room_id, wanted.user_id)
        query = None if membership == "leave" else {"ver": [*ROOM_VERSIONS]}
        answer = await self.client.get(
            server_name, path, query, patience_ms=PATIENCE_MS, most_bytes=MOST_BYTES
        )
        expected = Expected(room_id, wanted.user_id, membership)
        try:
            template = read_template(answer, expected)
        except MatrixError as error:
            message = f"a template that cannot be used: {error.message}"
            raise RemoteError(server_name, message, transient=False) from error
        content = dict(wanted.content)
        if template.authoriser is not None:
            if server_of(template.authoriser) != server_name:
                message = "a template that names somebody of another server as vouching for the join"
                raise RemoteError(server_name, message, transient=False)
            content[AUTHORISER] = template.authoriser
        event, data = build(
            template.place,
            msgspec.structs.replace(wanted, content=content),
            self.signer,
            now_ts=self.clock.now_ts(),
            token=secrets.token_urlsafe(9),
        )
        return Made(server_name, event, data)

    async def send(
        self,
        made: Made,
        query: Mapping[str, str] | None = None,
        *,
        most_bytes: int = MOST_BYTES,
        patience_ms: int = PATIENCE_MS,
    ) -> JsonObject:
        """Give the event to the server, which makes it part of the room; gives the answer. Errors: RemoteError."""
        membership = str(made.event.content["membership"])
        version = "v1" if membership == "knock" else "v2"
        path = federation_path(version, f"send_{membership}", made.event.room_id, made.event.event_id)
        return await self.client.put(
            made.through, path, made.data, query, patience_ms=patience_ms, most_bytes=most_bytes
        )


def own_membership(user_id: UserID, content: JsonObject) -> Wanted:
    """An event that its sender is about."""
    return Wanted(user_id, user_id, content)
