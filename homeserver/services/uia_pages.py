"""Stages of the User-Interactive Authentication that are done in a browser, on behalf of a client that cannot.

Spec: client-server API, "Fallback". Who has the session's id goes on with it; what was asked for is not known here but
by its name, so the page can say what is about to be authorised.
"""

from collections.abc import Mapping

import msgspec

from homeserver.core.errors import Forbidden, MatrixError, NotFound
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, JsonValue
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.services.credentials import hash_of
from homeserver.services.uia import MAX_FAILURES, Attempt, Stage, StageFailed, continues, whose
from homeserver.storage import uia_sessions
from homeserver.storage.uia_sessions import UiaSession


class StagePage(msgspec.Struct, frozen=True):
    """A stage that is to be done, or `is_done`; `operation` is the name of what it authorises, and for whom."""

    operation: str
    user_id: UserID | None
    params: JsonObject
    is_done: bool


class UiaPages(msgspec.Struct, frozen=True):
    """Shows and takes stages by the session's id alone; `stages` are all that there are."""

    database: Database
    clock: Clock
    stages: Mapping[str, Stage]
    max_failures: int = MAX_FAILURES

    async def look(self, session: str, stage: str) -> StagePage:
        """What is to be shown. Errors: NotFound; Forbidden if it is not the stage's turn."""
        return _page(await self._find(session), stage)

    async def attempt(
        self, session: str, stage: str, auth: JsonObject, *, address: str
    ) -> MatrixError | None:
        """Try a stage; gives why it was not passed, None if it was. Errors: as `look`; what stages raise."""
        found = await self._find(session)
        page = _page(found, stage)
        if page.is_done:
            return None
        attempt = Attempt(found.operation, found.user_id, address, page.params)
        session_hash, now_ts = hash_of(session), self.clock.now_ts()
        try:
            left = await self.stages[stage].attempt(auth, attempt)
        except StageFailed as failure:
            if failure.is_guess:
                await self.database.write(
                    uia_sessions.fail, session_hash, most=self.max_failures, now_ts=now_ts
                )
            return failure.error
        is_kept = await self.database.write(
            uia_sessions.complete,
            session_hash,
            found.completed,
            stage,
            left,
            user_id=whose(found.user_id, {stage: left}),
            now_ts=now_ts,
        )
        return None if is_kept else Forbidden("Another page was faster: begin again")

    async def _find(self, session: str) -> UiaSession:
        found = await self.database.read(uia_sessions.find, hash_of(session), now_ts=self.clock.now_ts())
        if found is None:
            raise NotFound("This page has expired: go back to your app and begin again")
        return found


def _page(found: UiaSession, stage: str) -> StagePage:
    """Errors: Forbidden."""
    is_done = stage in found.completed
    if not is_done and not continues(_flows(found.challenge.get("flows")), found.completed, stage):
        raise Forbidden("This step is not what your app is waiting for: go back to it")
    params = found.challenge.get("params")
    shown = params.get(stage) if isinstance(params, dict) else None
    return StagePage(found.operation, found.user_id, shown if isinstance(shown, dict) else {}, is_done)


def _flows(stated: JsonValue) -> list[tuple[str, ...]]:
    flows = stated if isinstance(stated, list) else []
    return [tuple(map(str, flow)) for flow in flows if isinstance(flow, list)]
