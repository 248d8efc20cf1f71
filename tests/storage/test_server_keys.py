from homeserver.core.identifiers import ServerName
from homeserver.core.json import decode_object
from homeserver.core.server_keys import ServerKeysResponse, VerifyKey, publish, read_response
from homeserver.core.signing import SigningKey
from homeserver.storage import server_keys
from tests.storage.store import Store

NOW = 1_700_000_000_000
A = ServerName("a.test")
B = ServerName("b.test")
KEY = SigningKey.generate("k1", seed=bytes(32))
NEXT = SigningKey.generate("k2", seed=bytes([1] * 32))


def response(
    name: ServerName, key: SigningKey, valid_until_ts: int, old: dict[str, VerifyKey] | None = None
) -> ServerKeysResponse:
    return read_response(publish(name, key, old or {}, valid_until_ts=valid_until_ts), name, now_ts=NOW)


def test_keys_are_found_by_server(store: Store) -> None:
    store.write(server_keys.add, response(A, KEY, NOW + 1000), now_ts=NOW)
    store.write(server_keys.add, response(B, NEXT, NOW + 2000), now_ts=NOW)
    assert store.read(server_keys.of, [A]) == {A: {KEY.key_id: VerifyKey(KEY.verify_key, NOW + 1000)}}
    assert store.read(server_keys.of, [A, B, ServerName("c.test")]).keys() == {A, B}
    assert store.read(server_keys.of, []) == {}


def test_the_response_is_kept_as_it_was_signed(store: Store) -> None:
    first = response(A, KEY, NOW + 1000)
    store.write(server_keys.add, first, now_ts=NOW)
    stored = store.read(server_keys.responses, [A, B])
    assert stored.keys() == {A}
    assert decode_object(stored[A].response) == first.document
    assert (stored[A].valid_until_ts, stored[A].fetched_ts) == (NOW + 1000, NOW)


def test_older_knowledge_does_not_replace_newer(store: Store) -> None:
    newer = response(A, KEY, NOW + 2000)
    store.write(server_keys.add, newer, now_ts=NOW)
    store.write(server_keys.add, response(A, KEY, NOW + 1000), now_ts=NOW + 5)
    assert store.read(server_keys.of, [A])[A][KEY.key_id].valid_until_ts == NOW + 2000
    assert store.read(server_keys.responses, [A])[A].valid_until_ts == NOW + 2000
    assert decode_object(store.read(server_keys.responses, [A])[A].response) == newer.document


def test_a_key_that_is_given_up_is_old_from_then_on(store: Store) -> None:
    store.write(server_keys.add, response(A, KEY, NOW + 5000), now_ts=NOW)
    given_up = {KEY.key_id: VerifyKey(KEY.verify_key, NOW - 10, is_old=True)}
    store.write(server_keys.add, response(A, NEXT, NOW + 6000, given_up), now_ts=NOW)
    assert store.read(server_keys.of, [A])[A] == {
        KEY.key_id: VerifyKey(KEY.verify_key, NOW - 10, is_old=True),
        NEXT.key_id: VerifyKey(NEXT.verify_key, NOW + 6000),
    }


def test_a_key_that_is_no_longer_published_is_kept_for_old_events(store: Store) -> None:
    store.write(server_keys.add, response(A, KEY, NOW + 5000), now_ts=NOW)
    store.write(server_keys.add, response(A, NEXT, NOW + 6000), now_ts=NOW)
    assert store.read(server_keys.of, [A])[A].keys() == {KEY.key_id, NEXT.key_id}


def test_a_server_that_invents_keys_does_not_fill_the_database(store: Store) -> None:
    store.write(server_keys.add, response(B, KEY, NOW), now_ts=NOW)
    for number in range(0, server_keys.MOST_KEPT + 60, 40):
        keys = {f"ed25519:n{number + each}": VerifyKey(bytes(32), NOW - 1, is_old=True) for each in range(40)}
        store.write(server_keys.add, response(A, KEY, NOW + number, keys), now_ts=NOW + number)
    kept = store.read(server_keys.of, [A, B])
    assert len(kept[A]) == server_keys.MOST_KEPT
    assert KEY.key_id in kept[A]
    assert "ed25519:n0" not in kept[A]
    assert len(kept[B]) == 1
