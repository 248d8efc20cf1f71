from homeserver.core.identifiers import RoomID, UserID
from homeserver.storage import account_data, profiles, users
from tests.storage.store import Store

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
CAROL = UserID("@carol:test")
GLOBAL = RoomID("")


def create(store: Store, user_id: UserID, **options: object) -> bool:
    values: dict[str, object] = {"password_hash": "hash", "display_name": user_id[1:].partition(":")[0]}
    return store.write(users.create, user_id, now_ts=5, **{**values, **options})  # type: ignore[arg-type]  # what the test wants to be taken


def test_an_account_is_made_once_with_its_profile(store: Store) -> None:
    assert create(store, ALICE, is_admin=True, user_type="bot")
    assert not create(store, ALICE, password_hash="other", display_name="Mallory")
    alice = store.read(users.find, ALICE)
    assert alice is not None
    assert (alice.user_id, alice.created_ts, alice.user_type) == (ALICE, 5, "bot")
    assert alice.is_admin is True
    flags = ("guest", "deactivated", "erased", "locked", "suspended", "departing")
    assert not any(getattr(alice, f"is_{flag}") for flag in flags)
    assert store.read(users.password_hash, ALICE, ALICE) == (ALICE, "hash")
    assert store.read(profiles.of, ALICE) == {"displayname": "alice"}
    assert store.read(users.exists, ALICE)
    assert not store.read(users.exists, BOB)
    assert store.read(users.find, BOB) is None


def test_the_exact_user_id_goes_before_its_small_letters(store: Store) -> None:
    create(store, UserID("@Alice:test"), password_hash="historical")
    create(store, ALICE, password_hash="current")
    assert store.read(users.password_hash, UserID("@Alice:test"), ALICE) == ("@Alice:test", "historical")
    assert store.read(users.password_hash, UserID("@ALICE:test"), ALICE) == (ALICE, "current")
    assert store.read(users.password_hash, BOB, BOB) is None


def test_passwords_are_changed_and_improved(store: Store) -> None:
    create(store, ALICE)
    assert store.write(users.set_password_hash, ALICE, "second")
    assert not store.write(users.set_password_hash, BOB, "second")
    store.write(users.replace_password_hash, ALICE, "hash", "a better hash of the first")
    assert store.read(users.password_hash, ALICE, ALICE) == (ALICE, "second")
    store.write(users.replace_password_hash, ALICE, "second", "better")
    assert store.read(users.password_hash, ALICE, ALICE) == (ALICE, "better")


def test_a_guest_becomes_a_user_once(store: Store) -> None:
    create(store, ALICE, password_hash=None, is_guest=True)
    create(store, BOB)
    assert store.write(users.upgrade_guest, ALICE, "new")
    assert not store.write(users.upgrade_guest, ALICE, "newer")
    assert not store.write(users.upgrade_guest, BOB, "new")
    alice = store.read(users.find, ALICE)
    assert alice is not None
    assert not alice.is_guest
    assert store.read(users.password_hash, ALICE, ALICE) == (ALICE, "new")


def test_a_deactivated_account_keeps_its_name_and_nothing_else(store: Store) -> None:
    create(store, ALICE, is_admin=True)
    assert store.write(users.deactivate, ALICE)
    assert not store.write(users.deactivate, ALICE)
    assert not store.write(users.deactivate, BOB)
    alice = store.read(users.find, ALICE)
    assert alice is not None
    assert (alice.is_deactivated, alice.is_departing, alice.is_admin) == (True, True, False)
    assert store.read(users.password_hash, ALICE, ALICE) is None
    assert not store.write(users.set_password_hash, ALICE, "back again")
    assert not store.write(users.set_admin, ALICE, is_admin=True)
    assert not create(store, ALICE)
    assert store.read(users.departing, after="", limit=10) == [ALICE]
    assert store.read(users.departing, after=ALICE, limit=10) == []
    store.write(users.departed, ALICE)
    assert store.read(users.departing, after="", limit=10) == []


def test_what_is_erased_is_the_users_own(store: Store) -> None:
    for user_id in (ALICE, BOB):
        create(store, user_id)
        store.write(account_data.put, user_id, GLOBAL, "m.direct", b"{}")
    store.write(users.erase, ALICE)
    assert store.read(profiles.of, ALICE) == {}
    assert store.read(account_data.of, ALICE, GLOBAL, "m.direct") is None
    assert store.read(profiles.of, BOB) == {"displayname": "bob"}
    assert store.read(account_data.of, BOB, GLOBAL, "m.direct") == b"{}"
    alice = store.read(users.find, ALICE)
    assert alice is not None
    assert alice.is_erased


def test_accounts_are_listed_in_pages(store: Store) -> None:
    for user_id in (CAROL, ALICE, BOB):
        create(store, user_id)
    store.write(users.deactivate, BOB)

    def page(after: str, *, limit: int = 10, deactivated: bool = True) -> list[str]:
        found = store.read(users.page, after=after, limit=limit, deactivated=deactivated)
        return [user.user_id for user in found]

    assert page("", limit=2) == [ALICE, BOB]
    assert page(BOB, limit=2) == [CAROL]
    assert page("", deactivated=False) == [ALICE, CAROL]
