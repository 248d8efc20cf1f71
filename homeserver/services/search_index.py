"""Filling the index of full-text search, beside the sending of events: what is sent is found about a second later."""

from typing import Final

import msgspec

from homeserver.core.identifiers import EventID
from homeserver.core.relations import REPLACE, relation_of
from homeserver.core.search_terms import terms_of, text_of
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, search_texts
from homeserver.storage.search_texts import REDACTION, Batch, Source, Text

MESSAGE: Final = "m.room.message"

AT_ONCE: Final = 200
"""Events that are looked at in one transaction."""


class _Work(msgspec.Struct, frozen=True):
    """What a batch comes to."""

    batch: Batch
    texts: list[Text]
    redacted: list[EventID]


class SearchIndex(msgspec.Struct, frozen=True):
    """Indexes what the stream brings, and what was there before this server could search."""

    database: Database

    async def work(self) -> None:
        """Index everything that is new; to be called about once a second.

        Each process does this; what one has done the others leave alone.
        """
        while (work := await self.database.read(read_work)) is not None:
            if not await self.database.write_soon(search_texts.add, work.batch, work.texts, work.redacted):
                return


def read_work(tx: ReadTransaction) -> _Work | None:
    """The next batch with its terms; `None` if there is nothing to do."""
    batch = search_texts.batch(tx, most=AT_ONCE)
    if batch is None:
        return None
    texts = [text for source in batch.sources if (text := _text(source)) is not None]
    texts = _placed(tx, batch, texts)
    targets = (source.redacts for source in batch.sources if source.type == REDACTION)
    return _Work(batch, texts, [target for target in targets if target is not None])


def _placed(tx: ReadTransaction, batch: Batch, texts: list[Text]) -> list[Text]:
    """The texts, those of edits at the places of what they edit: found is that, as it reads now."""
    edits = {
        source.event_nid: relation.event_id
        for source in batch.sources
        if source.type == MESSAGE
        and (relation := relation_of(source.content)) is not None
        and relation.rel_type == REPLACE
    }
    parents = events.placed(tx, list(edits.values())) if edits else {}
    placed: list[Text] = []
    for text in texts:
        parent = parents.get(edits.get(text.event_nid, EventID("")))
        if parent is None or parent.position is None or parent.room_nid != text.room_nid:
            placed.append(text)
        else:
            placed.append(msgspec.structs.replace(text, position=parent.position))
    return placed


def _text(source: Source) -> Text | None:
    text = text_of(source.type, source.content)
    terms = terms_of(text) if text else []
    return Text(source.event_nid, source.room_nid, source.position, " ".join(terms)) if terms else None
