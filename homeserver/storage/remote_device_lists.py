"""Devices of users of other servers, as far as they are followed: their keys, and whether those are up to date.

A list is good while its user has shared a room with somebody here ever since it was asked for: else the user's server
was free to tell nothing of later changes. Who may have been away without this server's having seen it is doubted (see
`rooms.unseen_absences`).
"""

from collections.abc import Collection, Iterable, Mapping

import attrs
import msgspec
from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, literal_column, select, update

from homeserver.core.device_lists import DeviceList, StreamID
from homeserver.core.identifiers import DeviceID, ServerName, UserID
from homeserver.core.identity_keys import DeviceKeys, Usage, UserKey
from homeserver.database.statements import claim_due, in_list, insert_into, statement, upsert
from homeserver.database.tables.encryption import cross_signing_keys, device_keys
from homeserver.database.tables.remote_devices import remote_device_lists
from homeserver.database.tables.rooms import memberships
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class RemoteList(msgspec.Struct, frozen=True):
    """A list that is or was asked for; with `stream_id` None none is kept.

    `due_ts`: it may be out of date, and is asked for again then. `failures`: how often in a row that was in vain.
    """

    user_id: UserID
    server_name: ServerName
    stream_id: StreamID | None
    position: int
    version: int
    due_ts: int | None
    failures: int


_r = remote_device_lists.c
_d = device_keys.c
_k = cross_signing_keys.c
_theirs = memberships.alias("theirs").c
_ours = memberships.alias("ours").c
_COLUMNS = tuple(remote_device_lists.columns)
_THIS = _r.user_id == bindparam("the_user")
# As the partial index says it.
_IS_OURS = and_(_ours.is_local == literal_column("1"), _ours.membership == literal_column("'join'"))


def _shares_room(user_id: ColumnElement[str], *more: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether somebody here is in a room with the user."""
    return exists(
        select(literal_column("1")).where(
            _theirs.user_id == user_id,
            _theirs.membership == "join",
            _ours.room_nid == _theirs.room_nid,
            _IS_OURS,
            *more,
        )
    )


ONE = statement(select(*_COLUMNS).where(_r.user_id == bindparam("user_id")))
ONE_LOCKED = statement(select(*_COLUMNS).where(_r.user_id == bindparam("user_id")).with_for_update())
SHARES_ROOM = statement(select(_shares_room(bindparam("user_id"))))
SHARING = statement(
    select(_theirs.user_id)
    .where(
        in_list(_theirs.user_id, "user_ids"),
        _theirs.membership == "join",
        exists(select(literal_column("1")).where(_ours.room_nid == _theirs.room_nid, _IS_OURS)),
    )
    .distinct()
)
GOOD = statement(
    select(_r.user_id).where(
        in_list(_r.user_id, "user_ids"),
        _r.stream_id.is_not(None),
        _r.due_ts.is_(None),
        _shares_room(_r.user_id, _theirs.since_position <= _r.position, _ours.since_position <= _r.position),
    )
)
ADD = insert_into(remote_device_lists, ignore_conflict=True)
DOUBT = statement(
    update(remote_device_lists).where(_THIS).values(version=_r.version + 1, due_ts=bindparam("due_ts"))
)
ADVANCE = statement(
    update(remote_device_lists).where(_THIS).values(version=_r.version + 1, stream_id=bindparam("stream_id"))
)
KEEP = statement(
    update(remote_device_lists)
    .where(_THIS)
    .values(stream_id=bindparam("stream_id"), position=bindparam("position"), due_ts=None, failures=0)
)
CLAIM = claim_due(remote_device_lists, _r.user_id, *_COLUMNS)
IS_ANY_DUE = statement(select(exists().where(_r.due_ts <= bindparam("now_ts"))))
PUT_OFF = statement(
    update(remote_device_lists).where(_THIS, _r.due_ts.is_not(None)).values(due_ts=bindparam("due_ts"))
)
FAIL = statement(
    update(remote_device_lists)
    .where(_THIS, _r.due_ts.is_not(None))
    .values(due_ts=bindparam("due_ts"), failures=bindparam("failures"))
)
PUT_OFF_ALL = statement(
    update(remote_device_lists)
    .where(
        _r.server_name == bindparam("the_server"),
        _r.due_ts.is_not(None),
        _r.due_ts < bindparam("until_ts"),
    )
    .values(due_ts=bindparam("until_ts"), failures=bindparam("failures"))
)
HASTEN = statement(
    update(remote_device_lists)
    .where(
        _r.server_name == bindparam("the_server"),
        _r.due_ts.is_not(None),
        _r.due_ts > bindparam("now_ts"),
        _r.failures > 0,
    )
    .values(due_ts=bindparam("now_ts"))
)
FAILING = statement(
    select(_r.server_name).where(_r.due_ts.is_not(None), _r.failures > 0).distinct().limit(bindparam("most"))
)
REMOVE = statement(delete(remote_device_lists).where(_r.user_id == bindparam("user_id")))
PAGE = statement(
    select(_r.user_id, _shares_room(_r.user_id))
    .where(_r.user_id > bindparam("after"))
    .order_by(_r.user_id)
    .limit(bindparam("most"))
)
DEVICES = statement(
    select(_d.user_id, _d.device_id, _d["keys"], _d.display_name)
    .where(in_list(_d.user_id, "user_ids"))
    .order_by(_d.user_id, _d.device_id)
)
DEVICE_IDS = statement(select(_d.device_id).where(_d.user_id == bindparam("user_id")))
USER_KEYS = statement(
    select(_k.user_id, _k.usage, _k["keys"])
    .where(in_list(_k.user_id, "user_ids"))
    .order_by(_k.user_id, _k.usage)
)
PUT_DEVICE = upsert(device_keys, key=["user_id", "device_id"])
REMOVE_DEVICES = statement(
    delete(device_keys).where(_d.user_id == bindparam("user_id"), in_list(_d.device_id, "device_ids"))
)
PUT_USER_KEY = upsert(cross_signing_keys, key=["user_id", "usage"])
REMOVE_USER_KEYS = statement(
    delete(cross_signing_keys).where(_k.user_id == bindparam("user_id"), in_list(_k.usage, "usages"))
)


def of(tx: ReadTransaction, user_id: UserID) -> RemoteList | None:
    """The user's list, None if it was never asked for, or is forgotten."""
    row = tx.one(ONE, user_id=user_id)
    return None if row is None else RemoteList(*row)


def lock(tx: WriteTransaction, user_id: UserID) -> RemoteList | None:
    """As `of`; nobody else changes it, or the keys of the user, until the commit."""
    row = tx.one(ONE_LOCKED, user_id=user_id)
    return None if row is None else RemoteList(*row)


def shares_room(tx: ReadTransaction, user_id: UserID) -> bool:
    """Whether somebody here is in a room with the user."""
    return bool(tx.value(SHARES_ROOM, user_id=user_id))


def sharing(tx: ReadTransaction, user_ids: Collection[UserID]) -> set[UserID]:
    """Those of the users with whom somebody here is in a room."""
    return {row[0] for row in tx.all(SHARING, user_ids=sorted(user_ids))}


def good(tx: ReadTransaction, user_ids: Collection[UserID]) -> set[UserID]:
    """Those of the users whose lists are kept, and not to be doubted."""
    return {row[0] for row in tx.all(GOOD, user_ids=sorted(user_ids))}


def devices_of(tx: ReadTransaction, user_ids: Collection[UserID]) -> dict[UserID, dict[DeviceID, DeviceKeys]]:
    """The devices of these users that are kept."""
    found: dict[UserID, dict[DeviceID, DeviceKeys]] = {}
    for user_id, device_id, keys, display_name in tx.all(DEVICES, user_ids=sorted(user_ids)):
        found.setdefault(user_id, {})[device_id] = DeviceKeys(device_id, keys, display_name)
    return found


def device_ids_of(tx: ReadTransaction, user_id: UserID) -> set[DeviceID]:
    """The devices of the user that are kept."""
    return {row[0] for row in tx.all(DEVICE_IDS, user_id=user_id)}


def user_keys_of(tx: ReadTransaction, user_ids: Collection[UserID]) -> dict[UserID, dict[Usage, bytes]]:
    """The cross-signing keys of these users that are kept, by their usage."""
    found: dict[UserID, dict[Usage, bytes]] = {}
    for user_id, usage, keys in tx.all(USER_KEYS, user_ids=sorted(user_ids)):
        found.setdefault(user_id, {})[usage] = keys
    return found


def begin(
    tx: WriteTransaction, user_id: UserID, server_name: ServerName, *, position: int, due_ts: int
) -> RemoteList:
    """The user's list, which is to be asked for; it is made if there is none. Nobody else changes it meanwhile."""
    tx.execute(
        ADD,
        user_id=user_id,
        server_name=server_name,
        stream_id=None,
        position=position,
        version=0,
        due_ts=due_ts,
        failures=0,
    )
    known = lock(tx, user_id)
    assert known is not None  # noqa: S101 - it has been added, if it was not there
    return known


def doubt(tx: WriteTransaction, known: RemoteList, *, now_ts: int) -> None:
    """The list may be out of date, and so is what is being asked for at the moment."""
    tx.execute(DOUBT, the_user=known.user_id, due_ts=now_ts if known.due_ts is None else known.due_ts)


def apply(
    tx: WriteTransaction,
    known: RemoteList,
    stream_id: StreamID,
    device_id: DeviceID,
    device: DeviceKeys | None,
) -> None:
    """The next update of the list: of this device, which has no keys any more with None."""
    if device is None:
        tx.execute(REMOVE_DEVICES, user_id=known.user_id, device_ids=[device_id])
    else:
        _put_devices(tx, known.user_id, [device])
    tx.execute(ADVANCE, the_user=known.user_id, stream_id=stream_id)


def apply_user_keys(tx: WriteTransaction, known: RemoteList, keys: Iterable[UserKey]) -> None:
    """New cross-signing keys; those of other usages stay."""
    _put_user_keys(tx, known.user_id, keys)
    tx.execute(ADVANCE, the_user=known.user_id, stream_id=known.stream_id)


def keep(tx: WriteTransaction, known: RemoteList, whole: DeviceList, *, position: int) -> bool:
    """Keep the whole list, which was asked for at that position of the stream; whether it is another than before."""
    user_id = known.user_id
    kept = devices_of(tx, [user_id]).get(user_id, {})
    news = {device.device_id: device for device in whole.devices}
    gone = kept.keys() - news.keys()
    changed = [device for device_id, device in news.items() if kept.get(device_id) != device]
    kept_keys: Mapping[Usage, bytes] = user_keys_of(tx, [user_id]).get(user_id, {})
    new_keys = {key.usage: key.keys for key in whole.user_keys}
    if gone:
        tx.execute(REMOVE_DEVICES, user_id=user_id, device_ids=sorted(gone))
    _put_devices(tx, user_id, changed)
    if kept_keys != new_keys:
        lost = sorted(kept_keys.keys() - new_keys.keys())
        if lost:
            tx.execute(REMOVE_USER_KEYS, user_id=user_id, usages=lost)
        _put_user_keys(tx, user_id, whole.user_keys)
    tx.execute(KEEP, the_user=user_id, stream_id=whole.stream_id, position=position)
    return bool(gone or changed or kept_keys != new_keys)


def forget(tx: WriteTransaction, user_id: UserID) -> None:
    """Keep nothing of the user's devices and keys."""
    device_ids = [*devices_of(tx, [user_id]).get(user_id, {})]
    tx.execute(REMOVE_DEVICES, user_id=user_id, device_ids=device_ids)
    tx.execute(REMOVE_USER_KEYS, user_id=user_id, usages=["master", "self_signing"])
    tx.execute(REMOVE, user_id=user_id)


def claim(tx: WriteTransaction, *, now_ts: int, until_ts: int) -> RemoteList | None:
    """A list that is to be asked for, None if there is none; no other process gets it before `until_ts`."""
    for row in tx.returning(CLAIM, now_ts=now_ts, until_ts=until_ts):
        return RemoteList(*row)
    return None


def is_any_due(tx: ReadTransaction, *, now_ts: int) -> bool:
    """Whether there is something to `claim`."""
    return bool(tx.value(IS_ANY_DUE, now_ts=now_ts))


def put_off(tx: WriteTransaction, user_id: UserID, *, due_ts: int) -> None:
    """The list is asked for at that time, if it is to be at all."""
    tx.execute(PUT_OFF, the_user=user_id, due_ts=due_ts)


def fail(tx: WriteTransaction, known: RemoteList, *, due_ts: int, is_server: bool) -> None:
    """Asking was in vain. With `is_server` the other lists of that server are asked for no sooner, either."""
    failures = known.failures + 1
    tx.execute(FAIL, the_user=known.user_id, due_ts=due_ts, failures=failures)
    if is_server:
        tx.execute(PUT_OFF_ALL, the_server=known.server_name, until_ts=due_ts, failures=failures)


def hasten(tx: WriteTransaction, server_name: ServerName, *, now_ts: int) -> bool:
    """Have what could not be asked of the server asked at once; whether there is something."""
    return tx.execute(HASTEN, the_server=server_name, now_ts=now_ts) > 0


def failing(tx: ReadTransaction, *, most: int) -> set[ServerName]:
    """Up to `most` servers that have been asked in vain."""
    return {row[0] for row in tx.all(FAILING, most=most)}


def prune(tx: WriteTransaction, after: UserID, *, most: int) -> UserID | None:
    """Forget users with whom nobody here shares a room any more.

    Looks at the next `most` after a user ID; gives the last one of them, None at the end.
    """
    rows = tx.all(PAGE, after=after, most=most)
    for user_id, is_shared in rows:
        if not is_shared and lock(tx, user_id) is not None:
            forget(tx, user_id)
    return rows[-1][0] if len(rows) == most else None


def _put_devices(tx: WriteTransaction, user_id: UserID, devices: Collection[DeviceKeys]) -> None:
    if devices:
        tx.execute_many(PUT_DEVICE, [{"user_id": user_id, **attrs.asdict(device)} for device in devices])


def _put_user_keys(tx: WriteTransaction, user_id: UserID, keys: Iterable[UserKey]) -> None:
    for key in keys:
        tx.execute(PUT_USER_KEY, user_id=user_id, usage=key.usage, keys=key.keys)
