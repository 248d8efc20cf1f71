from twisted.internet.defer import CancelledError, Deferred

from homeserver.runtime.shared_work import SharedWork


class Work:
    """Is done when the test says so."""

    def __init__(self) -> None:
        self.runs: list[Deferred[str]] = []

    async def __call__(self) -> str:
        self.runs.append(Deferred())
        return await self.runs[-1]


def test_it_is_done_once_for_all_who_ask_meanwhile() -> None:
    shared: SharedWork[str, str] = SharedWork()
    work = Work()
    asked = [shared.get("a", work) for _ in range(3)]
    other = shared.get("b", work)
    assert len(work.runs) == len(shared) == 2
    work.runs[0].callback("done")
    assert [each.result for each in asked] == ["done"] * 3
    assert not other.called
    work.runs[1].callback("other")
    assert other.result == "other"
    assert len(shared) == 0
    shared.get("a", work)
    assert len(work.runs) == 3


def test_all_hear_of_a_failure() -> None:
    shared: SharedWork[str, str] = SharedWork()
    work = Work()
    heard: list[type[Exception] | None] = []
    for _ in range(2):
        shared.get("a", work).addErrback(lambda failure: heard.append(failure.check(ValueError)))
    work.runs[0].errback(ValueError())
    assert heard == [ValueError, ValueError]


def test_who_gives_up_does_not_stop_it() -> None:
    shared: SharedWork[str, str] = SharedWork()
    work = Work()
    one, two = shared.get("a", work), shared.get("a", work)
    one.cancel()
    work.runs[0].callback("done")
    assert two.result == "done"
    gave_up: list[object] = []
    one.addErrback(lambda failure: gave_up.append(failure.check(CancelledError)))
    assert gave_up == [CancelledError]
