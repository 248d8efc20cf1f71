"""Identifiers that users have published on identity servers, and how that is taken back.

Spec: client-server API, "Adding Account Administrative Contact Information": to bind and to unbind.
"""

from collections.abc import Sequence

import attrs
import msgspec
import structlog
from twisted.internet.defer import Deferred, gatherResults

from homeserver.clients.errors import RemoteError
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import ServerName, UserID
from homeserver.core.requester import Requester
from homeserver.core.threepids import Threepid
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.services.identity_servers import IdentityServers, error_of
from homeserver.storage import threepid_bindings, threepids
from homeserver.storage.threepid_bindings import Binding

_log = structlog.get_logger(__name__)


@attrs.frozen
class Credentials:
    """A validation session on an identity server, and the user's access token there."""

    id_server: str
    id_access_token: str | None = attrs.field(repr=False)
    sid: str
    client_secret: str = attrs.field(repr=False)


class Bindings(msgspec.Struct, frozen=True):
    """Publishes identifiers, and takes that back."""

    database: Database
    identity_servers: IdentityServers

    async def bind(self, requester: Requester, credentials: Credentials) -> None:
        """Have an identity server tell everybody whose an identifier is that was validated there.

        Errors: ServerNotTrusted, InvalidParam; those of the identity server; Unknown (502).
        """
        access = self.identity_servers.access(credentials.id_server, credentials.id_access_token)
        try:
            threepid = await self.identity_servers.client.bind(
                access,
                sid=credentials.sid,
                client_secret=credentials.client_secret,
                user_id=requester.user_id,
            )
        except RemoteError as error:
            raise error_of(error) from error
        binding = Binding(threepid, access.id_server)
        await self.database.write(threepid_bindings.add, requester.user_id, binding)

    async def of(self, user_id: UserID, id_server: str | None) -> list[Binding]:
        """What is to be unbound when the account is closed: from `id_server`, or from wherever it was published."""
        found = await self.database.read(read_bindings, user_id)
        if id_server is None:
            return found.bindings
        each = dict.fromkeys([*found.own, *(binding.threepid for binding in found.bindings)])
        return [Binding(threepid, id_server) for threepid in each]

    async def unbind(self, user_id: UserID, threepid: Threepid, id_server: str | None) -> bool:
        """Take back that the identifier is the user's, on `id_server`, or wherever it was published.

        False if no identity server is known, or it does not support that. Errors: as `bind`.
        """
        if id_server is not None:
            self.identity_servers.named(id_server)
            targets = [Binding(threepid, id_server)]
        else:
            found = await self.database.read(read_bindings, user_id)
            targets = [binding for binding in found.bindings if binding.threepid == threepid]
        done = [await self._unbind(user_id, binding) for binding in targets]
        return bool(done) and all(done)

    async def unbind_as_far_as_possible(self, user_id: UserID, bindings: Sequence[Binding]) -> bool:
        """As `unbind`, all at once, where nothing may fail any more. Whether all of it was done."""

        async def attempt(binding: Binding) -> bool:
            try:
                return await self._unbind(user_id, binding)
            except MatrixError as error:
                _log.warning("not unbound", user=user_id, server=binding.id_server, reason=str(error))
                return False

        return all(await gatherResults([Deferred.fromCoroutine(attempt(each)) for each in bindings]))

    async def _unbind(self, user_id: UserID, binding: Binding) -> bool:
        """False if the identity server does not support it. Errors: its own; Unknown (502)."""
        name: ServerName = self.identity_servers.named(binding.id_server)
        try:
            await self.identity_servers.client.unbind(name, user_id, binding.threepid)
        except RemoteError as error:
            # "If the response body is not a JSON Matrix error, the identity server does not support unbinds."
            if error.status in (400, 404, 501) and error.errcode is None:
                return False
            raise error_of(error) from error
        await self.database.write(threepid_bindings.remove, user_id, binding)
        return True


class Published(msgspec.Struct, frozen=True):
    """What is published of a user, and the identifiers of the account."""

    bindings: list[Binding]
    own: list[Threepid]


def read_bindings(tx: ReadTransaction, user_id: UserID) -> Published:
    """Everything that may have to be unbound."""
    return Published(
        threepid_bindings.of_user(tx, user_id), [each.threepid for each in threepids.of_user(tx, user_id)]
    )
