"""Many clients that claim one-time keys at the same time."""

import os
import random
from collections import Counter
from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred, gatherResults

from tests.api.server import Client
from tests.key_holders import CLAIM, SIGNED, UPLOAD, device_of

CLAIMS = int(os.environ.get("HOMESERVER_TEST_CLAIMS", "500"))
"""Ten thousand are for a thorough test by hand."""

DEVICES = 10
AT_ONCE = 64


@attrs.define(eq=False)
class Claims:
    """The keys of some devices, and which of them have been handed out in how many claims."""

    holders: list[Client]
    keys: dict[str, set[str]] = attrs.field(factory=dict)
    handed_out: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    answered: int = 0
    unanswered: int = 0
    is_over: bool = False
    on_answer: Callable[[int], None] = lambda count: None

    async def upload(self) -> None:
        """As many keys as there will be claims."""
        for holder in self.holders:
            device, number = device_of(holder), CLAIMS // len(self.holders)
            names = [f"{index:05}" for index in range(number)]
            body = {"device_keys": device.keys(), "one_time_keys": device.one_time_keys(*names[:50])}
            (await holder.post(UPLOAD, body)).ok()
            for start in range(50, number, 500):
                part = {
                    f"{SIGNED}:{name}": {"key": name, "signatures": {}} for name in names[start : start + 500]
                }
                (await holder.post(UPLOAD, {"one_time_keys": part})).ok()
            self.keys[holder.user_id] = {f"{SIGNED}:{name}" for name in names}

    async def claim_all(self, claimants: Sequence[Client], chance: random.Random) -> None:
        """One key in a claim, until there have been as many claims as keys, or it is over."""
        targets = [holder for holder in self.holders for _ in self.keys[holder.user_id]]
        chance.shuffle(targets)

        async def claim(number: int) -> None:
            while targets and not self.is_over:
                await self._claim(claimants[number % len(claimants)], targets.pop())

        await gatherResults([Deferred.fromCoroutine(claim(number)) for number in range(AT_ONCE)])

    async def _claim(self, claimant: Client, holder: Client) -> None:
        body = {"one_time_keys": {holder.user_id: {holder.device_id: SIGNED}}}
        try:
            answer = await claimant.post(CLAIM, body)
        except Exception:  # a server that is stopped breaks off in many ways
            if not self.is_over:
                raise
            self.unanswered += 1
            return
        if answer.status == 503 and self.is_over:
            self.unanswered += 1
            return
        given = answer.ok()["one_time_keys"]
        for name in given.get(holder.user_id, {}).get(holder.device_id, {}):
            self.handed_out[holder.user_id, name] += 1
        self.answered += 1
        self.on_answer(self.answered)

    def check(self, left: int) -> None:
        """No key has been handed out twice, and none is gone but for claims that nobody heard the answer of."""
        twice = [key for key, times in self.handed_out.items() if times > 1]
        assert not twice
        uploaded = {(user_id, name) for user_id, names in self.keys.items() for name in names}
        assert self.handed_out.keys() <= uploaded
        lost = len(uploaded) - len(self.handed_out) - left
        print(f"{self.answered} claims answered, {self.unanswered} not; {lost} keys with them; {left} left")
        assert 0 <= lost <= self.unanswered


async def counts(holders: Sequence[Client]) -> int:
    """How many keys the devices have left."""
    left = 0
    for holder in holders:
        left += (await holder.post(UPLOAD, {})).ok()["one_time_key_counts"].get(SIGNED, 0)
    return left
