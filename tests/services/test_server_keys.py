"""Keys of other servers, from servers that answer over TLS, into a real database."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject, JsonValue, decode_object
from homeserver.core.server_keys import (
    LONGEST_VALIDITY_MS,
    VerifyKey,
    WantedKey,
    check_notary,
    publish,
    read_response,
)
from homeserver.core.signing import SigningKey, sign_json
from homeserver.database.database import Database
from homeserver.database.drivers import Location
from homeserver.services.key_notary import KeyNotary
from homeserver.services.own_keys import LIFETIME_MS, OwnKeys
from homeserver.services.server_keys import PAUSE_MS, REMEMBERED_MS, ServerKeys
from tests.federation.certificates import Authority
from tests.outbound.scripted import (
    OWN_KEY,
    OWN_NAME,
    REACTOR,
    Caller,
    Raw,
    Received,
    ScriptedServer,
    caller,
    certify,
    ok,
    scripted_server,
)
from tests.services.conftest import MovableClock
from tests.services.test_follower import until

HOUR_MS = 3_600_000

FIRST = SigningKey.generate("first", seed=bytes(32))
SECOND = SigningKey.generate("second", seed=bytes([2] * 32))
OLD_OWN = {"ed25519:gone": VerifyKey(bytes([9] * 32), 1_000, is_old=True)}


@attrs.define
class Publisher:
    """A server that publishes keys: those of `key`, valid for `valid_ms` more."""

    server: ScriptedServer
    clock: MovableClock
    key: SigningKey = FIRST
    old: dict[str, VerifyKey] = attrs.field(factory=dict)
    valid_ms: int = HOUR_MS

    def __attrs_post_init__(self) -> None:
        self.server.answer = self.answer

    @property
    def name(self) -> ServerName:
        return self.server.name

    @property
    def asked(self) -> int:
        return len(self.server.requests)

    def document(self) -> JsonObject:
        return publish(self.name, self.key, self.old, valid_until_ts=self.clock.now_ts() + self.valid_ms)

    def answer(self, received: Received) -> Raw:
        assert (received.method, received.target) == ("GET", "/_matrix/key/v2/server")
        return ok(self.document())

    def want(self, valid_at_ts: int | None = None, key: SigningKey = FIRST) -> WantedKey:
        return WantedKey(self.name, key.key_id, valid_at_ts)


@attrs.define
class Ring:
    """The service, and what a test needs to watch it."""

    database: Database
    clock: MovableClock
    caller: Caller
    own: OwnKeys
    keys: ServerKeys
    publish: Callable[[], Any]

    def again(self, *notaries: ServerName) -> ServerKeys:
        """As after a restart, with the same database."""
        return ServerKeys(self.database, self.clock, REACTOR, self.caller.client, self.own, notaries)


@pytest.fixture
async def ring(authority: Authority, clock: MovableClock, database_url: str) -> AsyncIterator[Ring]:
    database = Database(Location.parse(database_url), REACTOR, on_commit=lambda _, __: None)  # type: ignore[arg-type]  # what the test wants to be taken
    database.start()
    calling = caller(authority, clock=clock)
    own = OwnKeys(OWN_NAME, OWN_KEY, OLD_OWN, clock)
    async with AsyncExitStack() as stack:

        async def start() -> Publisher:
            certificate = certify(authority, "localhost")
            return Publisher(
                await stack.enter_async_context(scripted_server(certificate, lambda _: ok({}))), clock
            )

        made = ServerKeys(database, clock, REACTOR, calling.client, own)
        yield Ring(database, clock, calling, own, made, start)
        calling.transport.close()
    await deferToThread(database.stop)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


async def test_a_key_is_fetched_once_and_then_known(ring: Ring) -> None:
    publisher = await ring.publish()
    want = publisher.want(ring.clock.now_ts())
    for keys in (ring.keys, ring.keys, ring.again()):
        assert await keys.fetch([want]) == {want: FIRST.verify_key}
    assert publisher.asked == 1


async def test_keys_of_many_servers_and_moments_at_once(ring: Ring) -> None:
    publishers = [await ring.publish() for _ in range(3)]
    now_ts = ring.clock.now_ts()
    wanted = [each.want(moment) for each in publishers for moment in (None, 5, now_ts)]
    assert await ring.keys.fetch(wanted) == dict.fromkeys(wanted, FIRST.verify_key)
    assert [each.asked for each in publishers] == [1, 1, 1]


async def test_our_own_keys_need_no_network(ring: Ring) -> None:
    current = WantedKey(OWN_NAME, OWN_KEY.key_id, ring.clock.now_ts())
    old = WantedKey(OWN_NAME, "ed25519:gone", 1_000)
    late = WantedKey(OWN_NAME, "ed25519:gone", 1_001)
    unknown = WantedKey(OWN_NAME, "ed25519:never", None)
    assert await ring.keys.fetch([current, old, late, unknown]) == {
        current: OWN_KEY.verify_key,
        old: bytes([9] * 32),
    }


async def test_a_key_is_refreshed_when_its_time_is_over(ring: Ring) -> None:
    publisher = await ring.publish()
    await ring.keys.fetch([publisher.want(ring.clock.now_ts())])
    ring.clock.advance(2 * HOUR_MS)
    # An event of before needs nothing, nor does one of a room where validity does not count.
    for earlier in (publisher.want(ring.clock.now_ts() - HOUR_MS), publisher.want(None)):
        assert await ring.keys.fetch([earlier]) == {earlier: FIRST.verify_key}
    assert publisher.asked == 1
    want = publisher.want(ring.clock.now_ts())
    assert await ring.keys.fetch([want]) == {want: FIRST.verify_key}
    assert publisher.asked == 2


async def test_no_key_is_valid_beyond_seven_days(ring: Ring) -> None:
    publisher = await ring.publish()
    publisher.valid_ms = 100 * LONGEST_VALIDITY_MS
    last = publisher.want(ring.clock.now_ts() + LONGEST_VALIDITY_MS)
    beyond = publisher.want(ring.clock.now_ts() + LONGEST_VALIDITY_MS + 1)
    assert (await ring.keys.fetch([last, beyond])).keys() == {last}


async def test_a_key_that_was_given_up_is_good_for_old_events_only(ring: Ring) -> None:
    publisher = await ring.publish()
    now_ts = ring.clock.now_ts()
    publisher.key = SECOND
    publisher.old = {FIRST.key_id: VerifyKey(FIRST.verify_key, now_ts - 1_000, is_old=True)}
    before, after = publisher.want(now_ts - 1_000), publisher.want(now_ts - 999)
    assert (await ring.keys.fetch([before, after])).keys() == {before}
    assert await ring.keys.current(publisher.name, SECOND.key_id) == SECOND.verify_key
    # However little it has expired, no request can be signed with it.
    assert await ring.keys.current(publisher.name, FIRST.key_id) is None
    assert publisher.asked == 1


async def test_a_new_key_is_found(ring: Ring) -> None:
    publisher = await ring.publish()
    await ring.keys.fetch([publisher.want()])
    publisher.key = SECOND
    ring.clock.advance(PAUSE_MS)
    want = publisher.want(ring.clock.now_ts(), SECOND)
    assert await ring.keys.fetch([want]) == {want: SECOND.verify_key}


async def test_keys_that_do_not_exist_cost_no_request_each(ring: Ring) -> None:
    publisher = await ring.publish()
    for number in range(20):
        assert not await ring.keys.fetch([WantedKey(publisher.name, f"ed25519:n{number}", None)])
    assert publisher.asked == 1
    assert not await ring.keys.fetch([WantedKey(publisher.name, "not a key", None)])


async def test_another_process_may_know_better(ring: Ring) -> None:
    publisher = await ring.publish()
    await ring.keys.fetch([publisher.want()])
    publisher.key, publisher.valid_ms = SECOND, 2 * HOUR_MS
    publisher.old = {FIRST.key_id: VerifyKey(FIRST.verify_key, 5, is_old=True)}
    await ring.again().ask([publisher.name])
    ring.clock.advance(REMEMBERED_MS)
    assert await ring.keys.current(publisher.name, FIRST.key_id) is None
    assert await ring.keys.current(publisher.name, SECOND.key_id) == SECOND.verify_key
    assert publisher.asked == 2


def forged(publisher: Publisher) -> list[Raw]:
    """Answers that prove nothing."""
    good = publisher.document()
    other = publish(ServerName("other.test"), FIRST, {}, valid_until_ts=10**13)
    unsigned = {key: value for key, value in good.items() if key != "signatures"}
    with_signature_of_another = sign_json(unsigned, publisher.name, SECOND)
    changed = {**good, "valid_until_ts": 10**13}
    documents: list[JsonValue] = [other, unsigned, with_signature_of_another, changed, {}, [good], "x"]
    return [
        *map(ok, documents),
        ok(good, status="500 Oh"),
        ok({**good, "x": "x" * 70_000}),
        Raw(b"HTTP/1.1 200 OK\r\n\r\n{", then_close=True),
    ]


@pytest.mark.parametrize("number", range(10))
async def test_what_proves_nothing_is_not_believed(ring: Ring, number: int) -> None:
    publisher = await ring.publish()
    answer = forged(publisher)[number]
    publisher.server.answer = lambda _: answer
    assert not await ring.keys.fetch([publisher.want()])
    assert not await ring.again().fetch([publisher.want()])


async def test_who_fails_is_left_alone_for_longer_and_longer(ring: Ring) -> None:
    publisher = await ring.publish()
    publisher.server.answer = lambda _: ok({}, status="500 Oh")
    for _ in range(30):
        assert not await ring.keys.fetch([publisher.want()])
    assert publisher.asked == 1
    for _ in range(60):
        ring.clock.advance(60_000)
        await ring.keys.fetch([publisher.want()])
    assert 3 <= publisher.asked <= 12
    publisher.server.answer = publisher.answer
    ring.clock.advance(HOUR_MS)
    assert await ring.keys.fetch([publisher.want()])


async def test_many_who_ask_at_once_share_one_request(ring: Ring) -> None:
    publisher = await ring.publish()
    want = publisher.want()
    found = await gatherResults([Deferred.fromCoroutine(ring.keys.fetch([want])) for _ in range(20)])
    assert found == [{want: FIRST.verify_key}] * 20
    assert publisher.asked == 1


class Hesitant(Database):
    """A database whose answers to questions are held back while a test wants it."""

    held: Deferred[None] | None = None

    def look_up(self, f: Any, /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        answer, held = super().look_up(f, *args, **kwargs), self.held
        if held is None:
            return answer
        waiting: Deferred[None] = Deferred()
        held.chainDeferred(waiting)
        return waiting.addCallback(lambda _: answer)


@pytest.mark.parametrize("before", [None, SECOND])
async def test_who_has_asked_the_database_before_another_was_answered(
    ring: Ring, before: SigningKey | None
) -> None:
    """With a key of before, and without one: what the other has learnt is found, and nothing older is remembered."""
    publisher = await ring.publish()
    if before is not None:
        publisher.key = before
        await ring.keys.fetch([publisher.want(key=before)])
        publisher.key = FIRST
    database = Hesitant(ring.database.location, REACTOR, on_commit=lambda _, __: None)  # type: ignore[arg-type]  # as above
    database.start()
    try:
        keys = attrs.evolve(ring, database=database).again()
        want = publisher.want(ring.clock.now_ts())
        database.held = Deferred()
        late = Deferred.fromCoroutine(keys.fetch([want]))
        held, database.held = database.held, None
        assert await keys.fetch([want]) == {want: FIRST.verify_key}
        assert not late.called
        held.callback(None)
        assert await late == {want: FIRST.verify_key}
        assert await keys.fetch([want]) == {want: FIRST.verify_key}
    finally:
        await deferToThread(database.stop)


@attrs.define
class Notary:
    """A server that witnesses what it is given."""

    publisher: Publisher
    holds: list[JsonObject] = attrs.field(factory=list)
    queries: list[JsonObject] = attrs.field(factory=list)
    key: SigningKey = SECOND

    def __attrs_post_init__(self) -> None:
        self.publisher.key = SECOND
        self.publisher.server.answer = self.answer

    def answer(self, received: Received) -> Raw:
        if received.method == "GET":
            return self.publisher.answer(received)
        assert received.target == "/_matrix/key/v2/query"
        self.queries.append(decode_object(received.body))
        return ok({"server_keys": [sign_json(each, self.publisher.name, self.key) for each in self.holds]})


async def test_a_notary_is_asked_for_all_that_is_missing_in_one_request(ring: Ring) -> None:
    notary = Notary(await ring.publish())
    dead = [await ring.publish() for _ in range(3)]
    alive = await ring.publish()
    notary.holds = [each.document() for each in dead]
    for each in dead:
        each.server.answer = lambda _: ok({}, status="500 Oh")
    wanted = [each.want(moment) for each in [*dead, alive] for moment in (None, ring.clock.now_ts())]
    found = await ring.again(notary.publisher.name).fetch(wanted)
    assert found == dict.fromkeys(wanted, FIRST.verify_key)
    (query,) = notary.queries
    criteria = {FIRST.key_id: {"minimum_valid_until_ts": ring.clock.now_ts()}}
    assert query == {"server_keys": {each.name: criteria for each in dead}}
    # What it said is kept.
    assert await ring.again().fetch(wanted) == found


async def test_a_notary_is_not_asked_for_what_servers_say_themselves(ring: Ring) -> None:
    notary, alive = Notary(await ring.publish()), await ring.publish()
    assert await ring.again(notary.publisher.name).fetch([alive.want()])
    assert not notary.queries


@pytest.mark.parametrize("lie", ["unsigned", "wrong key", "forged", "not asked for", "no list", "no object"])
async def test_what_a_notary_makes_up_is_not_believed(ring: Ring, lie: str) -> None:
    notary, dead, other = Notary(await ring.publish()), await ring.publish(), await ring.publish()
    dead.server.answer = other.server.answer = lambda _: ok({}, status="500 Oh")
    good = dead.document()
    notary.holds = [good]
    match lie:
        case "unsigned":
            answers: JsonObject = {"server_keys": [good]}
            notary.publisher.server.answer = lambda received: (
                ok(answers) if received.method == "POST" else notary.publisher.answer(received)
            )
        case "wrong key":
            notary.key = FIRST
        case "forged":
            notary.holds = [{**good, "valid_until_ts": 10**13}]
        case "not asked for":
            notary.holds = [other.document()]
        case _:
            answers = {"server_keys": {} if lie == "no list" else [1, None, "x", []]}
            notary.publisher.server.answer = lambda received: (
                ok(answers) if received.method == "POST" else notary.publisher.answer(received)
            )
    assert not await ring.again(notary.publisher.name).fetch([dead.want()])
    assert not await ring.again().fetch([other.want()])


async def test_a_notary_is_not_asked_again_and_again(ring: Ring) -> None:
    notary, dead = Notary(await ring.publish()), await ring.publish()
    dead.server.answer = lambda _: ok({}, status="500 Oh")
    keys = ring.again(notary.publisher.name)
    for number in range(5):
        assert not await keys.fetch([WantedKey(dead.name, f"ed25519:n{number}", None)])
    assert len(notary.queries) == 1


async def test_the_next_notary_is_asked_where_one_does_not_know(ring: Ring) -> None:
    silent, knowing, dead = Notary(await ring.publish()), Notary(await ring.publish()), await ring.publish()
    dead.server.answer = lambda _: ok({}, status="500 Oh")
    silent.publisher.server.answer = lambda _: ok({}, status="502 Oh")
    knowing.holds = [dead.document()]
    keys = ring.again(silent.publisher.name, knowing.publisher.name)
    assert await keys.fetch([dead.want()]) == {dead.want(): FIRST.verify_key}


async def test_we_publish_our_keys(ring: Ring) -> None:
    document = ring.own.response()
    response = read_response(document, OWN_NAME, now_ts=ring.clock.now_ts())
    assert response.keys == {
        OWN_KEY.key_id: VerifyKey(OWN_KEY.verify_key, ring.clock.now_ts() + LIFETIME_MS),
        **OLD_OWN,
    }
    assert ring.own.response() is document
    ring.clock.advance(HOUR_MS)
    assert ring.own.response()["valid_until_ts"] == ring.clock.now_ts() + LIFETIME_MS


async def test_we_are_a_notary(ring: Ring) -> None:
    publisher, dead = await ring.publish(), await ring.publish()
    notary = KeyNotary(ring.database, ring.clock, ring.keys, ring.own)
    dead.server.answer = lambda _: ok({}, status="500 Oh")
    wanted = {publisher.name: None, dead.name: None, OWN_NAME: None}
    for _ in range(2):
        documents = {each["server_name"]: each for each in await notary.query(wanted)}
        assert documents.keys() == {publisher.name, OWN_NAME}
        check_notary(documents[publisher.name], OWN_NAME, {OWN_KEY.key_id: OWN_KEY.verify_key})
        keys = read_response(documents[publisher.name], publisher.name, now_ts=ring.clock.now_ts()).keys
        assert keys[FIRST.key_id].key == FIRST.verify_key
    assert publisher.asked == 1


async def test_a_notary_asks_again_after_half_of_the_time(ring: Ring) -> None:
    publisher = await ring.publish()
    notary = KeyNotary(ring.database, ring.clock, ring.keys, ring.own)
    await notary.query({publisher.name: None})
    ring.clock.advance(HOUR_MS // 2 - 1)
    await notary.query({publisher.name: None})
    assert publisher.asked == 1
    ring.clock.advance(1)
    await notary.query({publisher.name: None})
    assert publisher.asked == 2
    # Or when more is wanted than what it has.
    ring.clock.advance(PAUSE_MS)
    await notary.query({publisher.name: ring.clock.now_ts() + 2 * HOUR_MS})
    assert publisher.asked == 3


async def test_a_notary_answers_for_who_is_gone(ring: Ring) -> None:
    publisher = await ring.publish()
    notary = KeyNotary(ring.database, ring.clock, ring.keys, ring.own)
    await notary.query({publisher.name: None})
    publisher.server.answer = lambda _: ok({}, status="500 Oh")
    ring.clock.advance(10 * HOUR_MS)
    (document,) = await notary.query({publisher.name: None})
    assert document["server_name"] == publisher.name
    assert publisher.asked == 2


async def test_strangers_cannot_have_a_notary_ask_everybody_at_once(ring: Ring, monkeypatch: Any) -> None:
    """Whoever names servers that are silent takes nothing away from what this server's users need."""
    monkeypatch.setattr("homeserver.services.key_notary.MOST_AT_ONCE", 2)
    silent, alive = [await ring.publish() for _ in range(3)], await ring.publish()
    for each in silent:
        each.server.answer = lambda _: Raw(None)
    notary = KeyNotary(ring.database, ring.clock, ring.keys, ring.own)
    first = Deferred.fromCoroutine(notary.query({each.name: None for each in silent}))
    await until(lambda: sum(each.asked for each in silent) == 2)
    assert await notary.query({alive.name: None}) == []
    assert alive.asked == 0
    for each in silent:
        each.server.cut()
    assert await first == []
    assert sum(each.asked for each in silent) == 2
    assert len(await notary.query({alive.name: None})) == 1
