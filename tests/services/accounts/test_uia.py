import attrs
import pytest
from twisted.internet.defer import Deferred, DeferredList

from homeserver.core.errors import BadJson, Forbidden, InvalidParam, LimitExceeded, MatrixError, MissingParam
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, JsonValue
from homeserver.services.uia import (
    LIFETIME_MS,
    MAX_FAILURES,
    Attempt,
    Challenge,
    Flows,
    Operation,
    Proof,
    StageFailed,
    UserInteractiveAuth,
)
from tests.services.accounts.conftest import Stack

PASSWORD_ONLY: Flows = (("m.login.password",),)


def password(user: str = "alice", secret: str = "password", **more: JsonValue) -> JsonObject:
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user},
        "password": secret,
        **more,
    }


def deleting(
    user_id: UserID | None, device_id: str = "D", *, flows: Flows = PASSWORD_ONLY, **request: JsonValue
) -> Operation:
    return Operation(
        name=f"deleteDevice {device_id}",
        user_id=user_id,
        request=request,
        flows=flows,
        address="192.0.2.1",
    )


def challenge(outcome: Challenge | Proof) -> Challenge:
    assert isinstance(outcome, Challenge)
    return outcome


def proof(outcome: Challenge | Proof) -> Proof:
    assert isinstance(outcome, Proof)
    return outcome


@attrs.define
class Word:
    """A stage that wants a word."""

    params: JsonObject = attrs.field(factory=dict)
    attempts: list[Attempt] = attrs.field(factory=list)

    async def attempt(self, auth: JsonObject, attempt: Attempt) -> JsonValue:
        self.attempts.append(attempt)
        if auth.get("word") != "right":
            raise StageFailed(Forbidden("wrong word"))
        return "left by the stage"


@pytest.fixture
def words(stack: Stack) -> UserInteractiveAuth:
    stages = {"a": Word({"hint": "r...t"}), "b": Word(), "c": Word()}
    return UserInteractiveAuth(stack.database, stack.clock, stages)


TWO_FLOWS: Flows = (("a", "b"), ("a", "c", "b"))


async def test_without_auth_there_is_a_challenge(stack: Stack, alice: UserID) -> None:
    first = challenge(await stack.uia.require(deleting(alice), None))
    assert (first.flows, first.params, first.completed, first.error) == (PASSWORD_ONLY, {}, (), None)
    second = challenge(await stack.uia.require(deleting(alice), None))
    assert second.session != first.session


async def test_a_challenge_is_answered_once(stack: Stack, alice: UserID) -> None:
    asked = challenge(await stack.uia.require(deleting(alice), None))
    done = proof(await stack.uia.require(deleting(alice), password(session=asked.session)))
    assert done.completed == {"m.login.password": alice}
    again = challenge(await stack.uia.require(deleting(alice), {"session": asked.session}))
    assert again.session != asked.session


async def test_who_knows_the_stage_needs_no_session(stack: Stack, alice: UserID) -> None:
    done = proof(await stack.uia.require(deleting(alice), password()))
    assert done == Proof({"m.login.password": alice}, None)
    old: JsonObject = {"type": "m.login.password", "user": "@alice:test", "password": "password"}
    proof(await stack.uia.require(deleting(alice), old))


async def test_a_wrong_password_may_be_tried_again(stack: Stack, alice: UserID) -> None:
    asked = challenge(await stack.uia.require(deleting(alice), password(secret="wrong")))
    assert asked.error is not None
    assert asked.error.errcode == "M_FORBIDDEN"
    again = challenge(await stack.uia.require(deleting(alice), password(secret="no", session=asked.session)))
    assert again.session == asked.session
    assert again.error is not None
    proof(await stack.uia.require(deleting(alice), password(session=asked.session)))


async def test_a_session_ends_with_too_many_failures(stack: Stack, alice: UserID) -> None:
    asked = challenge(await stack.uia.require(deleting(alice), None))
    for _ in range(MAX_FAILURES):
        wrong = password(secret="wrong", session=asked.session)
        assert challenge(await stack.uia.require(deleting(alice), wrong)).session == asked.session
    after = challenge(await stack.uia.require(deleting(alice), password(session=asked.session)))
    assert after.session != asked.session
    assert after.error is not None


async def test_passwords_cannot_be_guessed_across_sessions(stack: Stack, alice: UserID) -> None:
    for _ in range(10):
        challenge(await stack.uia.require(deleting(alice), password(secret="wrong")))
    with pytest.raises(LimitExceeded):
        await stack.uia.require(deleting(alice), password())


async def test_a_session_is_for_one_user_operation_and_request(stack: Stack, alice: UserID) -> None:
    bob = await stack.accounts.create("bob", "password")
    begun = deleting(alice, devices=["A"])
    asked = challenge(await stack.uia.require(begun, None))
    others = (
        deleting(bob, devices=["A"]),
        deleting(None, devices=["A"]),
        deleting(alice, "E", devices=["A"]),
        deleting(alice, devices=["B"]),
        deleting(alice, devices=["A"], more=True),
        deleting(alice),
    )
    for other in others:
        just_asking: JsonObject = {"session": asked.session}
        for auth in (password(session=asked.session), just_asking):
            with pytest.raises(Forbidden):
                await stack.uia.require(other, auth)
    proof(await stack.uia.require(begun, password(session=asked.session)))


async def test_a_completed_stage_is_no_use_for_another_request(
    words: UserInteractiveAuth, alice: UserID
) -> None:
    begun = deleting(alice, flows=TWO_FLOWS, devices=["A"])
    asked = challenge(await words.require(begun, {"type": "a", "word": "right"}))
    assert asked.completed == ("a",)
    changed = deleting(alice, flows=TWO_FLOWS, devices=["B"])
    with pytest.raises(Forbidden):
        await words.require(changed, {"type": "b", "word": "right", "session": asked.session})


async def test_another_users_password_is_refused(stack: Stack, alice: UserID) -> None:
    await stack.accounts.create("bob", "password")
    for name in ("bob", "@bob:test", "@alice:elsewhere", "nobody"):
        with pytest.raises(Forbidden):
            await stack.uia.require(deleting(alice), password(name))
    proof(await stack.uia.require(deleting(alice), password("@Alice:test")))


async def test_without_an_access_token_the_password_says_who(stack: Stack, alice: UserID) -> None:
    done = proof(await stack.uia.require(deleting(None), password("Alice")))
    assert done.completed == {"m.login.password": alice}
    challenge(await stack.uia.require(deleting(None), password("nobody")))


@pytest.mark.parametrize("sentinel", ["", "*", "!", "\0", "None"])
async def test_no_word_stands_for_a_missing_password(stack: Stack, sentinel: str) -> None:
    robot = await stack.accounts.create("robot", None)
    challenge(await stack.uia.require(deleting(robot), password("robot", sentinel)))


async def test_stages_go_in_the_order_of_a_flow(words: UserInteractiveAuth, alice: UserID) -> None:
    operation = deleting(alice, flows=TWO_FLOWS)
    asked = challenge(await words.require(operation, None))
    assert asked.params == {"a": {"hint": "r...t"}}
    for early in ("b", "c", "m.login.dummy", "unheard"):
        refused = await words.require(operation, {"type": early, "word": "right", "session": asked.session})
        assert challenge(refused).completed == ()
        assert challenge(refused).error is not None
    for done, stage in enumerate(("a", "c")):
        auth: JsonObject = {"type": stage, "word": "right", "session": asked.session}
        after = challenge(await words.require(operation, auth))
        assert after.completed == ("a", "c")[: done + 1]
    last: JsonObject = {"type": "b", "word": "right", "session": asked.session}
    assert list(proof(await words.require(operation, last)).completed) == ["a", "c", "b"]


async def test_a_completed_stage_is_not_done_again(words: UserInteractiveAuth, alice: UserID) -> None:
    operation = deleting(alice, flows=TWO_FLOWS)
    asked = challenge(await words.require(operation, {"type": "a", "word": "right"}))
    again = await words.require(operation, {"type": "a", "word": "wrong", "session": asked.session})
    assert (challenge(again).completed, challenge(again).error) == (("a",), None)
    state = await words.require(operation, {"session": asked.session})
    assert (challenge(state).completed, challenge(state).error) == (("a",), None)


async def test_sessions_expire(words: UserInteractiveAuth, stack: Stack, alice: UserID) -> None:
    operation = deleting(alice, flows=TWO_FLOWS)
    asked = challenge(await words.require(operation, {"type": "a", "word": "right"}))
    stack.clock.advance(LIFETIME_MS)
    auth: JsonObject = {"type": "b", "word": "right", "session": asked.session}
    fresh = challenge(await words.require(operation, auth))
    assert fresh.session != asked.session
    assert fresh.completed == ()


async def test_an_unknown_session_begins_anew(stack: Stack, alice: UserID) -> None:
    fresh = challenge(await stack.uia.require(deleting(alice), password(session="made up")))
    assert fresh.session != "made up"
    assert fresh.error is not None


async def test_of_many_at_once_one_gets_the_proof(words: UserInteractiveAuth, alice: UserID) -> None:
    operation = deleting(alice, flows=(("a",),))
    asked = challenge(await words.require(operation, None))
    auth: JsonObject = {"type": "a", "word": "right", "session": asked.session}
    asking = [Deferred.fromCoroutine(words.require(operation, auth)) for _ in range(8)]
    outcomes = [outcome for _, outcome in await DeferredList(asking, fireOnOneErrback=True)]
    assert sum(isinstance(outcome, Proof) for outcome in outcomes) == 1


async def test_malformed_auth_is_refused(stack: Stack, alice: UserID) -> None:
    malformed: list[tuple[JsonObject, type[MatrixError]]] = [
        ({"type": 5}, BadJson),
        ({"session": ["x"]}, BadJson),
        ({"type": "m.login.password", "user": "alice"}, MissingParam),
        ({"type": "m.login.password", "password": "password"}, MissingParam),
        ({"type": "m.login.password", "user": "alice", "password": 5}, BadJson),
        ({"type": "m.login.password", "identifier": "alice", "password": "password"}, InvalidParam),
        (
            {"type": "m.login.password", "identifier": {"type": "m.id.thirdparty"}, "password": "p"},
            MissingParam,
        ),
    ]
    for auth, error in malformed:
        with pytest.raises(error):
            await stack.uia.require(deleting(alice), auth)
    assert challenge(await stack.uia.require(deleting(alice), {})).error is None


async def test_the_database_does_not_hold_what_was_said(stack: Stack, alice: UserID) -> None:
    operation = deleting(alice, new_password="a new password")
    asked = challenge(await stack.uia.require(operation, None))
    await stack.uia.require(operation, password(secret="a wrong password", session=asked.session))

    def everything(tx: object) -> str:
        tx._cursor.execute("SELECT * FROM uia_sessions")  # type: ignore[attr-defined]  # what tests alone look at
        return repr(tx._cursor.fetchall())  # type: ignore[attr-defined]  # what tests alone look at

    stored = await stack.database.read(everything)
    assert "deleteDevice D" in stored
    for secret in ("a new password", "a wrong password", asked.session):
        assert secret not in stored
