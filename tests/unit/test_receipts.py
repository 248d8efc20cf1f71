from homeserver.core.identifiers import EventID, UserID
from homeserver.core.receipts import READ, READ_PRIVATE, UNTHREADED, Receipt, receipt_events

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")


def receipt(
    user_id: UserID, event: str, thread_id: str = UNTHREADED, type: str = READ, ts: int = 1
) -> Receipt:
    return Receipt(user_id, type, thread_id, EventID(event), ts)


def test_without_receipts_there_is_no_event() -> None:
    assert receipt_events([]) == []


def test_receipts_of_a_thread_are_batched() -> None:
    """Client-server API, "Receipts": "batched into one event per room and thread"."""
    given = [
        receipt(ALICE, "$a", ts=1),
        receipt(BOB, "$a", ts=2),
        receipt(BOB, "$b", type=READ_PRIVATE, ts=3),
    ]
    assert receipt_events(given) == [
        {
            "type": "m.receipt",
            "content": {
                "$a": {"m.read": {ALICE: {"ts": 1}, BOB: {"ts": 2}}},
                "$b": {"m.read.private": {BOB: {"ts": 3}}},
            },
        }
    ]


def test_the_thread_is_named_and_hides_no_unthreaded_receipt() -> None:
    given = [receipt(ALICE, "$a"), receipt(ALICE, "$a", "main"), receipt(ALICE, "$b", "$root")]
    assert [event["content"] for event in receipt_events(given)] == [
        {"$a": {"m.read": {ALICE: {"ts": 1}}}},
        {"$a": {"m.read": {ALICE: {"ts": 1, "thread_id": "main"}}}},
        {"$b": {"m.read": {ALICE: {"ts": 1, "thread_id": "$root"}}}},
    ]
