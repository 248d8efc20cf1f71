"""Server-server API, `transactions.yaml`: what other servers send."""

from typing import Annotated

import msgspec

from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject, JsonValue
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.response import RawJson
from homeserver.services.federation_inbox import MOST_EDUS, MOST_PDUS, FederationInbox

MOST_BYTES = 10 * 1024 * 1024
"""Of a transaction: 50 events of 64 KiB, and 100 EDUs as large."""


class TransactionBody(msgspec.Struct):
    """A transaction; who has sent it, the signature of the request tells.

    What is no object in it is left out: it keeps nothing else from being taken.
    """

    pdus: Annotated[list[JsonValue], msgspec.Meta(max_length=MOST_PDUS)]
    edus: Annotated[list[JsonValue], msgspec.Meta(max_length=MOST_EDUS)] = []


class Transactions(msgspec.Struct, frozen=True):
    """Receiving transactions."""

    inbox: FederationInbox

    @endpoint("PUT", "/_matrix/federation/v1/send/{txn_id}", auth=Auth.SERVER, body_limit=MOST_BYTES)
    async def send_transaction(self, origin: ServerName, txn_id: str, body: TransactionBody) -> RawJson:
        """Take a transaction."""
        return RawJson(await self.inbox.receive(origin, txn_id, _objects(body.pdus), _objects(body.edus)))


def _objects(items: list[JsonValue]) -> list[JsonObject]:
    return [item for item in items if isinstance(item, dict)]
