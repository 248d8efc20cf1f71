"""Checking events without waiting long for the keys of slow servers.

Who sends a transaction waits for the answer, with everything else that it has for this server. So an event whose keys
are not there in time is answered with an error, and taken when they come after all; the others do not wait for it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import attrs
import structlog
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import RoomVersion
from homeserver.rooms.pdu_checks import CheckedPdu, CheckGroup, PduChecks, RefusedPdu

PATIENCE_S: Final = 3.0
"""How long the keys of all events of a transaction may take."""

MOST_LATE: Final = 500
"""Events that may be waiting for keys after the answer; for those of further transactions the answer waits."""

TakeLate: TypeAlias = Callable[[Sequence[CheckedPdu]], Awaitable[None]]

_LATE: Final = "The keys for its signatures could not be had in time"

_log = structlog.get_logger(__name__)


@attrs.define(eq=False)
class TimelyChecks:
    """Checks the events of transactions."""

    checks: PduChecks
    reactor: IReactorTime
    _late: int = attrs.field(default=0, init=False)

    async def check(
        self, pdus: Sequence[tuple[JsonObject, RoomVersion]], take_late: TakeLate
    ) -> list[CheckedPdu | RefusedPdu]:
        """Check events, each of a room of that version; the results are in their order.

        Those that come to pass later are handed to `take_late`. Errors: StorageUnavailable.
        """
        groups = await self._groups(pdus)
        deadline = self.reactor.seconds() + PATIENCE_S
        results: dict[int, CheckedPdu | RefusedPdu] = {}
        for number, group in enumerate(groups):
            try:
                found = await self._found_in_time(group, deadline)
            except Exception:  # it goes to the caller, who will not look at the others any more
                for each in groups[number + 1 :]:
                    each.outcome.addErrback(_note_failure)
                raise
            if found is None:
                self._take_later(group, take_late)
                found = [RefusedPdu(event_id, InvalidSignature(_LATE)) for event_id in group.event_ids]
            results.update(zip(group.indices, found, strict=True))
        return [results[index] for index in range(len(pdus))]

    async def _groups(self, pdus: Sequence[tuple[JsonObject, RoomVersion]]) -> list[CheckGroup]:
        by_version: dict[RoomVersion, list[int]] = {}
        for index, (_, version) in enumerate(pdus):
            by_version.setdefault(version, []).append(index)
        return [
            attrs.evolve(group, indices=[indices[index] for index in group.indices])
            for version, indices in by_version.items()
            for group in await self.checks.check_apart([pdus[index][0] for index in indices], version)
        ]

    async def _found_in_time(
        self, group: CheckGroup, deadline: float
    ) -> list[CheckedPdu | RefusedPdu] | None:
        """What came of the group, None if that is not known in time."""
        if group.outcome.called or self._late + len(group.indices) > MOST_LATE:
            # Nearly always the keys are known.
            return await group.outcome
        waiting: Deferred[list[CheckedPdu | RefusedPdu] | None] = Deferred()

        def settle(
            result: list[CheckedPdu | RefusedPdu] | Failure,
        ) -> list[CheckedPdu | RefusedPdu] | Failure | None:
            if waiting.called:
                return result
            waiting.callback(result)
            return None

        group.outcome.addBoth(settle)
        out_of_patience = self.reactor.callLater(
            max(0.0, deadline - self.reactor.seconds()), waiting.callback, None
        )
        try:
            return await waiting
        finally:
            if out_of_patience.active():
                out_of_patience.cancel()

    def _take_later(self, group: CheckGroup, take_late: TakeLate) -> None:
        self._late += len(group.indices)

        async def take(found: Sequence[CheckedPdu | RefusedPdu]) -> None:
            await take_late([each for each in found if isinstance(each, CheckedPdu)])

        def end(result: object) -> object:
            self._late -= len(group.indices)
            return result

        group.outcome.addCallback(lambda found: Deferred.fromCoroutine(take(found)))
        group.outcome.addBoth(end)
        group.outcome.addErrback(_note_failure)


def _note_failure(failure: Failure) -> None:
    _log.warning("events were not taken", reason=str(failure.value))
