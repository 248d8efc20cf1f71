"""Inboxes: what waits, what is let in, and that the shares always say what there is."""

from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import func, select

from homeserver.core.identifiers import DeviceID, ServerName, UserID
from homeserver.core.to_device import Messages
from homeserver.database.statements import statement
from homeserver.database.tables.to_device import to_device_messages, to_device_shares
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.services import to_device_inboxes
from homeserver.services.to_device import MOST_BACKLOG_BYTES, MOST_BACKLOGS, MOST_FOR_SERVER, is_taken
from homeserver.services.to_device_inboxes import (
    ALL,
    FULL,
    LITTLE,
    SHARE,
    SHARE_OF_SERVER,
    is_let_in,
    is_let_in_beyond,
    letters_for,
)
from homeserver.storage import devices, outbound_to_device, received_to_device, to_device, users
from homeserver.storage.outbound_to_device import Backlog
from homeserver.storage.to_device import Inbox, Letter
from tests.storage.store import Store, sqlite_store

ALICE, BOB = UserID("@alice:test"), UserID("@bob:test")
PHONE, LAPTOP = DeviceID("PHONE"), DeviceID("LAPTOP")
EVERYTHING = 2**62
REMOTE, ELSEWHERE = ServerName("remote.example"), ServerName("elsewhere.example")


def add_devices(tx: WriteTransaction) -> None:
    for user_id in (ALICE, BOB):
        users.create(tx, user_id, password_hash=None, display_name="", now_ts=0)
        for device_id in (PHONE, LAPTOP):
            devices.add(tx, user_id, device_id, display_name=None, now_ts=0)


@pytest.fixture
def inhabited(store: Store) -> Store:
    store.write(add_devices)
    return store


def put(
    store: Store,
    *texts: str,
    device_id: DeviceID = PHONE,
    sender: UserID = BOB,
    source: str | None = None,
) -> None:
    for text in texts:
        store.write(to_device.put, sender, [Letter(ALICE, device_id, source or sender, text.encode())])


def texts(
    store: Store,
    *,
    after: int = 0,
    upto: int = EVERYTHING,
    most: int = 1_000,
    device_id: DeviceID = PHONE,
    most_bytes: int = EVERYTHING,
) -> tuple[list[str], bool]:
    found, is_more = store.read(
        to_device.waiting,
        ALICE,
        device_id,
        after=after,
        upto=upto,
        most=most,
        most_bytes=most_bytes,
    )
    return [each.message.decode() for each in found], is_more


def inbox(store: Store, source: str = BOB, device_id: DeviceID = PHONE) -> Inbox:
    (found,) = store.read(to_device.inboxes, {ALICE: [device_id]}, source=source)
    (same,) = [
        each
        for each in store.read(to_device.inboxes, {ALICE: ["*"]}, source=source)
        if each.device_id == device_id
    ]
    assert found == same
    return found


m, s = to_device_messages.c, to_device_shares.c
KEY = m.user_id, m.device_id, m.source
REAL = statement(
    select(*KEY, func.count(), func.cast(func.sum(m.size), m.size.type)).group_by(*KEY).order_by(*KEY)
)
SAID = statement(
    select(s.user_id, s.device_id, s.source, s.messages, s.bytes).order_by(s.user_id, s.device_id, s.source)
)


def counts(tx: ReadTransaction) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """What waits for whom and of whom: as it is, and as the shares say."""
    return [tuple(row) for row in tx.all(REAL)], [tuple(row) for row in tx.all(SAID)]


def test_the_inboxes_that_are_named(inhabited: Store) -> None:
    """Those that are there, each once."""
    put(inhabited, "a", "bb")

    def named(**device_ids: list[str]) -> set[tuple[UserID, DeviceID, int]]:
        asked = {UserID(f"@{name}:test"): each for name, each in device_ids.items()}
        found = inhabited.read(to_device.inboxes, asked, source=BOB)
        known = {(each.user_id, each.device_id, each.messages) for each in found}
        assert len(known) == len(found)
        return known

    phone, laptop = (ALICE, PHONE, 2), (ALICE, LAPTOP, 0)
    assert named() == named(alice=[]) == named(stranger=["*"]) == named(stranger=[PHONE]) == set()
    assert named(alice=[PHONE]) == named(alice=[PHONE, "", "phone", "\0", f"{LAPTOP}\0", "'"]) == {phone}
    assert named(alice=["*"]) == named(alice=[LAPTOP, "*"]) == named(alice=[LAPTOP, PHONE]) == {phone, laptop}
    assert named(alice=[LAPTOP], bob=["*"]) == {laptop, (BOB, PHONE, 0), (BOB, LAPTOP, 0)}
    inhabited.write(users.deactivate, ALICE)
    assert named(alice=[PHONE], bob=[PHONE]) == {(BOB, PHONE, 0)}
    assert named(alice=["*"]) == set()


def test_they_wait_in_order_and_in_portions(inhabited: Store) -> None:
    put(inhabited, "a", "bb", "c")
    put(inhabited, "other", device_id=LAPTOP)
    assert texts(inhabited) == (["a", "bb", "c"], False)
    assert texts(inhabited, most=3) == (["a", "bb", "c"], False)
    assert texts(inhabited, most=2) == (["a", "bb"], True)
    assert texts(inhabited, after=1) == (["bb", "c"], False)
    assert texts(inhabited, upto=2) == (["a", "bb"], False)
    assert texts(inhabited, most_bytes=3) == (["a", "bb"], True)
    assert texts(inhabited, most_bytes=0) == (["a"], True), "one at least"
    assert texts(inhabited, device_id=LAPTOP) == (["other"], False)


def test_one_request_takes_one_position_and_tells_the_users(inhabited: Store) -> None:
    letters = [Letter(user, device, BOB, b"{}") for user in (ALICE, BOB) for device in (PHONE, LAPTOP)]
    inhabited.write(to_device.put, BOB, letters)
    assert inhabited.position == 1
    assert inhabited.topics == ["inbox:@alice:test", "inbox:@bob:test"]
    told = inhabited.read(to_device.between, after=0, upto=1)
    assert sorted(told) == sorted((1, each.user_id, each.device_id) for each in letters)
    assert inhabited.read(to_device.between, after=1, upto=5) == []


def test_devices_that_are_removed(inhabited: Store) -> None:
    put(inhabited, "a", "b")
    put(inhabited, "c", device_id=LAPTOP)
    inhabited.write(to_device.remove_of_devices, ALICE, [PHONE])
    assert texts(inhabited) == ([], False)
    assert texts(inhabited, device_id=LAPTOP) == (["c"], False)
    real, said = inhabited.read(counts)
    assert real == said


def test_who_lets_in_whom(inhabited: Store) -> None:
    put(inhabited, "a", "bb")
    put(inhabited, "ccc", sender=UserID("@x:remote.example"), source="remote.example")
    assert inbox(inhabited) == Inbox(ALICE, PHONE, 3, 6, 2, 3)
    assert inbox(inhabited, "remote.example") == Inbox(ALICE, PHONE, 3, 6, 1, 3)
    assert inbox(inhabited, "nobody") == Inbox(ALICE, PHONE, 3, 6, 0, 0)
    assert inbox(inhabited, device_id=LAPTOP) == Inbox(ALICE, LAPTOP, 0, 0, 0, 0)


def of(messages: int, size: int, own: int, own_size: int) -> Inbox:
    return Inbox(ALICE, PHONE, messages, size, own, own_size)


@pytest.mark.parametrize(
    ("full", "is_from_here", "expected"),
    [
        (of(0, 0, 0, 0), True, True),
        (of(SHARE.messages, 1, SHARE.messages - 1, 1), True, True),
        (of(SHARE.messages, 1, SHARE.messages, 1), True, False),
        (of(SHARE.messages, 1, SHARE.messages, 1), False, True),
        (of(SHARE_OF_SERVER.messages, 1, SHARE_OF_SERVER.messages, 1), False, False),
        (of(1, SHARE.bytes, 1, SHARE.bytes), True, False),
        # Whoever has filled the inbox keeps out nobody else.
        (of(ALL.messages, 1, LITTLE.messages, 1), True, False),
        (of(ALL.messages, 1, LITTLE.messages - 1, 1), True, True),
        (of(1, ALL.bytes, 1, LITTLE.bytes), False, False),
        (of(1, ALL.bytes, 1, 0), False, True),
        (of(FULL.messages, 1, 0, 0), True, False),
        (of(1, FULL.bytes, 0, 0), True, False),
    ],
)
def test_shares(full: Inbox, *, is_from_here: bool, expected: bool) -> None:
    assert is_let_in(full, 1, is_from_here=is_from_here) is expected


@pytest.mark.parametrize(
    ("full", "expected"),
    [
        (of(ALL.messages - 1, 1, LITTLE.messages - 1, 1), True),
        (of(ALL.messages - 1, 1, LITTLE.messages, 1), False),
        (of(1, ALL.bytes - 1, 1, LITTLE.bytes - 1), True),
        (of(1, ALL.bytes - 1, 1, LITTLE.bytes), False),
        # The server could have made this user, too.
        (of(ALL.messages, 1, 0, 0), False),
        (of(1, ALL.bytes, 0, 0), False),
    ],
)
def test_beyond_the_share_of_a_server(full: Inbox, expected: bool) -> None:
    assert is_let_in_beyond(full, 1) is expected


def test_a_flood_is_dropped_and_others_are_let_in(inhabited: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_device_inboxes, "SHARE", to_device_inboxes.Bounds(3, 1_000))
    messages: Messages = {ALICE: {PHONE: b"{}"}}
    results = []
    for _ in range(5):
        letters, dropped = inhabited.read(letters_for, BOB, "t", messages, source=BOB)
        inhabited.write(to_device.put, BOB, letters)
        results.append((len(letters), dropped))
    assert results == [(1, 0)] * 3 + [(0, 1)] * 2
    letters, dropped = inhabited.read(letters_for, ALICE, "t", messages, source=ALICE)
    assert (len(letters), dropped) == (1, 0)
    inhabited.write(to_device.remove, ALICE, PHONE, upto=1)
    assert len(inhabited.read(letters_for, BOB, "t", messages, source=BOB)[0]) == 1


def test_each_device_is_let_in_by_itself(inhabited: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server's share is used up it is in that of the sender."""
    monkeypatch.setattr(to_device_inboxes, "SHARE_OF_SERVER", to_device_inboxes.Bounds(1, 1_000))
    star, sender = DeviceID("*"), UserID("@x:remote.example")
    inhabited.write(devices.add, ALICE, star, display_name=None, now_ts=0)
    for device_id in (star, LAPTOP):
        put(inhabited, "{}", device_id=device_id, sender=sender, source=REMOTE)
    messages: Messages = {ALICE: {"*": b"{}"}}
    letters, dropped = inhabited.read(letters_for, sender, "t", messages, source=REMOTE)
    assert {(each.device_id, each.source) for each in letters} == {
        (PHONE, REMOTE),
        (LAPTOP, sender),
        (star, sender),
    }
    assert (len(letters), dropped) == (3, 0)
    inhabited.write(to_device.put, sender, letters)
    real, said = inhabited.read(counts)
    assert real == said
    # What the same transaction has let in counts, too.
    monkeypatch.setattr(to_device_inboxes, "LITTLE", to_device_inboxes.Bounds(2, 1_000))
    more, dropped = inhabited.read(letters_for, sender, "t", messages, source=REMOTE)
    assert (len(more), dropped) == (3, 0)
    more, dropped = inhabited.read(letters_for, sender, "t", messages, source=REMOTE, earlier=more)
    assert ({each.device_id for each in more}, dropped) == ({PHONE}, 2)


def test_unseen_devices_keep_the_newest(inhabited: Store) -> None:
    put(inhabited, *map(str, range(10)))
    put(inhabited, "x", device_id=LAPTOP)
    arguments = {"before_ts": 1, "more_than": 4, "after": ("", ""), "most": 10}
    assert inhabited.read(to_device.unseen, **arguments) == [(ALICE, PHONE, 10)]  # type: ignore[arg-type]  # what the test wants to be taken
    assert inhabited.read(to_device.unseen, **arguments | {"before_ts": 0}) == []  # type: ignore[arg-type]  # what the test wants to be taken
    assert inhabited.read(to_device.unseen, **arguments | {"after": (ALICE, PHONE)}) == []  # type: ignore[arg-type]  # what the test wants to be taken
    assert inhabited.write(to_device.remove_oldest, ALICE, PHONE, number=6) == 6
    assert texts(inhabited) == (["6", "7", "8", "9"], False)
    assert inhabited.write(to_device.remove_oldest, ALICE, PHONE, number=6) == 0
    assert inhabited.read(to_device.unseen, **arguments) == []  # type: ignore[arg-type]  # what the test wants to be taken


def test_edus_wait_for_their_servers(store: Store) -> None:
    edus = {REMOTE: [b"1", b"2", b"3"], ELSEWHERE: [b"one"]}
    store.write(outbound_to_device.put, BOB, edus, now_ts=5)
    assert store.position == 3, "servers share positions"
    assert store.read(outbound_to_device.concerned, after=1, upto=3) == [REMOTE]
    assert sorted(store.read(outbound_to_device.concerned, after=0, upto=3)) == [ELSEWHERE, REMOTE]
    assert store.read(outbound_to_device.backlogs, BOB) == {REMOTE: Backlog(3, 3), ELSEWHERE: Backlog(1, 3)}
    assert store.read(outbound_to_device.backlogs, ALICE) == {}

    def waiting(most: int = 10, most_bytes: int = 10) -> list[tuple[int, bytes]]:
        return store.read(outbound_to_device.waiting, REMOTE, most=most, most_bytes=most_bytes)

    assert waiting() == [(1, b"1"), (2, b"2"), (3, b"3")]
    assert waiting(most=2) == waiting(most_bytes=2) == [(1, b"1"), (2, b"2")]
    assert waiting(most_bytes=0) == [(1, b"1")]
    store.write(outbound_to_device.delivered, REMOTE, [1, 2])
    assert waiting() == [(3, b"3")]
    assert store.write(outbound_to_device.prune, before_ts=5, most=10) == {}
    assert store.write(outbound_to_device.prune, before_ts=6, most=10) == {REMOTE: 1, ELSEWHERE: 1}
    assert waiting() == []


def test_what_came_before_is_known_for_a_while(store: Store) -> None:
    def note(origin: ServerName, message_id: str, now_ts: int = 5) -> bool:
        return store.write(received_to_device.note, origin, message_id, now_ts=now_ts)

    assert [note(REMOTE, "1"), note(REMOTE, "1"), note(REMOTE, "2"), note(ELSEWHERE, "1")] == [
        True,
        False,
        True,
        True,
    ]
    store.write(received_to_device.prune, before_ts=5)
    assert not note(REMOTE, "1")
    store.write(received_to_device.prune, before_ts=6)
    assert note(REMOTE, "1", 7)


def test_backlogs_of_servers_that_do_not_answer() -> None:
    assert is_taken({}, REMOTE, 5)
    assert is_taken({REMOTE: Backlog(MOST_FOR_SERVER - 5, 1)}, REMOTE, 5)
    assert not is_taken({REMOTE: Backlog(MOST_FOR_SERVER - 4, 1)}, REMOTE, 5)
    # Too much waits for dead servers: those that answer are still sent what is for them.
    full = {REMOTE: Backlog(1, MOST_BACKLOG_BYTES)}
    assert not is_taken(full, REMOTE, 1)
    assert is_taken(full, ELSEWHERE, 1)
    many = {ServerName(f"s{number}"): Backlog(1, 1) for number in range(MOST_BACKLOGS)}
    assert not is_taken(many, REMOTE, 1)


class InboxMachine(RuleBasedStateMachine):
    """Devices with several clients each, which lose answers, repeat requests, and go back to old tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.store = self.stack.enter_context(sqlite_store())
        self.sent: dict[DeviceID, list[tuple[int, str]]] = {PHONE: [], LAPTOP: []}
        self.received: dict[DeviceID, int] = {PHONE: 0, LAPTOP: 0}
        self.tokens: dict[DeviceID, list[int]] = {PHONE: [0], LAPTOP: [0]}
        self.number = 0

    @initialize()
    def begin(self) -> None:
        self.store.write(add_devices)

    @rule(to=st.sets(st.sampled_from([PHONE, LAPTOP]), min_size=1), source=st.sampled_from([BOB, "remote"]))
    def send(self, to: set[DeviceID], source: str) -> None:
        self.number += 1
        text = "x" * (self.number % 7) + str(self.number)
        self.store.write(
            to_device.put, BOB, [Letter(ALICE, each, source, text.encode()) for each in sorted(to)]
        )
        for device_id in to:
            self.sent[device_id].append((self.store.position, text))

    @rule(device=st.sampled_from([PHONE, LAPTOP]), choice=st.integers(0, 100), most=st.integers(1, 4))
    def sync(self, device: DeviceID, choice: int, most: int) -> None:
        """A request with any token that the device was ever given: all up to it has been received."""
        tokens = self.tokens[device]
        since = tokens[choice % len(tokens)]
        self.store.write(to_device.remove, ALICE, device, upto=since)
        self.received[device] = max(self.received[device], since)
        upto = self.store.position
        found, is_more = self.store.read(
            to_device.waiting, ALICE, device, after=since, upto=upto, most=most, most_bytes=EVERYTHING
        )
        left = [
            (position, text)
            for position, text in self.sent[device]
            if position > max(since, self.received[device])
        ]
        assert [(each.position, each.message.decode()) for each in found] == left[:most]
        assert is_more == (len(left) > most)
        tokens.append(found[-1].position if is_more else upto)

    @invariant()
    def shares_are_right(self) -> None:
        real, said = self.store.read(counts)
        assert real == said

    @invariant()
    def nothing_is_lost_and_what_was_received_is_gone(self) -> None:
        for device, sent in self.sent.items():
            left = [text for position, text in sent if position > self.received[device]]
            assert texts(self.store, device_id=device) == (left, False)

    def teardown(self) -> None:
        self.stack.close()


TestInbox = InboxMachine.TestCase
TestInbox.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
