"""Keeping the user directory in step with the rooms, beside the requests: who comes is found about a second later.

Users of this server are found by their profiles, which note every change there themselves. Users of others are known
by their membership events: of these, the directory has the names by all of which they are found, and who looks for
them is shown the name that rooms have which are open to him. What nothing tells of, such as rooms that have been
removed, is noticed when everything is looked at anew, once a day.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from homeserver.core.identifiers import ServerName, UserID, server_of
from homeserver.core.json import decode_object
from homeserver.core.profiles import NameAndAvatar
from homeserver.core.room_versions import get_room_version
from homeserver.database.database import Database
from homeserver.database.kinds import Kind
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services import user_directory_entries
from homeserver.services.room_access import content_at, is_world_readable
from homeserver.storage import rooms, user_directory, user_directory_progress
from homeserver.storage.user_directory import Entry
from homeserver.storage.user_directory_progress import Progress, Scan

AT_ONCE: Final = 200
"""Events or users that are looked at in one transaction."""

MOST_BESIDES: Final = 5
"""Steps in a second that do not follow the stream."""

ANEW_MS: Final = 24 * 3_600_000

ROOMS: Final = "rooms"
ACCOUNTS: Final = "accounts"
MEMBERS: Final = "members"
ENTRIES: Final = "entries"
PHASES: Final = (ROOMS, ACCOUNTS, MEMBERS, ENTRIES)
"""What is looked at anew, one after the other."""


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """What the next step comes to.

    `entries` are of users of other servers, of whom `gone` are in no room any more; the profiles of `local` users are
    to be looked at. Of `users`, those `in_open_rooms` are in such. `open_rooms` says of rooms whether they are open.
    `resets` are rooms with members whom no event shows.
    """

    progress: Progress
    follows: bool = False
    entries: Sequence[Entry] = ()
    gone: Sequence[UserID] = ()
    local: Sequence[UserID] = ()
    users: Collection[UserID] = ()
    in_open_rooms: Collection[UserID] = ()
    open_rooms: dict[int, bool] = msgspec.field(default_factory=dict)
    resets: Sequence[int] = ()
    resets_since: int = 0
    scan: Scan | None = None
    scanned_to: UserID | None = None


class UserDirectoryIndex(msgspec.Struct, frozen=True):
    """Follows the stream, and looks at everything now and then."""

    database: Database
    clock: Clock
    server_name: ServerName

    async def work(self) -> None:
        """Follow the stream to its end, and do some of what else there is; to be called about once a second.

        Each process does this; what one has done the others leave alone.
        """
        besides = 0
        while besides < MOST_BESIDES:
            step = await self.database.read(read_step, self.server_name, now_ts=self.clock.now_ts())
            if step is None or not await self.database.write_soon(take, step):
                return
            besides += not step.follows


def read_step(tx: ReadTransaction, server_name: ServerName, *, now_ts: int) -> _Step | None:
    """What is to be done next; `None` if nothing is."""
    before, row = user_directory_progress.of(tx), tx.stream_row()
    if before is None:
        return _Step(progress=Progress(1, row.position, ROOMS, "", now_ts))
    progress = msgspec.structs.replace(before, steps=before.steps + 1)
    if row.changed_since(Kind.EVENTS, before.position):
        return _follow(tx, progress, row.position, server_name)
    if (scan := user_directory_progress.first_scan(tx)) is not None:
        return _scan(tx, progress, scan, server_name)
    if progress.phase is not None:
        return _look_anew(tx, progress, progress.phase, server_name)
    if now_ts - progress.begun_ts >= ANEW_MS:
        return _Step(progress=msgspec.structs.replace(progress, phase=ROOMS, after="", begun_ts=now_ts))
    return None


def take(tx: WriteTransaction, step: _Step) -> bool:
    """Take the step, unless another process has done so meanwhile: then `False`."""
    if not user_directory_progress.advance(tx, step.progress):
        return False
    for entry in step.entries:
        user_directory.put(tx, entry)
    for user_id in step.gone:
        user_directory.remove(tx, user_id)
    if step.local:
        user_directory_entries.refresh(tx, step.local)
    if step.users:
        others = [user_id for user_id in step.users if user_id not in step.in_open_rooms]
        user_directory.set_users_open(tx, step.in_open_rooms, is_open=True)
        user_directory.set_users_open(tx, others, is_open=False)
    for room_nid, is_open in step.open_rooms.items():
        if user_directory.set_room_open(tx, room_nid, is_open=is_open):
            user_directory_progress.add_scan(tx, room_nid)
    for room_nid in step.resets:
        user_directory_progress.add_scan(tx, room_nid, since_position=step.resets_since)
    if step.scan is not None:
        user_directory_progress.move_scan(tx, step.scan.scan_nid, step.scanned_to)
    return True


def _follow(tx: ReadTransaction, progress: Progress, upto: int, server_name: ServerName) -> _Step:
    news = user_directory_progress.news(tx, progress.position, upto, most=AT_ONCE)
    entries, gone = _remote(tx, news.user_ids, server_name)
    return _Step(
        progress=msgspec.structs.replace(progress, position=news.upto),
        follows=True,
        entries=entries,
        gone=gone,
        users=news.user_ids,
        in_open_rooms=user_directory.in_open_rooms(tx, news.user_ids),
        open_rooms=_openness(tx, news.rooms),
        resets=news.reset_rooms,
        resets_since=progress.position,
    )


def _scan(tx: ReadTransaction, progress: Progress, scan: Scan, server_name: ServerName) -> _Step:
    user_ids = user_directory_progress.scanned(tx, scan, most=AT_ONCE)
    entries, gone = _remote(tx, user_ids, server_name)
    return _Step(
        progress=progress,
        entries=entries,
        gone=gone,
        users=user_ids,
        in_open_rooms=user_directory.in_open_rooms(tx, user_ids),
        open_rooms={} if scan.after_user else _openness(tx, [scan.room_nid]),
        scan=scan,
        scanned_to=user_ids[-1] if len(user_ids) == AT_ONCE else None,
    )


def _look_anew(tx: ReadTransaction, progress: Progress, phase: str, server_name: ServerName) -> _Step:
    """The next rooms or users; after the last of them the next phase begins."""
    if phase == ROOMS:
        room_nids = user_directory_progress.rooms_after(tx, int(progress.after or -1), most=AT_ONCE)
        after = str(room_nids[-1]) if room_nids else None
        return _Step(progress=_moved(progress, phase, after), open_rooms=_openness(tx, room_nids))
    if phase == ENTRIES:
        found = user_directory.after(tx, int(progress.after or -1), most=AT_ONCE)
        after = str(found[-1][0]) if found else None
        user_ids = [user_id for _, user_id in found]
        entries, gone = _remote(tx, user_ids, server_name)
        return _Step(
            progress=_moved(progress, phase, after),
            entries=entries,
            gone=gone,
            local=_local(user_ids, server_name),
            users=user_ids,
            in_open_rooms=user_directory.in_open_rooms(tx, user_ids),
        )
    page = user_directory_progress.accounts_after
    if phase == MEMBERS:
        page = user_directory_progress.members_after
    user_ids = page(tx, progress.after, most=AT_ONCE)
    moved = _moved(progress, phase, user_ids[-1] if user_ids else None)
    # Those who have an entry come in the last phase, and then all do.
    known = user_directory.entries(tx, user_ids)
    new = [user_id for user_id in user_ids if user_id not in known]
    entries, _ = _remote(tx, new, server_name)
    return _Step(progress=moved, entries=entries, local=_local(new, server_name))


def _moved(progress: Progress, phase: str, after: str | None) -> Progress:
    if after is not None:
        return msgspec.structs.replace(progress, after=after)
    following = dict(zip(PHASES, (*PHASES[1:], None), strict=True))
    return msgspec.structs.replace(progress, phase=following[phase], after="")


def _local(user_ids: Collection[UserID], server_name: ServerName) -> list[UserID]:
    return [user_id for user_id in user_ids if server_of(user_id) == server_name]


def _remote(
    tx: ReadTransaction, user_ids: Collection[UserID], server_name: ServerName
) -> tuple[list[Entry], list[UserID]]:
    """What has to be written of those of other servers: their entries, and who has none any more."""
    user_ids = [user_id for user_id in user_ids if server_of(user_id) != server_name]
    if not user_ids:
        return [], []
    before = user_directory.entries(tx, user_ids)
    joined = user_directory.member_events(tx, user_ids)
    now = {
        user_id: Entry.of(user_id, [profile_in(pdu).display_name or "" for pdu in pdus], is_local=False)
        for user_id, pdus in joined.items()
    }
    changed = [entry for user_id, entry in now.items() if entry != before.get(user_id)]
    return changed, [user_id for user_id in before if user_id not in now]


def profile_in(pdu: bytes) -> NameAndAvatar:
    """The name and avatar that a membership event gives its user."""
    content = decode_object(pdu).get("content")
    return NameAndAvatar.of(content if isinstance(content, dict) else {})


def _openness(tx: ReadTransaction, room_nids: Collection[int]) -> dict[int, bool]:
    """Of each room whether anybody may join it, or read it."""
    found = rooms.of_nids(tx, room_nids)
    return {room_nid: room_nid in found and _is_open(tx, found[room_nid]) for room_nid in room_nids}


def _is_open(tx: ReadTransaction, room: rooms.Room) -> bool:
    if not room.is_held:
        return False
    version = get_room_version(room.version)
    rule = content_at(tx, room.state_root, version, ("m.room.join_rules", "")).get("join_rule")
    return rule == "public" or is_world_readable(tx, room.state_root, version)
