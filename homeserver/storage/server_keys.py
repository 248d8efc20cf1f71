"""Keys of other servers, and the responses in which they published them."""

from collections.abc import Collection, Mapping

import msgspec
from sqlalchemy import bindparam, delete, or_, select
from sqlalchemy.dialects.sqlite import insert

from homeserver.core.hashes import decode_base64, encode_base64
from homeserver.core.identifiers import ServerName
from homeserver.core.json import canonical
from homeserver.core.server_keys import ServerKeysResponse, VerifyKey
from homeserver.database.statements import in_list, statement, upsert
from homeserver.database.tables.federation import server_key_responses, server_keys
from homeserver.database.transactions import ReadTransaction, WriteTransaction

MOST_KEPT = 200
"""Keys of one server: those that it no longer publishes are kept for its old events."""

_k = server_keys.c
_r = server_key_responses.c

KEYS = statement(
    select(_k.server_name, _k.key_id, _k.verify_key, _k.valid_until_ts, _k.is_old).where(
        in_list(_k.server_name, "server_names")
    )
)
RESPONSES = statement(
    select(_r.server_name, _r.response, _r.valid_until_ts, _r.fetched_ts).where(
        in_list(_r.server_name, "server_names")
    )
)
_new = insert(server_keys)
# What a notary has is older than what the server itself has said lately; a key once given up is so for good, unless
# its server says otherwise.
ADD = statement(
    _new.on_conflict_do_update(
        index_elements=["server_name", "key_id"],
        set_={name: _new.excluded[name] for name in ("verify_key", "valid_until_ts", "is_old", "fetched_ts")},
        where=or_(_new.excluded.is_old == 1, _new.excluded.valid_until_ts >= _k.valid_until_ts),
    ),
    [column.name for column in server_keys.columns],
)
ADD_RESPONSE = upsert(server_key_responses, key=["server_name"])
_kept = (
    select(_k.key_id)
    .where(_k.server_name == bindparam("of_server"))
    .order_by(_k.fetched_ts.desc(), _k.key_id)
    .limit(MOST_KEPT)
)
TRIM = statement(delete(server_keys).where(_k.server_name == bindparam("of_server"), _k.key_id.not_in(_kept)))


class StoredResponse(msgspec.Struct, frozen=True):
    """What a server has published, as JSON that it has signed, and when it was fetched."""

    response: bytes
    valid_until_ts: int
    fetched_ts: int


def of(tx: ReadTransaction, server_names: Collection[ServerName]) -> dict[ServerName, dict[str, VerifyKey]]:
    """All known keys of these servers, by their identifiers; servers without are left out."""
    found: dict[ServerName, dict[str, VerifyKey]] = {}
    for server_name, key_id, verify_key, valid_until_ts, is_old in tx.all(
        KEYS, server_names=list(server_names)
    ):
        key = VerifyKey(decode_base64(verify_key), valid_until_ts, is_old=bool(is_old))
        found.setdefault(ServerName(server_name), {})[key_id] = key
    return found


def responses(
    tx: ReadTransaction, server_names: Collection[ServerName]
) -> Mapping[ServerName, StoredResponse]:
    """The last response of each of these servers; servers without are left out."""
    return {
        ServerName(name): StoredResponse(response, valid_until_ts, fetched_ts)
        for name, response, valid_until_ts, fetched_ts in tx.all(RESPONSES, server_names=list(server_names))
    }


def add(tx: WriteTransaction, response: ServerKeysResponse, *, now_ts: int) -> None:
    """Keep what a server has published. Older knowledge does not replace newer."""
    # In one order everywhere, so that two transactions do not wait for each other.
    tx.execute_many(
        ADD,
        [
            {
                "server_name": response.server_name,
                "key_id": key_id,
                "verify_key": encode_base64(key.key),
                "valid_until_ts": key.valid_until_ts,
                "is_old": int(key.is_old),
                "fetched_ts": now_ts,
            }
            for key_id, key in sorted(response.keys.items())
        ],
    )
    tx.execute(TRIM, of_server=response.server_name)
    before = responses(tx, [response.server_name]).get(response.server_name)
    if before is None or before.valid_until_ts <= response.valid_until_ts:
        tx.execute(
            ADD_RESPONSE,
            server_name=response.server_name,
            response=canonical(response.document),
            valid_until_ts=response.valid_until_ts,
            fetched_ts=now_ts,
        )
