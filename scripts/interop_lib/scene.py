"""Who takes part, and the steps that they go through."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from interop_lib.clients import Client


class SkippedError(Exception):
    """The step asks for something that the room's version, or a server, does not have."""


@dataclass
class Scene:
    """Rooms of one version that live on the resident server, and are joined from the other.

    `alice` and `dora` are users of the resident server, `bob` and `carol` of the other.
    """

    version: str
    tag: str
    """Makes names unique."""
    alice: Client
    dora: Client
    bob: Client
    carol: Client
    rooms: dict[str, str] = field(default_factory=dict)
    """Room IDs, by what the room is for."""
    history: list[str] = field(default_factory=list)
    """Messages from before anybody joined."""

    @property
    def clients(self) -> list[Client]:
        return [self.alice, self.dora, self.bob, self.carol]

    @property
    def main(self) -> str:
        """The public room, in which most happens."""
        return self.rooms["main"]


StepFunction = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Step:
    """Something to try. `needs` names the steps without whose success it makes no sense."""

    name: str
    work: StepFunction
    needs: tuple[str, ...]
    from_version: int


STEPS: dict[str, Step] = {}
"""All steps, in the order in which they are tried."""


def step(name: str, *needs: str, from_version: int = 1) -> Callable[[StepFunction], StepFunction]:
    """Add a step."""

    def add(work: StepFunction) -> StepFunction:
        unknown = [need for need in needs if need not in STEPS]
        assert not unknown, unknown
        STEPS[name] = Step(name, work, needs, from_version)
        return work

    return add
