"""A data set, and the search for it."""

from __future__ import annotations

from dataclasses import dataclass

from kfc_bench.errors import UserError
from kfc_bench.problems.found import Found, Source
from kfc_bench.problems.hub import HubSet
from kfc_bench.problems.places import VARIABLE, search_folders
from kfc_bench.problems.sources import Layout


@dataclass(frozen=True)
class DataSet:
    """A data set, wherever it may lie.

    Attributes:
        name: What it is called here.
        layouts: Its published files, in each of their formats.
        hub: Its copy on the hub.
        origin: In words, where it is published and which files are needed.
    """

    name: str
    layouts: tuple[Layout, ...]
    hub: HubSet
    origin: str

    def search(self) -> Found | None:
        """Return the first that is found, folder by folder, or nothing.

        Raises:
            UserError: The folder that the user named does not exist.
        """
        sources: tuple[Source, ...] = (*self.layouts, self.hub)
        for root in search_folders():
            for source in sources:
                found = source.find(root)
                if found is not None:
                    return found
        return None

    def find(self) -> Found:
        """Return the first that is found.

        Raises:
            UserError: There is none.
        """
        found = self.search()
        if found is None:
            looked = ", ".join(map(str, search_folders()))
            raise UserError(f"data set {self.name!r} is not in {looked}: {self.how_to_get}")
        return found

    @property
    def how_to_get(self) -> str:
        """What the user can do, in words."""
        return f"{self.origin}, into a folder that {VARIABLE} names; or kfc-bench data fetch {self.name}"

    @property
    def train(self) -> int:
        """Training images of what is found; of the required files where nothing is."""
        found = self.search()
        return sum(part.images for part in self.layouts[0].train) if found is None else found.train
