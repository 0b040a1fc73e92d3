"""webdataset: tars of 4096 images, shuffled as tars and within a buffer of 4096, turned into arrays by the batch."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import measure
import numpy as np
import torch
import webdataset  # pyright: ignore[reportMissingImports]  # one of the peers
from torch import Tensor

PER_TAR = 4096
BUFFER = 4096


def write(task: measure.Task) -> None:
    images = np.load(task.source, mmap_mode="r")
    for first in range(0, len(images), PER_TAR):
        with webdataset.TarWriter(f"{task.folder}/{first // PER_TAR:05d}.tar") as tar:
            for number in range(first, min(first + PER_TAR, len(images))):
                tar.write({"__key__": f"{number:09d}", "x": images[number].tobytes()})


def stacked(contents: list[tuple[bytes]]) -> Tensor:
    """The images of a batch, in one copy."""
    content = bytearray(b"".join(item[0] for item in contents))
    return torch.frombuffer(content, dtype=torch.uint8).reshape(-1, *measure.SHAPE)


def epochs(task: measure.Task) -> Iterator[Iterable[Tensor]]:
    tars = sorted(map(str, Path(task.folder).glob("*.tar")))
    data = webdataset.WebDataset(tars, shardshuffle=len(tars), empty_check=False).shuffle(BUFFER).to_tuple("x")
    data = data.batched(measure.BATCH, collation_fn=stacked)
    loader = webdataset.WebLoader(data, batch_size=None, num_workers=task.workers)
    while True:
        yield loader


if __name__ == "__main__":
    task = measure.asked(sys.argv[1])
    if task.action == "write":
        write(task)
        measure.answer({"version": webdataset.__version__})
    else:
        measure.answer(measure.follow(task, epochs(task)))
