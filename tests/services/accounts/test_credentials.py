from homeserver.core.identifiers import UserID
from homeserver.services.credentials import RefreshToken, hash_of, new_device_id, new_localpart, new_token
from homeserver.services.sessions import SessionDraft


def test_no_two_secrets_are_the_same() -> None:
    for make in (new_token, new_device_id, new_localpart, lambda: RefreshToken.new().text):
        assert len({make() for _ in range(1000)}) == 1000


def test_refresh_tokens_keep_their_family() -> None:
    first = RefreshToken.new()
    second = RefreshToken.new(first.family)
    assert RefreshToken.parse(first.text) == first
    assert second.family_hash == first.family_hash
    assert second.token_hash != first.token_hash
    assert RefreshToken.new().family_hash != first.family_hash


def test_anything_can_be_looked_up() -> None:
    for text in ("", ".", "a.b.c", "\udc80", "é"):
        assert len(hash_of(text)) == 32
        assert len(RefreshToken.parse(text).token_hash) == 32


def test_secrets_are_not_printed() -> None:
    refresh = RefreshToken("the family", "the secret")
    draft = SessionDraft(new_device_id(), None, "the access token", refresh, 1)
    printed = repr([refresh, draft, draft.opened_for(UserID("@alice:test"))])
    assert "the family" not in printed
    assert "the secret" not in printed
    assert "the access token" not in printed
