from twisted.internet.defer import CancelledError, Deferred

from homeserver.runtime.in_order import InOrder


def begun(order: InOrder[str], heard: list[str], *keys: str) -> list[Deferred[str]]:
    """Work under these keys, whose outcomes are heard; failures by the names of their classes."""
    made: list[Deferred[str]] = []
    for key in keys:
        made.append(Deferred())
        asked = order.hand_on(key, made[-1])
        asked.addErrback(lambda failure: type(failure.value).__name__).addCallback(heard.append)
    return made


def test_outcomes_come_in_the_order_of_the_questions() -> None:
    order: InOrder[str] = InOrder()
    heard: list[str] = []
    one, two, three, other = begun(order, heard, "a", "a", "a", "b")
    two.callback("two")
    other.callback("other")
    assert heard == ["other"]
    one.errback(ValueError())
    assert heard == ["other", "ValueError", "two"]
    three.callback("three")
    assert heard == ["other", "ValueError", "two", "three"]
    assert len(order) == 0


def test_one_goes_on_before_the_next_and_may_ask_again() -> None:
    order: InOrder[str] = InOrder()
    heard: list[str] = []
    first: Deferred[str] = Deferred()
    again: Deferred[str] = Deferred()

    async def goes_on() -> None:
        heard.append(await order.hand_on("a", first))
        heard.append("went on")
        again.callback("again")
        heard.append(await order.hand_on("a", again))

    Deferred.fromCoroutine(goes_on())
    (second,) = begun(order, heard, "a")
    second.callback("second")
    first.callback("first")
    assert heard == ["first", "went on", "second", "again"]
    assert len(order) == 0


def test_who_gives_up_is_not_waited_for() -> None:
    order: InOrder[str] = InOrder()
    heard: list[str] = []
    work: Deferred[str] = Deferred()
    asked = order.hand_on("a", work)
    asked.addErrback(lambda failure: heard.append(str(failure.trap(CancelledError).__name__)))
    (second,) = begun(order, heard, "a")
    second.callback("second")
    asked.cancel()
    assert heard == ["CancelledError", "second"]
    assert len(order) == 0


def test_who_gives_up_meanwhile_is_passed_over() -> None:
    order: InOrder[str] = InOrder()
    heard: list[str] = []
    (first,) = begun(order, heard, "a")
    asked: Deferred[str] = order.hand_on("a", Deferred())
    asked.addErrback(lambda failure: heard.append("cancelled"))
    asked.cancel()
    assert heard == ["cancelled"]
    first.callback("first")
    assert heard == ["cancelled", "first"]
    assert len(order) == 0
