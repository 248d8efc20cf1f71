from homeserver.core.identifiers import EventID
from homeserver.database.tables.events import events as table
from homeserver.database.transactions import WriteTransaction
from homeserver.storage import events, redactions, search_texts
from homeserver.storage.search_texts import Batch, Text
from tests.population import add_row
from tests.storage.store import Store

NEWEST = 2**62


def index(store: Store, *texts: Text, after: int = 0, upto: int = 10) -> bool:
    """Index texts of events that are there."""
    for text in texts:
        store.write(add_row_once, text)
    return store.write(search_texts.add, Batch(after, upto, [], []), texts, [])


def add_row_once(tx: WriteTransaction, text: Text) -> None:
    if not events.of_nids(tx, [text.event_nid]):
        add_row(
            tx,
            table,
            event_nid=text.event_nid,
            event_id=f"${text.event_nid}",
            room_nid=text.room_nid,
            position=text.position,
        )


def found(
    store: Store, *terms: str, rooms: tuple[int, ...] = (1, 2), most: int = 100, upto: int = NEWEST
) -> list[int]:
    return [each.event_nid for each in store.read(search_texts.find, terms, rooms, upto=upto, most=most)]


def test_texts_are_found_by_all_of_their_terms_newest_first(store: Store) -> None:
    texts = [
        Text(101, 1, 3, "tea and cake"),
        Text(102, 2, 5, "cake 東 京 東京"),
        Text(103, 1, 4, "tea tea नमस्ते"),
    ]
    assert index(store, *texts)
    assert found(store, "tea") == [103, 101]
    assert found(store, "cake", "tea") == [101]
    assert found(store, "cake") == [102, 101]
    assert found(store, "cake", rooms=(1,)) == [101]
    assert found(store, "cake", most=1) == [102]
    assert found(store, "cake", upto=4) == [101]
    assert found(store, "東京") == [102]
    assert found(store, "नमस्ते") == [103]
    short = store.read(search_texts.find_short, ("tea",), (1, 2), upto=NEWEST, most=1)
    assert [each.event_nid for each in short] == [101]
    for nothing in (("te",), ("and", "東"), ()):
        assert found(store, *nothing) == []
    assert found(store, "tea", rooms=()) == []


def test_what_another_process_has_indexed_is_left_alone(store: Store) -> None:
    assert index(store, Text(101, 1, 3, "tea"))
    assert not index(store, Text(102, 1, 3, "tea"))
    assert found(store, "tea") == [101]
    assert index(store, Text(102, 1, 12, "tea"), Text(101, 1, 3, "again"), after=10, upto=20)
    assert found(store, "tea") == [102, 101]
    assert found(store, "again") == []


def test_an_event_that_is_not_redacted_stays(store: Store) -> None:
    index(store, Text(101, 1, 3, "tea"))
    assert store.write(search_texts.add, Batch(10, 11, [], []), [], [EventID("$unknown")])
    assert found(store, "tea") == [101]


def test_what_is_redacted_or_gone_meanwhile_is_not_indexed(store: Store) -> None:
    text = Text(101, 1, 3, "tea")
    assert store.write(search_texts.add, Batch(0, 10, [], []), [text], [])
    assert found(store, "tea") == []
    store.write(add_row_once, text)
    store.write(redactions.redact, 101, pdu=b"{}", redaction_id=EventID("$redaction"))
    assert store.write(search_texts.add, Batch(10, 20, [], []), [text], [])
    assert found(store, "tea") == []


def test_a_redaction_takes_the_text_out(store: Store) -> None:
    index(store, Text(101, 1, 3, "tea"), Text(102, 1, 4, "tea"))
    store.write(redactions.redact, 101, pdu=b"{}", redaction_id=EventID("$redaction"))
    assert store.write(search_texts.add, Batch(10, 11, [], []), [], [EventID("$101"), EventID("$102")])
    assert found(store, "tea") == [102]


def test_everything_is_indexed_when_there_is_nothing_new(store: Store) -> None:
    assert store.read(search_texts.batch, most=10) is None
    store.write(search_texts.queue, [7, 8, 7])
    batch = store.read(search_texts.batch, most=10)
    assert batch is not None
    assert (list(batch.queued), list(batch.sources)) == ([7, 8], [])
    assert store.write(search_texts.add, batch, [], [])
    assert store.read(search_texts.batch, most=10) is None
