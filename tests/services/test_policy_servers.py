"""Server-server API, "Policy Servers": rooms that use one, and those that do not."""

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, gatherResults

from homeserver.clients.errors import RemoteError
from homeserver.core.endpoint_errors import ConnectionFailed
from homeserver.core.errors import Forbidden, LimitExceeded, MatrixError
from homeserver.core.event import Event
from homeserver.core.hashes import encode_base64
from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID
from homeserver.core.json import JsonObject, decode_object
from homeserver.core.policy_servers import KEY_ID, PolicyServer
from homeserver.core.redaction import redact
from homeserver.core.room_versions import get_room_version
from homeserver.core.signing import SigningKey, signed_bytes
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms import policies
from homeserver.rooms.append import Appender
from homeserver.rooms.draft import Draft
from homeserver.services.guest_access import GuestAccess
from homeserver.services.member_profiles import MemberProfiles
from homeserver.services.policy_servers import MOST_MS, MOST_WAITING, PATH, PolicyServers
from homeserver.storage import events, memberships, profiles, rooms
from tests.population import add_user
from tests.room_stories import SIGNER, Story
from tests.services.conftest import MovableClock
from tests.services.elsewhere import lonely_memberships

OWNER = UserID("@owner:x")
GUARD = UserID("@guard:policy.example")
VIA = ServerName("policy.example")
KEY = SigningKey.generate("any", seed=b"p" * 32)
POLICY: JsonObject = {"via": VIA, "public_keys": {"ed25519": encode_base64(KEY.verify_key)}}


@attrs.define
class Guard:
    """A policy server: signs what it is asked about, unless told otherwise."""

    version: str
    key: SigningKey = KEY
    asked: list[JsonObject] = attrs.field(factory=list)
    error: RemoteError | None = None
    answer: JsonObject | None = None
    before: Any = None
    """Awaited before it answers."""

    async def post(
        self, destination: ServerName, path: str, body: JsonObject, *, patience_ms: int, most_bytes: int
    ) -> JsonObject:
        assert (destination, path) == (VIA, PATH)
        self.asked.append(body)
        if self.before is not None:
            await self.before()
        if self.error is not None:
            raise self.error
        if self.answer is not None:
            return self.answer
        signature = self.key.sign(signed_bytes(redact(body, get_room_version(self.version))))
        return {VIA: {KEY_ID: signature}}


@attrs.define
class Guarded:
    story: Story
    guard: Guard
    servers: PolicyServers

    async def stored(self, event_id: EventID) -> JsonObject:
        found = await self.story.database.read(events.of, event_id)
        assert found is not None
        return decode_object(found.pdu)

    async def policy_server(self) -> PolicyServer | None:
        return await self.story.database.read(_in_state, self.story)


def _in_state(tx: ReadTransaction, story: Story) -> PolicyServer | None:
    room = rooms.of(tx, story.room_id)
    assert room is not None
    return policies.in_state(tx, room.room_nid, room.state_root, get_room_version(room.version))


@pytest.fixture(params=["1", "11", "12"])
async def guarded(request: pytest.FixtureRequest, database: Database, clock: MovableClock) -> Guarded:
    """A room whose state names a policy server, which is not in it."""
    story = await Story(database, OWNER).begin("shared", version=request.param)
    guard = Guard(request.param)
    servers = PolicyServers(database, guard, clock)
    database.clear = servers.clear
    await story.set("m.room.policy", POLICY)
    return Guarded(story, guard, servers)


async def test_a_room_uses_it_only_while_the_server_is_there(guarded: Guarded) -> None:
    """ "Policy Servers MUST have at least one joined user in the room.\""""
    await guarded.story.say("nobody is asked")
    assert await guarded.policy_server() is None
    await guarded.story.member(GUARD, "join")
    assert guarded.guard.asked == []
    assert await guarded.policy_server() == PolicyServer.of(POLICY)
    await guarded.story.say("judged")
    await guarded.story.member(GUARD, "leave")
    assert len(guarded.guard.asked) == 2
    assert await guarded.policy_server() is None
    await guarded.story.say("nobody is asked")
    assert len(guarded.guard.asked) == 2


async def test_an_event_is_stored_with_the_signature(guarded: Guarded) -> None:
    await guarded.story.member(GUARD, "join")
    event_id = await guarded.story.say("hello")
    stored = await guarded.stored(event_id)
    version = get_room_version(guarded.guard.version)
    policy_server = PolicyServer.of(POLICY)
    assert policy_server is not None
    assert policy_server.recommends(stored, version)
    (asked,) = guarded.guard.asked
    assert not policy_server.recommends(asked, version)
    assert Event.from_pdu(asked, version).event_id == event_id
    assert asked["signatures"]["x"] == stored["signatures"]["x"]  # type: ignore[index,call-overload]  # JSON


async def test_nobody_is_asked_about_the_policy_itself(guarded: Guarded) -> None:
    """Otherwise a room could not get rid of a policy server that refuses everything."""
    await guarded.story.member(GUARD, "join")
    guarded.guard.error = RemoteError(VIA, "No", transient=False, status=400, errcode="M_FORBIDDEN")
    await guarded.story.set("m.room.policy", {})
    await guarded.story.say("free")
    assert guarded.guard.asked == []


async def test_a_policy_with_another_state_key_is_judged(guarded: Guarded) -> None:
    await guarded.story.member(GUARD, "join")
    await guarded.story.set("m.room.policy", {"a": 1}, "elsewhere")
    assert len(guarded.guard.asked) == 1


async def test_a_refusal_is_told_as_it_was_said_and_nothing_is_stored(guarded: Guarded) -> None:
    """ "If the Policy Server returned an error, that error SHOULD be provided to the client verbatim.\""""
    await guarded.story.member(GUARD, "join")
    guarded.guard.error = RemoteError(
        VIA, "Looks like spam", transient=False, status=400, errcode="M_FORBIDDEN"
    )
    with pytest.raises(MatrixError) as caught:
        await guarded.story.say("spam")
    error = caught.value
    assert (error.errcode, error.message, error.status) == ("M_FORBIDDEN", "Looks like spam", 400)
    event_id = Event.from_pdu(guarded.guard.asked[0], get_room_version(guarded.guard.version)).event_id
    assert await guarded.story.database.read(events.of, event_id) is None


async def test_a_policy_server_that_is_away_lets_nothing_pass(guarded: Guarded) -> None:
    await guarded.story.member(GUARD, "join")
    guarded.guard.error = RemoteError(VIA, "connection refused", transient=True)
    with pytest.raises(ConnectionFailed):
        await guarded.story.say("hello")


@pytest.mark.parametrize(
    "answer", [{}, {VIA: {KEY_ID: "nonsense"}}, {VIA: {KEY_ID: encode_base64(bytes(64))}}]
)
async def test_a_signature_that_is_none_lets_nothing_pass(guarded: Guarded, answer: Any) -> None:
    await guarded.story.member(GUARD, "join")
    guarded.guard.answer = answer
    with pytest.raises(Forbidden):
        await guarded.story.say("hello")
    assert len(guarded.guard.asked) == 1


async def test_when_the_room_changes_meanwhile_the_new_event_is_judged(guarded: Guarded) -> None:
    await guarded.story.member(GUARD, "join")

    async def change() -> None:
        guarded.guard.before = None
        # As by another process, which does not wait for this one.
        await guarded.story.set("m.room.policy", {**POLICY, "changed": 1})

    guarded.guard.before = change
    event_id = await guarded.story.say("hello")
    first, second = (
        Event.from_pdu(pdu, get_room_version(guarded.guard.version)) for pdu in guarded.guard.asked
    )
    assert first.event_id != second.event_id == event_id
    assert first.prev_events != second.prev_events


async def test_a_room_that_changes_all_the_time_is_given_up(guarded: Guarded, clock: MovableClock) -> None:
    await guarded.story.member(GUARD, "join")
    number = 0

    async def change() -> None:
        nonlocal number
        number += 1
        clock.advance(MOST_MS // 5)
        await guarded.story.set("m.room.policy", {**POLICY, "changed": number})

    guarded.guard.before = change
    with pytest.raises(LimitExceeded):
        await guarded.story.say("hello")
    assert len(guarded.guard.asked) == 5


async def test_writes_to_a_room_take_turns(guarded: Guarded) -> None:
    """So none outdates another's event while that is judged."""
    await guarded.story.member(GUARD, "join")
    says = [Deferred.fromCoroutine(guarded.story.say(f"{number}")) for number in range(MOST_WAITING)]
    event_ids = await gatherResults(says)
    assert len(set(event_ids)) == MOST_WAITING
    assert len(guarded.guard.asked) == MOST_WAITING


async def test_only_so_many_wait(guarded: Guarded) -> None:
    await guarded.story.member(GUARD, "join")
    gate: Deferred[None] = Deferred()
    guarded.guard.before = lambda: gate
    says = [
        Deferred.fromCoroutine(guarded.story.say(f"{number}")).addErrback(lambda failure: failure.value)
        for number in range(MOST_WAITING + 1)
    ]
    refused: Any = await _first_of(says)
    assert isinstance(refused, LimitExceeded)
    guarded.guard.before = None
    gate.callback(None)
    results = await gatherResults(says)
    assert sum(isinstance(result, LimitExceeded) for result in results) == 1
    assert guarded.servers._rooms == {}


async def _first_of(deferreds: list[Deferred[Any]]) -> Any:
    first: Deferred[Any] = Deferred()

    def done(result: Any) -> Any:
        if not first.called:
            first.callback(result)
        return result

    for deferred in deferreds:
        deferred.addCallback(done)
    return await first


async def test_several_events_of_one_write_are_all_judged(guarded: Guarded) -> None:
    await guarded.story.member(GUARD, "join")
    await guarded.story.database.write(_append_all, guarded.story.room_id, ["one", "two", "three"])
    judged = [pdu["content"]["body"] for pdu in guarded.guard.asked]  # type: ignore[index,call-overload]  # JSON
    assert judged == ["one", "two", "three"]


def _append_all(tx: Any, room_id: Any, texts: list[str]) -> None:
    appender = Appender.lock(tx, room_id, SIGNER, now_ts=1_700_000_500_000)
    for text in texts:
        appender.append(Draft(OWNER, "m.room.message", {"msgtype": "m.text", "body": text}))
    appender.publish()


async def test_what_is_not_allowed_is_not_asked_about(guarded: Guarded) -> None:
    await guarded.story.member(GUARD, "join")
    with pytest.raises(Forbidden):
        await guarded.story.say("hello", by=UserID("@stranger:x"))
    assert guarded.guard.asked == []


async def test_a_redacted_policy_is_none(guarded: Guarded) -> None:
    await guarded.story.member(GUARD, "join")
    policy = await guarded.story.set("m.room.policy", {**POLICY, "again": 1})
    await guarded.story.add(Draft(OWNER, "m.room.redaction", {}, redacts=policy))
    assert len(guarded.guard.asked) == 1
    assert await guarded.policy_server() is None
    await guarded.story.say("free")
    assert len(guarded.guard.asked) == 1


# Events of other servers.


async def incoming(guarded: Guarded, *, signed: bool = False) -> tuple[PolicyServer, Event]:
    policy_server = PolicyServer.of(POLICY)
    assert policy_server is not None
    pdu = await guarded.stored(await guarded.story.say("from elsewhere"))
    version = get_room_version(guarded.guard.version)
    if signed:
        pdu = policy_server.add(pdu, KEY.sign(signed_bytes(redact(pdu, version))))
    return policy_server, Event.from_pdu(pdu, version)


async def test_an_event_with_the_signature_is_recommended(guarded: Guarded) -> None:
    assert await guarded.servers.recommends(*await incoming(guarded, signed=True))
    assert guarded.guard.asked == []


async def test_an_event_without_it_is_shown_to_the_policy_server(guarded: Guarded) -> None:
    """ "A new one is requested because the Policy Server's key may have rotated.\""""
    policy_server, event = await incoming(guarded)
    assert await guarded.servers.recommends(policy_server, event)
    assert guarded.guard.asked == [event.pdu]
    guarded.guard.error = RemoteError(VIA, "No", transient=False, status=400, errcode="M_FORBIDDEN")
    assert not await guarded.servers.recommends(policy_server, event)
    guarded.guard.error, guarded.guard.answer = None, {}
    assert not await guarded.servers.recommends(policy_server, event)


async def test_a_policy_of_another_server_is_recommended(guarded: Guarded) -> None:
    policy_server, _ = await incoming(guarded)
    pdu = await guarded.stored(await guarded.story.set("m.room.policy", {}))
    event = Event.from_pdu(pdu, get_room_version(guarded.guard.version))
    assert await guarded.servers.recommends(policy_server, event)
    assert guarded.guard.asked == []


# What is done in several rooms at once.

REFUSAL = RemoteError(VIA, "No", transient=False, status=400, errcode="M_FORBIDDEN")


@pytest.fixture
async def others(guarded: Guarded) -> list[Story]:
    """Rooms of the same owner without a policy server: one comes before and one after the refusing one."""
    await guarded.story.member(GUARD, "join")
    guarded.guard.error = REFUSAL
    database = guarded.story.database
    return [await Story(database, OWNER).begin("shared", seed=seed) for seed in ("a", "z")]


def _memberships(tx: ReadTransaction, user_id: UserID) -> dict[RoomID, str]:
    return {room.room_id: room.membership for room in memberships.rooms_of(tx, user_id)}


async def test_a_new_name_reaches_the_rooms_that_take_it(
    guarded: Guarded, others: list[Story], clock: MovableClock
) -> None:
    database = guarded.story.database
    await database.write(profiles.put, OWNER, "displayname", "New")
    names = MemberProfiles(database, clock, SIGNER)
    await names.update_member_events(OWNER, "New", None)
    await names.finish()
    for story in others:
        event_id = await story.add(
            Draft(OWNER, "m.room.member", {"membership": "join", "displayname": "New"}, state_key=OWNER)
        )
        stored = await guarded.stored(event_id)
        assert stored["origin_server_ts"] == clock.ts  # it was there already
    assert guarded.guard.asked


async def test_who_leaves_all_rooms_leaves_those_that_let_them_go(
    guarded: Guarded, others: list[Story], clock: MovableClock
) -> None:
    database = guarded.story.database
    leaving = lonely_memberships(database, clock, SIGNER)
    with pytest.raises(MatrixError):
        await leaving.leave_all_rooms(OWNER)
    found = await database.read(_memberships, OWNER)
    assert found[guarded.story.room_id] == "join"
    assert {found[story.room_id] for story in others} == {"leave"}


def _add_guest(tx: WriteTransaction, user_id: UserID) -> None:
    add_user(tx, user_id, is_guest=1)


async def test_guests_leave_the_rooms_that_let_them_go(
    guarded: Guarded, others: list[Story], clock: MovableClock
) -> None:
    database = guarded.story.database
    guest = UserID("@guest:x")
    await database.write(_add_guest, guest)
    guarded.guard.error = None
    for story in (guarded.story, *others):
        await story.member(guest, "join")
    guarded.guard.error = REFUSAL
    await GuestAccess(database, clock, SIGNER).enforce_everywhere()
    found = await database.read(_memberships, guest)
    assert found[guarded.story.room_id] == "join"
    assert {found[story.room_id] for story in others} == {"leave"}
