"""A DataLoader over a memory-mapped array that gathers a whole batch at once: the floor of what reading can cost."""

import sys
from collections.abc import Iterable, Iterator

import measure
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class Images(Dataset[Tensor]):
    def __init__(self, path: str) -> None:
        self.images = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, index: list[int]) -> Tensor:
        return torch.from_numpy(self.images[np.sort(index)])


def epochs(task: measure.Task) -> Iterator[Iterable[Tensor]]:
    loader = DataLoader(
        Images(task.source),
        batch_size=measure.BATCH,
        shuffle=True,
        num_workers=task.workers,
        collate_fn=lambda batch: batch,  # already one tensor
    )
    while True:
        yield loader


if __name__ == "__main__":
    task = measure.asked(sys.argv[1])
    measure.answer(measure.follow(task, epochs(task)))
