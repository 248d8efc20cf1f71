"""What PDUs refer to, in both of the forms that room versions have."""

from homeserver.core.json import JsonObject, canonical
from homeserver.core.references import auth_events_of, prev_events_of


def test_ids() -> None:
    pdu: JsonObject = {"auth_events": ["$a", "$b"], "prev_events": ["$c"], "content": {"prev_events": 1}}
    assert prev_events_of(canonical(pdu)) == ["$c"]
    assert auth_events_of(canonical(pdu)) == ["$a", "$b"]


def test_ids_with_hashes() -> None:
    pdu: JsonObject = {
        "auth_events": [["$a:x", {"sha256": "hash"}], ["$b:x", {}]],
        "prev_events": [["$c:x", {"sha256": "hash"}]],
    }
    assert prev_events_of(canonical(pdu)) == ["$c:x"]
    assert auth_events_of(canonical(pdu)) == ["$a:x", "$b:x"]


def test_none() -> None:
    pdu: JsonObject = {"auth_events": [], "prev_events": []}
    assert prev_events_of(canonical(pdu)) == []
    assert auth_events_of(canonical(pdu)) == []
