"""Apps that have registered as clients of the OAuth 2.0 API."""

import msgspec
from sqlalchemy import bindparam, delete, select, update
from sqlalchemy import exists as an_existing

from homeserver.core.json import JsonObject, encode
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.accounts import refresh_tokens
from homeserver.database.tables.oauth import oauth_clients
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_c = oauth_clients.c
_of_client = refresh_tokens.c.oauth_client_id == _c.client_id

METADATA = statement(select(_c.metadata).where(_c.client_id == bindparam("client_id")))
INSERT = insert_into(oauth_clients, ignore_conflict=True)
KEEP = statement(
    update(oauth_clients)
    .where(_c.client_id == bindparam("the_client"), _c.expires_ts < bindparam("until_ts"))
    .values(expires_ts=bindparam("until_ts"))
)
PRUNE = statement(
    delete(oauth_clients).where(
        _c.client_id.in_(
            select(_c.client_id)
            .where(_c.expires_ts <= bindparam("now_ts"), ~an_existing().where(_of_client))
            .limit(bindparam("limit"))
        )
    )
)


def put(tx: WriteTransaction, client_id: str, metadata: JsonObject, *, now_ts: int, until_ts: int) -> None:
    """Add a client, or keep one that is there until then at least."""
    added = tx.execute(
        INSERT,
        client_id=client_id,
        metadata=encode(metadata),
        created_ts=now_ts,
        expires_ts=until_ts,
    )
    if not added:
        keep(tx, client_id, until_ts=until_ts)


def metadata_of(tx: ReadTransaction, client_id: str) -> JsonObject | None:
    """What the client has registered with; None if it is not known."""
    found: bytes | None = tx.value(METADATA, client_id=client_id)
    return None if found is None else _OBJECT.decode(found)


def keep(tx: WriteTransaction, client_id: str, *, until_ts: int) -> None:
    """Keep the client until then at least."""
    tx.execute(KEEP, the_client=client_id, until_ts=until_ts)


def prune(tx: WriteTransaction, *, now_ts: int, limit: int) -> int:
    """Forget up to `limit` clients whose time is over, and that have no session; how many."""
    return tx.execute(PRUNE, now_ts=now_ts, limit=limit)


_OBJECT = msgspec.json.Decoder(JsonObject)
