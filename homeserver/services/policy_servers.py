"""Asking policy servers, which rooms may have to judge their events. Spec: server-server API, "Policy Servers".

An event of ours is made in a write transaction, which can ask nobody: it ends with `SignatureWanted`, and is run
again once the signature is there. It then makes the same event, unless the room has changed meanwhile: then the
policy server is asked about the new one. Rooms without a policy server pay for none of this.
"""

from typing import Any, Final, Protocol

import attrs
import msgspec
import structlog
from twisted.internet.defer import Deferred, DeferredLock

from homeserver.clients.errors import RemoteError
from homeserver.core.endpoint_errors import ConnectionFailed
from homeserver.core.errors import Forbidden, LimitExceeded, MatrixError
from homeserver.core.event import Event
from homeserver.core.identifiers import RoomID, ServerName
from homeserver.core.json import JsonObject
from homeserver.core.policy_servers import PolicyServer, is_asked_about
from homeserver.database.database import Database, Rerun
from homeserver.database.errors import Obstacle
from homeserver.rooms.policies import SignatureWanted
from homeserver.runtime.clock import Clock

PATH: Final = "/_matrix/policy/v1/sign"

PATIENCE_MS: Final = 10_000
"""How long a policy server may take over an event."""

MOST_BYTES: Final = 65_536

MOST_WAITING: Final = 20
"""Writes to one room that may wait for its policy server at the same time; more fail at once."""

MOST_MS: Final = 60_000
"""How long one write may go on asking, about all its events, and anew where the room has changed beneath it."""

_log = structlog.get_logger(__name__)


class Poster(Protocol):
    """What carries the question to the policy server."""

    async def post(
        self, destination: ServerName, path: str, body: JsonObject, *, patience_ms: int, most_bytes: int
    ) -> JsonObject:
        """POST, signed. Errors: RemoteError."""
        ...


class _Room(msgspec.Struct, eq=False):
    """Writes of one room take turns, so that they do not outdate each other's events while these are judged."""

    lock: DeferredLock = msgspec.field(default_factory=DeferredLock)
    waiting: int = 0


@attrs.frozen
class PolicyServers:
    """Obtains and checks the signatures of policy servers."""

    database: Database
    client: Poster
    clock: Clock
    _rooms: dict[RoomID, _Room] = attrs.field(factory=dict, init=False)

    async def recommends(self, policy_server: PolicyServer, event: Event) -> bool:
        """Whether an event of another server is recommended for inclusion; if not, it is soft-failed.

        One whose signature is missing or invalid is shown to the policy server, which may sign it now.
        """
        if not is_asked_about(event.type, event.state_key):
            return True
        if policy_server.recommends(event.pdu, event.room_version):
            return True
        try:
            await self._sign(policy_server, event)
        except (MatrixError, RemoteError) as error:
            _log.info(
                "a policy server does not recommend an event", event_id=event.event_id, reason=str(error)
            )
            return False
        return True

    def clear(self, obstacle: Obstacle, again: Rerun) -> Deferred[Any]:
        """As `Database.clear`. Errors: those of the policy server as it said them; ConnectionFailed; LimitExceeded."""
        if not isinstance(obstacle, SignatureWanted):
            raise obstacle
        return Deferred.fromCoroutine(self._clear(obstacle, again))

    async def _clear(self, wanted: SignatureWanted, again: Rerun) -> Any:
        room_id = wanted.event.room_id
        room = self._rooms.setdefault(room_id, _Room())
        if room.waiting >= MOST_WAITING:
            raise LimitExceeded("The room's policy server is slow", retry_after_ms=PATIENCE_MS)
        room.waiting += 1
        try:
            if room.waiting == 1:
                return await room.lock.run(self._obtain_all, wanted, again)
            return await room.lock.run(self._again_after_others, again)
        finally:
            room.waiting -= 1
            if room.waiting == 0:
                del self._rooms[room_id]

    async def _again_after_others(self, again: Rerun) -> Any:
        """What was wanted before others had their turn is outdated."""
        try:
            return await again()
        except SignatureWanted as wanted:
            return await self._obtain_all(wanted, again)

    async def _obtain_all(self, wanted: SignatureWanted, again: Rerun) -> Any:
        """Run the write again and again, until it has the signatures of all the events that it makes."""
        until_ms = self.clock.monotonic_ms() + MOST_MS
        while self.clock.monotonic_ms() < until_ms:
            signature = await self._sign_for_client(wanted)
            self.database.caches.policy_signatures.put(wanted.event.event_id, signature)
            try:
                return await again()
            except SignatureWanted as more:
                wanted = more
        raise LimitExceeded("The room changes too fast for its policy server", retry_after_ms=PATIENCE_MS)

    async def _sign_for_client(self, wanted: SignatureWanted) -> str:
        """The signature, or the policy server's own error for the client whose event it is."""
        try:
            return await self._sign(wanted.policy_server, wanted.event)
        except RemoteError as error:
            if error.errcode is not None and error.status is not None:
                raise MatrixError(error.errcode, error.message, status=error.status) from error
            raise ConnectionFailed("The room's policy server cannot be asked") from error

    async def _sign(self, policy_server: PolicyServer, event: Event) -> str:
        """Ask for a signature, and check it. Errors: RemoteError; Forbidden if what comes is no valid signature."""
        answer = await self.client.post(
            policy_server.via, PATH, event.pdu, patience_ms=PATIENCE_MS, most_bytes=MOST_BYTES
        )
        signature = policy_server.signature_in(answer)
        if signature is not None and policy_server.recommends(
            policy_server.add(event.pdu, signature), event.room_version
        ):
            return signature
        raise Forbidden("The room's policy server gave no valid signature")
