import attrs

from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.storage import delayed_events
from homeserver.storage.delayed_events import Delayed, Outcome
from tests.storage.store import Store

ALICE = UserID("@alice:x")
EVENT = Delayed("d1", ALICE, RoomID("!r:x"), "m.room.topic", "", b'{"topic":"later"}', 500, 1_000)


def schedule(store: Store, delay_id: str = "d1", since_ts: int = 1_000) -> Delayed:
    delayed = attrs.evolve(EVENT, delay_id=delay_id, since_ts=since_ts)
    store.write(delayed_events.schedule, delayed)
    return delayed


def claimed(store: Store, now_ts: int, most: int = 10) -> list[str]:
    found = store.write(delayed_events.claim, now_ts=now_ts, until_ts=now_ts + 100, most=most)
    return [delayed.delay_id for delayed in found]


def test_what_is_due_is_claimed_by_one_until_its_lease_is_over(store: Store) -> None:
    delayed = schedule(store)
    for now_ts, due in ((1_499, False), (1_500, True)):
        assert store.read(delayed_events.is_any_due, now_ts=now_ts) is due
    assert claimed(store, 1_499) == []
    assert claimed(store, 1_500) == ["d1"]
    assert claimed(store, 1_599) == []
    assert not store.read(delayed_events.is_any_due, now_ts=1_599)
    assert store.write(delayed_events.due, "d1", now_ts=1_599) == delayed
    assert claimed(store, 1_600) == ["d1"]
    store.write(delayed_events.keep, ["d1", "another"], until_ts=9_000)
    assert claimed(store, 8_999) == []
    assert claimed(store, 9_000) == ["d1"]


def test_the_longest_due_come_first(store: Store) -> None:
    for number, since_ts in enumerate((900, 700, 800)):
        schedule(store, f"d{number}", since_ts=since_ts)
    assert claimed(store, 2_000, most=2) == ["d1", "d2"]
    assert claimed(store, 2_000, most=2) == ["d0"]


def test_a_restart_takes_it_from_who_has_claimed_it(store: Store) -> None:
    schedule(store)
    assert claimed(store, 1_500) == ["d1"]
    assert store.write(delayed_events.restart, "d1", now_ts=1_550)
    assert store.write(delayed_events.due, "d1", now_ts=1_560) is None
    assert claimed(store, 2_049) == []
    assert claimed(store, 2_050) == ["d1"]


def test_what_became_of_it_is_kept_for_its_user(store: Store) -> None:
    for delay_id in ("sent", "failed", "cancelled"):
        schedule(store, delay_id)
    assert store.read(delayed_events.scheduled, ALICE) == (3, 1_500)
    sent, error = EventID("$sent"), {"errcode": "M_FORBIDDEN", "error": "no"}
    assert store.write(delayed_events.finalise, "sent", now_ts=1_600, event_id=sent)
    assert store.write(delayed_events.finalise, "failed", now_ts=1_700, error=dict(error))
    assert store.write(delayed_events.finalise, "cancelled", now_ts=1_800)
    for delay_id, outcome in (
        ("sent", Outcome(1_600, sent, None)),
        ("failed", Outcome(1_700, None, dict(error))),
        ("cancelled", Outcome(1_800, None, None)),
    ):
        expected = attrs.evolve(EVENT, delay_id=delay_id), outcome
        assert store.read(delayed_events.of_user, ALICE, delay_id) == expected
        assert store.read(delayed_events.of_user, UserID("@bob:x"), delay_id) is None
        # That is final.
        assert not store.write(delayed_events.finalise, delay_id, now_ts=2_000)
        assert not store.write(delayed_events.restart, delay_id, now_ts=2_000)
    assert claimed(store, 10_000) == []
    assert store.read(delayed_events.scheduled, ALICE) == (0, None)
    assert store.read(delayed_events.of_user_scheduled, ALICE) == []
    assert store.write(delayed_events.prune, before_ts=1_700) == 1
    assert store.read(delayed_events.of_user, ALICE, "sent") is None


def test_of_each_user_so_many_outcomes_are_kept(store: Store) -> None:
    other = UserID("@bob:x")
    store.write(delayed_events.schedule, attrs.evolve(EVENT, delay_id="other", user_id=other))
    store.write(delayed_events.finalise, "other", now_ts=1)
    schedule(store, "waits")
    for number in range(25):
        schedule(store, f"d{number}")
        store.write(delayed_events.finalise, f"d{number}", now_ts=10_000 + number)
    last = attrs.evolve(EVENT, delay_id="last")
    store.write(delayed_events.schedule, last, most_finalised=20)
    kept = [store.read(delayed_events.of_user, ALICE, f"d{number}") is not None for number in range(10)]
    assert kept == [False] * 5 + [True] * 5
    assert store.read(delayed_events.of_user, other, "other") is not None
    assert store.read(delayed_events.scheduled, ALICE) == (2, 1_500)
    store.write(delayed_events.remove_of_user, ALICE)
    assert store.read(delayed_events.scheduled, ALICE) == (0, None)
