"""The checks that an event from elsewhere passes or fails by itself, whatever its room: format, signatures, hash.

Spec: server-server API, "Checks performed on receipt of a PDU", 1 to 3, and "Validating hashes and signatures on
received events".
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, Protocol, TypeVar

import attrs
import msgspec
import nacl.signing
from nacl.exceptions import BadSignatureError
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import BadJson, MatrixError
from homeserver.core.event import Event
from homeserver.core.event_format import check_event_format
from homeserver.core.hashes import decode_base64, event_id_from_hash, has_content_hash
from homeserver.core.identifiers import EventID, ServerName
from homeserver.core.json import JsonObject, canonical
from homeserver.core.redaction import redact
from homeserver.core.room_versions import EventIdFormat, RoomVersion
from homeserver.core.server_keys import WantedKey
from homeserver.core.signing import authorising_server, key_ids_of, required_signers

FEW: Final = 8
"""So many events are checked in the reactor's thread, in about 2 ms; more in another one."""

CHUNK: Final = 100
"""Events that are checked in one go in the other thread."""

MOST_SIGNATURES: Final = 20
"""Keys of one server that are looked for on one event: others are as if they were not there."""

A = TypeVar("A")
B = TypeVar("B")


class KeySource(Protocol):
    """Knows the keys of servers."""

    async def fetch(self, wanted: Collection[WantedKey]) -> Mapping[WantedKey, bytes]:
        """The verify keys, as far as they can be had."""
        ...


@attrs.frozen(slots=True)
class CheckedPdu:
    """An event whose format and signatures are good.

    `data` is its canonical JSON without `unsigned`, redacted if the hash was wrong, and `event` what it says.
    `signed_by` are the servers whose signatures have been verified.
    """

    event: Event
    data: bytes = attrs.field(repr=False)
    signed_by: frozenset[ServerName]


class RefusedPdu(msgspec.Struct, frozen=True):
    """What is no event, or is not signed as it must be: it is dropped. `event_id` is None if it has none."""

    event_id: EventID | None
    error: MatrixError


class _Formed(msgspec.Struct, frozen=True):
    """An event of good format; `essential` is what signatures and the ID cover, `keys` are to be had."""

    pdu: JsonObject
    data: bytes
    event_id: EventID
    essential: bytes
    required: frozenset[ServerName]
    authoriser: ServerName | None
    keys: Mapping[ServerName, Sequence[WantedKey]]


@attrs.frozen(eq=False)
class CheckGroup:
    """Events that need the keys of the same servers: which of those that were given, their IDs, what comes of each."""

    indices: Sequence[int]
    event_ids: Sequence[EventID | None]
    outcome: Deferred[list[CheckedPdu | RefusedPdu]] = attrs.field(repr=False)


class PduChecks(msgspec.Struct, frozen=True):
    """Checks events in bulk: the keys of all are fetched together, many are checked beside the reactor."""

    keys: KeySource

    async def check(self, pdus: Sequence[JsonObject], version: RoomVersion) -> list[CheckedPdu | RefusedPdu]:
        """Check events of rooms of one version; the results are in the order of `pdus`.

        A key that cannot be had makes for a refusal, too: the event may be better off another time.
        """
        return await self._checked(await _for_each(lambda pdu: _form(pdu, version), pdus), version)

    async def check_apart(self, pdus: Sequence[JsonObject], version: RoomVersion) -> list[CheckGroup]:
        """As `check`, but none waits for the keys of servers that have not signed it: each group ends by itself."""
        formed = await _for_each(lambda pdu: _form(pdu, version), pdus)
        by_signers: dict[frozenset[ServerName], list[int]] = {}
        for index, each in enumerate(formed):
            signers = frozenset(each.keys) if isinstance(each, _Formed) else frozenset[ServerName]()
            by_signers.setdefault(signers, []).append(index)
        return [
            CheckGroup(
                indices,
                [formed[index].event_id for index in indices],
                Deferred.fromCoroutine(self._checked([formed[index] for index in indices], version)),
            )
            for indices in by_signers.values()
        ]

    async def _checked(
        self, formed: Sequence[_Formed | RefusedPdu], version: RoomVersion
    ) -> list[CheckedPdu | RefusedPdu]:
        wanted = {
            key for each in formed if isinstance(each, _Formed) for keys in each.keys.values() for key in keys
        }
        found = await self.keys.fetch(wanted) if wanted else {}
        return await _for_each(lambda each: _verify(each, version, found), formed)


async def _for_each(function: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """The function's results, in order; in another thread if there are many."""
    if len(items) <= FEW:
        return _map(function, items)
    results: list[B] = []
    for start in range(0, len(items), CHUNK):
        results += await deferToThread(_map, function, items[start : start + CHUNK])
    return results


def _map(function: Callable[[A], B], items: Sequence[A]) -> list[B]:
    return [function(item) for item in items]


def _form(pdu: JsonObject, version: RoomVersion) -> _Formed | RefusedPdu:
    """Check the format, and find out which keys are needed."""
    try:
        data = check_event_format(pdu, version)
        pdu = {key: value for key, value in pdu.items() if key != "unsigned"}
        signed = redact(pdu, version)
        signed.pop("signatures", None)
        essential = canonical(signed)
        event_id = _event_id(pdu, essential, version)
    except MatrixError as error:
        return RefusedPdu(None, error)
    try:
        required = required_signers(pdu, version)
        authoriser = _authoriser(pdu, version)
    except BadJson as error:
        return RefusedPdu(event_id, error)
    at_ts = pdu["origin_server_ts"] if version.enforce_key_validity else None
    assert at_ts is None or isinstance(at_ts, int)  # noqa: S101 - the format has been checked
    signers = required if authoriser is None else required | {authoriser}
    keys = {
        server: [WantedKey(server, key_id, at_ts) for key_id in key_ids_of(pdu, server)[:MOST_SIGNATURES]]
        for server in signers
    }
    return _Formed(pdu, data, event_id, essential, required, authoriser, keys)


def _event_id(pdu: JsonObject, essential: bytes, version: RoomVersion) -> EventID:
    if version.event_id_format is EventIdFormat.SERVER_ISSUED:
        return EventID(str(pdu["event_id"]))
    return event_id_from_hash(hashlib.sha256(essential).digest(), version)


def _authoriser(pdu: JsonObject, version: RoomVersion) -> ServerName | None:
    """The server that authorises a join; what names none is for the auth rules to refuse."""
    try:
        return authorising_server(pdu, version)
    except BadJson:
        return None


def _verify(
    formed: _Formed | RefusedPdu, version: RoomVersion, keys: Mapping[WantedKey, bytes]
) -> CheckedPdu | RefusedPdu:
    """Check the signatures, then the hash."""
    if isinstance(formed, RefusedPdu):
        return formed
    signed_by = set()
    for server in formed.required:
        if (problem := _problem(formed, server, keys)) is not None:
            return RefusedPdu(formed.event_id, InvalidSignature(problem))
        signed_by.add(server)
    if (authoriser := formed.authoriser) is not None and authoriser not in signed_by:
        if formed.keys[authoriser] and not any(key in keys for key in formed.keys[authoriser]):
            # It claims to have authorised the join, which nobody can tell now.
            return RefusedPdu(formed.event_id, InvalidSignature(f"no key of {authoriser} could be had"))
        if _problem(formed, authoriser, keys) is None:
            signed_by.add(authoriser)
    pdu, data = formed.pdu, formed.data
    if not has_content_hash(pdu):
        pdu = redact(pdu, version)
        data = canonical(pdu)
    event = Event.from_pdu(pdu, version, event_id=formed.event_id)
    return CheckedPdu(event, data, frozenset(signed_by))


def _problem(formed: _Formed, server: ServerName, keys: Mapping[WantedKey, bytes]) -> str | None:
    """What is wrong with the signatures of one server; those by keys that are not known do not count."""
    known = [key for key in formed.keys[server] if key in keys]
    if not known:
        return f"it has no signature of {server} that could be checked"
    for key, signature in _signatures(formed, server, known):
        try:
            nacl.signing.VerifyKey(keys[key]).verify(formed.essential, decode_base64(signature))
        except (BadSignatureError, ValueError):
            return f"the signature of {server} does not match"
    return None


def _signatures(
    formed: _Formed, server: ServerName, keys: Sequence[WantedKey]
) -> Iterator[tuple[WantedKey, str]]:
    signatures = formed.pdu["signatures"]
    by_key = signatures[server] if isinstance(signatures, dict) else None
    for key in keys:
        yield key, str(by_key[key.key_id]) if isinstance(by_key, dict) else ""
