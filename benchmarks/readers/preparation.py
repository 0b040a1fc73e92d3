"""`ndm.data.prepare` of a .npy file in one process: hashed, read, shuffled, and written as verified shards."""

import shutil
import sys
import time
from pathlib import Path

import measure

from ndm.data.prepare import prepare
from ndm.data.sources import arrays

HELD_OUT = 256
"""Images of each of the two other splits."""

if __name__ == "__main__":
    task = measure.asked(sys.argv[1])
    shutil.rmtree(task.folder, ignore_errors=True)
    source = arrays.Config(path=task.source, layout="NCHW", held_out=HELD_OUT, test=HELD_OUT)
    memory = measure.Memory()
    wall, used = time.perf_counter(), time.process_time()
    folder = prepare(source, Path(task.folder))
    measure.answer(
        {
            "folder": str(folder),
            "images": task.images,
            "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - used,
            **memory.close(),
        }
    )
