"""Names and avatars in the rooms of their users.

Spec: client-server API, "Events on Change of Profile Information".
"""

import attrs
import structlog
from twisted.internet.defer import Deferred

from homeserver.core.auth_events import member_of
from homeserver.core.errors import Forbidden, MatrixError, NotFound
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.profiles import NameAndAvatar
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms.append import Appender
from homeserver.rooms.current_state import current_content
from homeserver.rooms.draft import Draft, Signer
from homeserver.rooms.members import member_content
from homeserver.runtime.clock import Clock
from homeserver.storage import memberships

_log = structlog.get_logger(__name__)


@attrs.frozen(eq=False)
class MemberProfiles:
    """Brings the membership events of users to what their profiles say, beside the requests.

    One short transaction per room, one room at a time for each user. What is written is the profile as it is
    then, so changes in quick succession, in whatever process, end in the last one.
    """

    database: Database
    clock: Clock
    signer: Signer
    _running: dict[UserID, Deferred[None]] = attrs.field(factory=dict, init=False)
    _again: set[UserID] = attrs.field(factory=set, init=False)

    async def update_member_events(
        self, user_id: UserID, display_name: str | None, avatar_url: str | None
    ) -> None:
        """Have the user's membership events updated; does not wait for it."""
        del display_name, avatar_url  # the stored profile is at least as new
        if user_id in self._running:
            self._again.add(user_id)
            return
        running = Deferred.fromCoroutine(self._update_all(user_id))
        if not running.called:
            self._running[user_id] = running
        running.addErrback(_log_failure, user_id)

    async def finish(self) -> None:
        """Wait for what has been begun; to be called before the database is stopped."""
        for running in list(self._running.values()):
            done: Deferred[None] = Deferred()
            running.addBoth(_pass_on, done)
            await done

    async def _update_all(self, user_id: UserID) -> None:
        try:
            while True:
                self._again.discard(user_id)
                for room_id in await self.database.read(memberships.joined_room_ids, user_id):
                    await self._update_in(room_id, user_id)
                if user_id not in self._again:
                    return
        finally:
            self._running.pop(user_id, None)

    async def _update_in(self, room_id: RoomID, user_id: UserID) -> None:
        try:
            await self.database.write(
                update_member, self.signer, user_id, room_id, now_ts=self.clock.now_ts()
            )
        except MatrixError as error:
            # As by the room's policy server. The other rooms have nothing to do with it.
            _log.info("a room does not take a member's new name", room=room_id, reason=str(error))


def update_member(
    tx: WriteTransaction, signer: Signer, user_id: UserID, room_id: RoomID, *, now_ts: int
) -> None:
    """Bring the user's membership event to the profile, if the user is joined and the rules permit it."""
    try:
        appender = Appender.lock(tx, room_id, signer, now_ts=now_ts)
    except NotFound:
        return
    before = current_content(appender, member_of(user_id))
    content = member_content(tx, user_id, "join")
    if before.get("membership") != "join" or NameAndAvatar.of(before) == NameAndAvatar.of(content):
        return
    try:
        appender.append(Draft(user_id, "m.room.member", content, state_key=user_id))
    except Forbidden:
        # Some join rules of the past, and misspelled ones, let nobody join, not even again.
        return
    appender.publish()


def _log_failure(failure: object, user_id: UserID) -> None:
    _log.error("the names in rooms could not be updated", user=user_id, reason=str(failure))


def _pass_on(result: object, done: Deferred[None]) -> object:
    done.callback(None)
    return result
