"""What matrix-nio clients do together, on one server or on two."""

from pathlib import Path

import nio

from tests.clients.nio_harness import Device, all_step, close, done, encrypted_room


async def converse(alices: str, bobs: str, folder: Path) -> None:
    """Two users with three devices: all read everything, two verify each other by emoji, a fourth device comes."""
    phone = await Device.of(alices, folder, "alice", is_new=True)
    laptop = await Device.of(alices, folder, "alice", is_new=False)
    bob = await Device.of(bobs, folder, "bob", is_new=True)
    devices = [phone, laptop, bob]
    try:
        room_id = await encrypted_room(phone, laptop, bob)
        sent = [await each.say(room_id, f"from {each.key}") for each in devices for _ in range(3)]
        await all_step(devices, lambda: all({*sent} <= each.read.keys() for each in devices), what="messages")

        other = phone.client.device_store[bob.client.user_id][bob.client.device_id]
        await done(phone.client.start_key_verification(other), nio.ToDeviceResponse)

        def are_verified() -> bool:
            back = bob.client.device_store[phone.client.user_id][phone.client.device_id]
            return bool(other.verified and back.verified)

        await all_step(devices, are_verified, what="the verification")
        assert phone.verifications == bob.verifications
        assert len(phone.verifications) == 1

        tablet = await Device.of(bobs, folder, "bob", is_new=False)
        devices.append(tablet)
        await all_step(
            devices,
            lambda: (
                all(each.knows(tablet) for each in (phone, laptop, bob)) and room_id in tablet.client.rooms
            ),
            what="the new device is known",
        )
        more = [await each.say(room_id, f"to the tablet, from {each.key}") for each in devices]
        await all_step(devices, lambda: all({*more} <= each.read.keys() for each in devices), what="more")
        missed = {event_id for each in devices[:3] for event_id in each.undecryptable}
        print(f"undecryptable messages: {len(missed)}")
        assert not missed
        # What was said before it came, it cannot read, and nothing else.
        assert tablet.undecryptable.keys() <= {*sent}
    finally:
        await close(*devices)
