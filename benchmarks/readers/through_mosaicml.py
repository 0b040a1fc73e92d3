"""mosaicml-streaming: MDS shards of 16 MB of raw bytes, in its own shuffled order, stacked by the batch."""

import sys
import types
from collections.abc import Iterable, Iterator

import measure
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

ABSENT = {
    "torchvision.datasets": "VisionDataset",
    "torchvision.transforms.functional": "to_tensor",
    "transformers.feature_extraction_utils": "BatchFeature",
    "transformers.models.auto.tokenization_auto": "AutoTokenizer",
    "transformers.tokenization_utils_base": "BatchEncoding",
}
"""Names that its other classes import. The packages are large, and torchvision's wheel is not for the CPU's torch."""

for name, attribute in ABSENT.items():
    parts = name.split(".")
    for depth in range(len(parts)):
        package = ".".join(parts[: depth + 1])
        module = sys.modules.setdefault(package, types.ModuleType(package))
        module.__path__ = []
    setattr(sys.modules[name], attribute, type(attribute, (), {}))

import streaming  # noqa: E402  # pyright: ignore[reportMissingImports]  # one of the peers
from streaming.base.util import clean_stale_shared_memory  # noqa: E402  # pyright: ignore[reportMissingImports]

SHARD_BYTES = 2**24


def write(task: measure.Task) -> None:
    images = np.load(task.source, mmap_mode="r")
    with streaming.MDSWriter(out=task.folder, columns={"x": "bytes"}, size_limit=SHARD_BYTES) as writer:
        for image in images:
            writer.write({"x": image.tobytes()})


def stacked(items: list[dict[str, bytes]]) -> Tensor:
    """The images of a batch, in one copy."""
    content = bytearray(b"".join(item["x"] for item in items))
    return torch.frombuffer(content, dtype=torch.uint8).reshape(-1, *measure.SHAPE)


def epochs(task: measure.Task) -> Iterator[Iterable[Tensor]]:
    clean_stale_shared_memory()
    data = streaming.StreamingDataset(local=task.folder, shuffle=True, batch_size=measure.BATCH)
    loader = DataLoader(data, batch_size=measure.BATCH, num_workers=task.workers, collate_fn=stacked)
    while True:
        yield loader


if __name__ == "__main__":
    task = measure.asked(sys.argv[1])
    if task.action == "write":
        write(task)
        measure.answer({"version": streaming.__version__})
    else:
        measure.answer(measure.follow(task, epochs(task)))
