"""ILSVRC2012 (ImageNet, 1000 classes) from its pictures: 1,281,167 training and 50,000 validation images, made small.

O. Russakovsky et al. (arXiv 1409.0575). A picture becomes the centred square of its shorter side, resampled to size x
size; with `box`, the default, by averages; see `_pictures`. These are not the pixels of `imagenet_oord` or
`imagenet_chrabaszcz`. A label is the place of the class among the sorted synsets (n01440764 is 0). `path` is

- form=tar: the folder of ILSVRC2012_img_train.tar (a tar of a tar for each class), ILSVRC2012_img_val.tar and the
  labels of the validation images, one a line in the order of their names: synsets, or the numbers of
  ILSVRC2012_validation_ground_truth.txt together with a file synsets.txt that has the synset of number k in line k.
- form=parquet: the folder of train-*.parquet and validation-*.parquet as on Hugging Face, with the columns image (a
  struct of bytes and path) and label.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndm.data import places
from ndm.data.places import File
from ndm.data.sources import _parquet, _pictures
from ndm.data.sources._base import Opened, Part
from ndm.data.sources._flips import Flipped
from ndm.data.sources._pictures import Filter, Form
from ndm.data.sources._published import Published, missing
from ndm.data.sources._stores import Member, Tar
from ndm.errors import UserError

CLASSES = 1000
ROWS = {"training": 1_281_167, "validation": 50_000}
TRAIN, VALIDATION = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
LABELS = ("ILSVRC2012_validation_ground_truth.txt", "imagenet_2012_validation_synset_labels.txt")
SYNSETS = "synsets.txt"
PARQUET = r"(train|validation)-.*\.parquet"


class Config(Published, Flipped):
    kind: Literal["imagenet"] = "imagenet"
    size: int = Field(default=64, gt=0, le=512)
    """Pixels of a side."""
    filter: Filter = "box"
    """How pictures are resampled; see `_pictures`."""
    form: Literal["tar", "parquet"] = "tar"
    """Of the files; as they count the rows in another order, the two are two data sets."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, self.size, self.size)

    @property
    def levels(self) -> int:
        return 256

    @property
    def title(self) -> str:
        return f"imagenet{self.size}-{self.filter}-{self.form}"

    def files(self) -> Mapping[str, File]:
        wanted = "train-*.parquet and validation-*.parquet" if self.form == "parquet" else f"{TRAIN} and {VALIDATION}"
        place = places.place(self.path, f"the folder of {wanted}")
        there = {file.name: file for file in place.files(depth=1).values()} if place.kind() == "folder" else {}
        if self.form == "parquet":
            found = {name: file for name, file in there.items() if re.fullmatch(PARQUET, name)}
            if len({name.partition("-")[0] for name in found}) < 2:
                raise missing(place, "train-*.parquet and validation-*.parquet")
            return dict(sorted(found.items()))
        found = {name: there[name] for name in (TRAIN, VALIDATION, *LABELS, SYNSETS) if name in there}
        for needed in (TRAIN, VALIDATION):
            if needed not in found:
                raise missing(place, needed)
        if not set(LABELS) & found.keys():
            raise missing(place, f"labels of the validation images ({' or '.join(LABELS)})")
        return found

    def open(self) -> Opened:
        form = Form(self.size, crop="centre", filter=self.filter)
        parts, rows, counts = (self._parquet if self.form == "parquet" else self._tar)(form)
        for split, count in zip(ROWS, counts, strict=True):
            self.require(self.path, f"the number of {split} images", count, ROWS[split])
        return Opened(parts, {split: rows[numbers] for split, numbers in self.splits(*counts).items()})

    def _parquet(self, form: Form) -> tuple[list[Part], NDArray[np.int64], tuple[int, int]]:
        files, parts, counts = self.files(), list[Part](), {"train": 0, "validation": 0}
        for name, file in files.items():
            here = _parquet.parts(file, form, CLASSES)
            counts[name.partition("-")[0]] += sum(part.rows for part in here)
            parts += here
        return parts, np.arange(sum(counts.values())), (counts["train"], counts["validation"])

    def _tar(self, form: Form) -> tuple[list[Part], NDArray[np.int64], tuple[int, int]]:
        files, parts, rows = self.files(), list[Part](), list[NDArray[np.int64]]()
        train, validation = Tar(files[TRAIN]), Tar(files[VALIDATION])
        classes = by_class(train)
        self.require(train, "the number of classes", len(classes), CLASSES)
        synsets = {synset: number for number, synset in enumerate(sorted(classes))}
        members = [member for inside in classes.values() for member in inside]
        labels = np.repeat([synsets[synset] for synset in classes], [len(inside) for inside in classes.values()])
        held = [member for member in validation.members() if member.name.lower().endswith(_pictures.SUFFIXES)]
        for store, found, numbers in (
            (train, members, labels.astype(np.int64)),
            (validation, held, self._held_labels(files, held, synsets)),
        ):
            if not found:
                raise UserError(f"{store} has no images; fetch it again, or give another folder as data.path=...")
            parts += _pictures.parts(store, found, numbers, form)
            rows.append(sum(map(len, rows)) + _pictures.by_name([member.name for member in found], store))
        return parts, np.concatenate(rows), (len(members), len(held))

    def _held_labels(
        self, files: Mapping[str, File], held: Sequence[Member], synsets: Mapping[str, int]
    ) -> NDArray[np.int64]:
        """Of the validation images, in the order they lie in."""
        file = next(files[name] for name in LABELS if name in files)
        words = lines(file)
        if len(words) != len(held):
            raise UserError(f"{file} has {len(words)} labels for {len(held)} validation images; fetch both again.")
        if all(word.isdecimal() for word in words):
            if SYNSETS not in files:
                raise UserError(
                    f"{file} has numbers, which the sorted synsets do not follow: put beside it a file {SYNSETS} with "
                    "the synset of number k in line k (from the development kit), or a file of synsets in its place."
                )
            names = dict(enumerate(lines(files[SYNSETS]), start=1))
            words = [names.get(int(word), word) for word in words]
        if unknown := set(words) - synsets.keys():
            raise UserError(
                f"{file} has the label {places.printable(min(unknown))[:40]}, of which there are no training images."
            )
        labels = np.empty(len(held), np.int64)
        order = _pictures.by_name([member.name for member in held], Tar(files[VALIDATION]))
        labels[order] = [synsets[word] for word in words]
        each = sorted(set(np.bincount(labels, minlength=CLASSES).tolist()))
        self.require(file, "the numbers of images of a class", each, [ROWS["validation"] // CLASSES])
        return labels


def by_class(train: Tar) -> dict[str, list[Member]]:
    """The images of each synset, which lie in a tar of their own inside the tar.

    Raises:
        UserError: something else is in it.
    """
    classes: dict[str, list[Member]] = {}
    for member in train.members():
        match = re.fullmatch(r"(n\d{8})\.tar", member.base)
        if match is None or match[1] in classes:
            raise UserError(f"{train} has {member.base[:60]!r} in it, expected one tar of each synset; fetch it again.")
        classes[match[1]] = train.members(member.offset)
    return classes


def lines(file: File) -> list[str]:
    """The first word of each line of a text."""
    try:
        return [line.split()[0] for line in file.read().decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise UserError(f"{file} is not a text in UTF-8; fetch it again.") from None
