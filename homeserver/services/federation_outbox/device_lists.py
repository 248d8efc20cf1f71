"""What other servers are told of the devices and cross-signing keys of users here.

Spec: server-server API, "Device Management", `m.device_list_update` and `m.signing_key_update`.

Nothing is written for a server when a device changes: `device_changes` keeps the last change of each device, and what
a server lacks is computed when it is its turn. Why nothing is lost:

- A change is stored with its position in the transaction that makes it. Positions become visible in their order, and
  the outbox reads the stream in that order, again after a crash from where everything had arrived; a destination that
  does not answer is behind from such a position on. So `told_upto` of a server only passes a change when no update was
  due for it, or when that has arrived.
- A server that has been told of a user is owed every change after that, whatever has happened to their rooms: as long
  as its row is kept, it is owed what happened while they shared none, as soon as there is news that concerns it.
- A server that has not is owed what is after `told_upto`. What was before it sees for itself, since it asks when it
  first meets the user. Both are decided by the rooms as they are in the same snapshot as the changes: a change that is
  not yet in it has a later position.
- An update names as `prev_id` what the server was last sent of the user, and so every change between that and the
  update belongs to it or to its device's later one. To a server that has not been sent anything it names the change
  before: if the server has asked since, that is what its list is of. Otherwise the server does not know that number,
  and asks. Where deleted devices have been forgotten, the number is one that nobody knows who has not been told.
- When somebody here comes into a room with servers that have not been told of this user yet, they get the last change
  again ("when that user joins a room which contains servers which are not already receiving updates"). So do those of
  which is known only later that they were there. When a server comes into a room it gets nothing, and asks: the users
  in a large room would be too many.

Updates that were refused, or are sent again after a crash, do no harm: receivers ignore what they know, and ask when
in doubt.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from homeserver.core import splice
from homeserver.core.identifiers import ServerName, UserID
from homeserver.core.json import encode
from homeserver.database.kinds import Kind
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.services.federation_outbox.edus import DurableEdu
from homeserver.services.federation_outbox.queues import shard_of
from homeserver.storage import device_changes, outbound_edus, outbound_events, partial_joins, shown_devices
from homeserver.storage.device_changes import USER_KEYS, DeviceChange, Told

MOST_NEWCOMERS: Final = 500
"""Users here who come into rooms, of those whose coming is read at once."""


class _Owed(msgspec.Struct, frozen=True):
    """A change that a server is to be told of, and the one that it is relative to, if there is one."""

    change: DeviceChange
    previous: int | None


class _Updates:
    """What all sources of updates have in common: they are numbered by the positions of the changes."""

    def delivered(self, tx: WriteTransaction, server_name: ServerName, numbers: Collection[int]) -> None:
        """As `EduSource.delivered`."""
        _note(tx, server_name, numbers)


class ChangedDevices(_Updates):
    """Updates about what has changed."""

    @property
    def kind(self) -> Kind:
        """As `EduSource.kind`."""
        return Kind.DEVICE_LISTS

    def concerned(self, tx: ReadTransaction, *, after: int, upto: int) -> Collection[ServerName]:
        """As `EduSource.concerned`."""
        users = device_changes.users_between(tx, after=after, upto=upto)
        return _together(outbound_edus.servers_of(tx, users).values()) if users else ()

    def waiting(self, tx: ReadTransaction, server_name: ServerName, *, most: int) -> Sequence[DurableEdu]:
        """As `EduSource.waiting`."""
        after = device_changes.told_upto(tx, server_name, shard_of(server_name))
        users = device_changes.changed_users(tx, server_name, after=after, most=most)
        return _edus(tx, server_name, users, after=after, most=most) if users else ()


class NewlyMetUsers(_Updates):
    """Updates about users here who have come into rooms with servers that know nothing of their devices yet.

    Of some `ChangedDevices` would tell, too, since they have changed lately, if it were asked: it was not concerned
    when they shared no room with the server yet.
    """

    @property
    def kind(self) -> Kind:
        """As `EduSource.kind`."""
        return Kind.EVENTS

    def concerned(self, tx: ReadTransaction, *, after: int, upto: int) -> Collection[ServerName]:
        """As `EduSource.concerned`."""
        newcomers = outbound_events.local_newcomers(tx, after=after, upto=upto, most=MOST_NEWCOMERS)
        if not newcomers:
            return ()
        known = device_changes.of_users(tx, {each.user_id for each in newcomers})
        rooms = {each.room_nid for each in newcomers if each.user_id in known}
        return _together(outbound_events.servers_of(tx, rooms).values()) if rooms else ()

    def waiting(self, tx: ReadTransaction, server_name: ServerName, *, most: int) -> Sequence[DurableEdu]:
        """As `EduSource.waiting`."""
        after = device_changes.told_upto(tx, server_name, shard_of(server_name))
        users = device_changes.newcomers(tx, server_name, after=after, most=most)
        return _introductions(tx, server_name, users, after=after, most=most)


class MetLater(_Updates):
    """Updates about users here in rooms whose states have become complete: only then are all servers there known.

    To those that were known before nothing is owed, unless they have yet to be told anyway.
    """

    @property
    def kind(self) -> Kind:
        """As `EduSource.kind`."""
        return Kind.MEMBERSHIPS

    def concerned(self, tx: ReadTransaction, *, after: int, upto: int) -> Collection[ServerName]:
        """As `EduSource.concerned`."""
        rooms = partial_joins.completed_between(tx, after=after, upto=upto)
        return _together(outbound_events.servers_of(tx, rooms).values()) if rooms else ()

    def waiting(self, tx: ReadTransaction, server_name: ServerName, *, most: int) -> Sequence[DurableEdu]:
        """As `EduSource.waiting`."""
        after = device_changes.told_upto(tx, server_name, shard_of(server_name))
        rooms = partial_joins.completed_between(tx, after=after, upto=tx.stream_row().position)
        users = device_changes.met_in(tx, server_name, rooms, most=most) if rooms else set()
        return _introductions(tx, server_name, users, after=after, most=most)


def _introductions(
    tx: ReadTransaction, server_name: ServerName, users: set[UserID], *, after: int, most: int
) -> Sequence[DurableEdu]:
    """The first `most` updates about users whom the server has met; of who has changed lately, all that is owed."""
    if not users:
        return ()
    changed = users & device_changes.changed_users(tx, server_name, after=after, most=most)
    edus = [
        *_edus(tx, server_name, changed, after=after, most=most),
        *_edus(tx, server_name, users - changed, after=None, most=most),
    ]
    return edus[:most]


def _together(many: Iterable[Iterable[ServerName]]) -> set[ServerName]:
    return {server_name for some in many for server_name in some}


def _edus(
    tx: ReadTransaction, server_name: ServerName, users: Collection[UserID], *, after: int | None, most: int
) -> list[DurableEdu]:
    """The first `most` updates about these users that the server is owed.

    If it has been told nothing of one: of what is after `after`, or without that of the last change alone.
    """
    changes = device_changes.of_users(tx, users)
    told = device_changes.told(tx, server_name, users)
    forgotten = device_changes.forgotten(tx, users)
    owed = [
        each
        for user_id, of_user in changes.items()
        for each in owed_of(of_user, told.get(user_id), forgotten.get(user_id, 0), after=after)
    ]
    # A user's come in their order, so that each stands on those before it.
    owed.sort(key=lambda each: each.change.position)
    return list(_written(tx, owed[:most]))


def owed_of(
    changes: Sequence[DeviceChange], told: Told | None, forgotten: int, *, after: int | None
) -> Iterator[_Owed]:
    """What is owed to a server of a user's `changes`, which are in their order; see `_edus`.

    Up to the position `forgotten` there were changes that are not among them.
    """
    devices = [each.position for each in changes if each.device_id != USER_KEYS]
    if told is not None:
        start = told.position
    elif after is not None:
        start = after
    else:
        start = (devices[-1] if devices else changes[-1].position) - 1
    previous: int | None = max([each for each in devices if each <= start] + [forgotten]) or None
    if told is not None and told.stream_id:
        previous = told.stream_id
    for change in changes:
        if change.position > start:
            yield _Owed(change, previous)
            if change.device_id != USER_KEYS:
                previous = change.position


def _written(tx: ReadTransaction, owed: Sequence[_Owed]) -> Iterator[DurableEdu]:
    """The EDUs. Names of devices are not told: they often say who or where somebody is."""
    changes = [each.change for each in owed]
    keys = shown_devices.of_devices(
        tx, {each.user_id for each in changes}, {each.device_id for each in changes if not each.is_deleted}
    )
    with_keys = {each.user_id for each in changes if each.device_id == USER_KEYS}
    user_keys = shown_devices.user_keys(tx, with_keys) if with_keys else {}
    for each in owed:
        change = each.change
        if change.device_id == USER_KEYS:
            yield DurableEdu(change.position, _signing_key_update(change, user_keys.get(change.user_id, {})))
        else:
            of_device = keys.get(change.user_id, {}).get(change.device_id)
            yield DurableEdu(change.position, _device_list_update(each, of_device))


def _device_list_update(owed: _Owed, keys: bytes | None) -> bytes:
    change = owed.change
    content = {
        "deleted": b"true" if change.is_deleted else b"false",
        "device_id": encode(change.device_id),
        **({} if keys is None or change.is_deleted else {"keys": keys}),
        "prev_id": b"[]" if owed.previous is None else b"[%d]" % owed.previous,
        "stream_id": b"%d" % change.position,
        "user_id": encode(change.user_id),
    }
    return splice.object_of(
        {"content": splice.object_of(content), "edu_type": encode("m.device_list_update")}
    )


def _signing_key_update(change: DeviceChange, keys: Mapping[str, bytes]) -> bytes:
    content = {f"{usage}_key": keys[usage] for usage in ("master", "self_signing") if usage in keys}
    content["user_id"] = encode(change.user_id)
    return splice.object_of(
        {"content": splice.object_of(content), "edu_type": encode("m.signing_key_update")}
    )


def _note(tx: WriteTransaction, server_name: ServerName, numbers: Collection[int]) -> None:
    """The server has been told of the changes with these positions.

    A change that has been overtaken meanwhile is not noted: the later one is to be told anyway.
    """
    by_user: dict[UserID, list[DeviceChange]] = {}
    for change in device_changes.at(tx, numbers):
        by_user.setdefault(change.user_id, []).append(change)
    before = device_changes.told(tx, server_name, by_user.keys()) if by_user else {}
    for user_id, changes in sorted(by_user.items()):
        known = before.get(user_id, Told(0, 0))
        devices = [each.position for each in changes if each.device_id != USER_KEYS]
        position = max(known.position, changes[-1].position)
        device_changes.set_told(tx, server_name, user_id, Told(position, max([known.stream_id, *devices])))
