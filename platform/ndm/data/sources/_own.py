"""What the sources of a user's own files share: splits by the files or drawn, and a version that tells the content."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndm.data import places
from ndm.data.permutation import permutation
from ndm.data.places import File
from ndm.data.sources._published import SEED, Located
from ndm.errors import UserError


class Own(Located):
    """Files whose identity is their content."""

    held_out: int | None = Field(default=None, gt=0)
    """Examples of the split "validation", where the files do not make it; by default a tenth, at least one."""
    test: int | None = Field(default=None, gt=0)
    """Examples of the split "test", where the files do not make it; by default a tenth, at least one."""

    def version(self, files: Mapping[str, File], *about: object) -> str:
        """Of these files, with all that decides what is made of them."""
        drawn = ("tenth" if size is None else size for size in (self.held_out, self.test))
        return "-".join(map(str, (places.fingerprint(files), *about, *drawn)))

    def rows(self, counts: Mapping[str, int]) -> Mapping[str, NDArray[np.int64]]:
        """Row numbers of the splits, of files with so many rows one after another: {"data": N} or by split.

        Raises:
            UserError: too few are left to train on.
        """
        begins = dict(zip(counts, np.cumsum([0, *counts.values()])[:-1].tolist(), strict=True))
        own = {split: begins[split] + np.arange(count) for split, count in counts.items() if split != "data"}
        pool = own.get("train", np.arange(counts.get("data", 0)))
        pool = pool[permutation(len(pool), "held out", "own", SEED)]
        taken = 0
        for split, asked in (("validation", self.held_out), ("test", self.test)):
            if split not in own:
                size = max(1, len(pool) // 10) if asked is None else asked
                own[split], taken = pool[taken : taken + size], taken + size
        if taken >= len(pool):
            raise UserError(
                f"{len(pool)} examples are too few to hold out {taken} of them and to train on the rest; give smaller "
                "data.held_out=... and data.test=..."
            )
        return {"train": pool[taken:], "validation": own["validation"], "test": own["test"]}
