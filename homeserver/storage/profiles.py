"""Profiles of this server's users: display name, avatar, and whatever other fields they set."""

from collections.abc import Collection, Mapping

from sqlalchemy import bindparam, delete, select

from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, JsonValue, decode, encode
from homeserver.core.profiles import AVATAR_URL, DISPLAY_NAME, NameAndAvatar
from homeserver.database.statements import in_list, statement, upsert
from homeserver.database.tables.accounts import profiles
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_p = profiles.c
FIELDS = statement(select(_p.field, _p.value).where(_p.user_id == bindparam("user_id")).order_by(_p.field))
FIELDS_LOCKED = statement(
    select(_p.field, _p.value).where(_p.user_id == bindparam("user_id")).order_by(_p.field).with_for_update()
)
FIELD = statement(select(_p.value).where(_p.user_id == bindparam("user_id"), _p.field == bindparam("field")))
FIELDS_OF_MANY = statement(
    select(_p.user_id, _p.field, _p.value).where(in_list(_p.user_id, "user_ids"), in_list(_p.field, "fields"))
)
SET = upsert(profiles, key=["user_id", "field"])
DELETE = statement(delete(profiles).where(_p.user_id == bindparam("user_id"), _p.field == bindparam("field")))


def of(tx: ReadTransaction, user_id: UserID) -> JsonObject:
    """The whole profile, empty if nothing is set."""
    return {field: decode(value) for field, value in tx.all(FIELDS, user_id=user_id)}


def lock(tx: WriteTransaction, user_id: UserID) -> dict[str, bytes]:
    """The whole profile, each value as JSON; nobody else changes these fields until the commit."""
    return {row[0]: row[1] for row in tx.all(FIELDS_LOCKED, user_id=user_id)}


def field_of(tx: ReadTransaction, user_id: UserID, field: str) -> bytes | None:
    """One field's value as JSON (which may be `null`), `None` if it is not set."""
    value: bytes | None = tx.value(FIELD, user_id=user_id, field=field)
    return value


def names_of(tx: ReadTransaction, user_ids: Collection[UserID]) -> Mapping[UserID, NameAndAvatar]:
    """Display names and avatars; users who have neither are left out."""
    found: dict[UserID, dict[str, JsonValue]] = {}
    for user_id, field, value in tx.all(
        FIELDS_OF_MANY, user_ids=list(user_ids), fields=[DISPLAY_NAME, AVATAR_URL]
    ):
        found.setdefault(user_id, {})[field] = decode(value)
    return {user_id: NameAndAvatar.of(profile) for user_id, profile in found.items()}


def put(tx: WriteTransaction, user_id: UserID, field: str, value: JsonValue) -> None:
    """Set a field."""
    tx.execute(SET, user_id=user_id, field=field, value=encode(value))


def delete_field(tx: WriteTransaction, user_id: UserID, field: str) -> bool:
    """Remove a field; whether it was set."""
    return tx.execute(DELETE, user_id=user_id, field=field) > 0
