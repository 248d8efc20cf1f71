"""What users have customised of their push rules; see `core.push_rules.Customisation` for the stored form."""

from sqlalchemy import bindparam, select

from homeserver.core.identifiers import UserID
from homeserver.core.topics import user_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import insert_into, statement, upsert
from homeserver.database.tables.account_data import push_rules
from homeserver.database.tables.rooms import memberships
from homeserver.database.transactions import Question, ReadTransaction, WriteTransaction

_r = push_rules.c
_m = memberships.c
RULES = statement(select(_r.rules).where(_r.user_id == bindparam("user_id")))
RULES_LOCKED = statement(select(_r.rules).where(_r.user_id == bindparam("user_id")).with_for_update())
CHANGED = statement(
    select(_r.position).where(
        _r.user_id == bindparam("user_id"), _r.position > bindparam("since"), _r.position <= bindparam("upto")
    )
)
OF_MEMBERS = statement(
    select(_r.user_id, _r.rules)
    .select_from(memberships.join(push_rules, _r.user_id == _m.user_id))
    .where(_m.room_nid == bindparam("room_nid"), _m.membership == "join", _m.is_local == 1)
)
RESERVE = insert_into(push_rules, ignore_conflict=True)
SET = upsert(push_rules, key=["user_id"])


def of(tx: ReadTransaction, user_id: UserID) -> bytes | None:
    """What the user has customised, `None` for nothing."""
    rules: bytes | None = tx.value(RULES, user_id=user_id)
    return rules


def members_question(room_nid: int) -> Question:
    """What `of_members` asks."""
    return OF_MEMBERS, {"room_nid": room_nid}


def of_members(tx: ReadTransaction, room_nid: int) -> dict[UserID, bytes]:
    """What the room's joined users of this server have customised; those who have nothing are left out."""
    query, params = members_question(room_nid)
    return {row[0]: row[1] for row in tx.all(query, **params)}


def has_changed(tx: ReadTransaction, user_id: UserID, *, since: int, upto: int) -> bool:
    """Whether the user's rules have last changed at a position with `since < position <= upto`."""
    return tx.value(CHANGED, user_id=user_id, since=since, upto=upto) is not None


def lock(tx: WriteTransaction, user_id: UserID, *, empty: bytes) -> bytes:
    """As `of`, to be changed: nobody else changes it until the commit. `empty` is what stands for nothing."""
    tx.execute(RESERVE, user_id=user_id, rules=empty, position=0)
    rules: bytes = tx.value(RULES_LOCKED, user_id=user_id)
    return rules


def put(tx: WriteTransaction, user_id: UserID, rules: bytes) -> None:
    """Replace what the user has customised; the user's devices are told."""
    tx.publish(SET, kind=Kind.ACCOUNT_DATA, to=[user_topic(user_id)], user_id=user_id, rules=rules)
