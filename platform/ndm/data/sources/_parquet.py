"""Pictures in Parquet files as Hugging Face keeps them: a column `image`, a struct of bytes and path, and `label`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ndm.data.places import File, printable
from ndm.data.sources._base import Examples, Part, rows_together
from ndm.data.sources._pictures import Form, decode
from ndm.errors import UserError

MOST_ROWS = 2**20
"""Of a row group."""
AT_A_TIME = 64


@dataclass(frozen=True)
class Groups(Part):
    """Some neighbouring row groups of a file."""

    file: File
    groups: tuple[int, ...]
    count: int
    form: Form
    classes: int

    @property
    def rows(self) -> int:
        return self.count

    def read(self) -> Examples:
        raw, labels = np.empty((self.count, *self.form.shape), np.uint8), np.empty(self.count, np.int64)
        row = 0
        with parquet(self.file) as file:
            for group in self.groups:
                for image, label in _rows(file, group):
                    where, content, number = f"Row {row} of {self.file}", image.as_py(), label.as_py()
                    content = content and content["bytes"]
                    if not content or not isinstance(number, int) or not 0 <= number < self.classes:
                        raise UserError(
                            f"{where} has the label {number} and {len(content or b'')} bytes of a picture, expected "
                            f"a label from 0 to {self.classes - 1} and a picture; fetch the file again."
                        )
                    raw[row], labels[row] = decode(content, self.form, where), number
                    row += 1
        if row != self.count:
            raise UserError(f"{self.file} has {row} rows where it announces {self.count}; fetch it again.")
        return Examples(raw, labels)


def parts(file: File, form: Form, classes: int) -> list[Groups]:
    """Parts of neighbouring row groups, with as many rows as are held together, or of one group.

    Raises:
        UserError: it is not such a file.
    """
    with parquet(file) as content:
        schema = content.schema_arrow
        struct = schema.field("image").type if "image" in schema.names else None
        columns = printable(", ".join(schema.names))
        if struct is None or not pa.types.is_struct(struct) or "bytes" not in [f.name for f in struct]:
            raise UserError(f"{file} has no column image with bytes in it; its columns are {columns}.")
        if "label" not in schema.names or not pa.types.is_integer(schema.field("label").type):
            raise UserError(f"{file} has no column label of whole numbers; its columns are {columns}.")
        most = max((content.metadata.row_group(k).num_rows for k in range(content.num_row_groups)), default=0)
        if most > MOST_ROWS or most > file.size:
            raise UserError(f"{file} announces {most} rows in one group, more than it can hold; fetch it again.")
        sizes = [content.metadata.row_group(k).num_rows for k in range(content.num_row_groups)]
    runs, most = list[list[int]](), rows_together(form.shape, 256)
    for group, size in enumerate(sizes):
        if size == 0:
            continue
        if runs and sum(sizes[k] for k in runs[-1]) + size <= most:
            runs[-1].append(group)
        else:
            runs.append([group])
    return [Groups(file, tuple(run), sum(sizes[k] for k in run), form, classes) for run in runs]


def _rows(file: pq.ParquetFile, group: int) -> Iterator[tuple[Any, Any]]:
    """A few rows at a time: in a dictionary, few bytes stand for many rows of large ones."""
    columns = ["image.bytes", "label"]
    for batch in file.iter_batches(AT_A_TIME, row_groups=[group], columns=columns, use_threads=False):
        yield from zip(batch.column("image"), batch.column("label"), strict=True)


@contextmanager
def parquet(file: File) -> Iterator[Any]:
    """The Parquet file; UserError where it is none or damaged."""
    with file.open() as stream:
        try:
            yield pq.ParquetFile(stream)
        except pa.ArrowException:
            raise UserError(f"{file} is not a whole Parquet file; fetch it again.") from None
