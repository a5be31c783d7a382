"""The work of a long command, item by item: what its journal holds is not done again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from calibrate.running.journal import Journal
from headrouter_core.errors import UsageError


class Item(Protocol):
    """What is known by its id, which no other item of a stage has."""

    @property
    def id(self) -> str:
        """The name."""


Some = TypeVar("Some", bound=Item)


@dataclass(frozen=True)
class Work:
    """Stages of items, in one process."""

    journal: Journal
    scope: str = ""
    """Told apart from stages of the same names elsewhere."""
    resumed: set[str] = field(default_factory=set)
    """Ids of the items of which the journal held something when the work began."""

    def within(self, scope: str) -> Work:
        """Return the same work for stages of their own."""
        return replace(self, scope=f"{self.scope}{scope}/")

    def each(
        self,
        stage: str,
        items: Sequence[Some],
        do: Callable[[Some], dict[str, Any]],
        tick: Callable[[], None] = lambda: None,
    ) -> list[dict[str, Any]]:
        """Return what each item comes to, in their order, as a journal gives it back.

        Args:
            stage: known by this name, with the scope, among all stages.
            items: each with an id of its own.
            do: JSON-ready; depends on nothing but the item and what makes the run this run.
            tick: called once an item.

        Raises:
            UsageError: two items have one id.
        """
        found = []
        seen: set[str] = set()
        for item in items:
            if item.id in seen:
                raise UsageError(f"two items of {stage} are called {item.id!r}; leave one out")
            seen.add(item.id)
            name = f"{self.scope}{stage}: {item.id}"
            if name in self.journal.before:
                self.resumed.add(item.id)
            if name not in self.journal.lines:
                self.journal.write({"id": name, **do(item)})
            found.append(self.journal.lines[name])
            tick()
        return found
