"""Pickles in files of the published formats: those that are data are read, and no other is ever loaded."""

import codecs
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import originals
import pytest
from sources import sentence, source

from ndm.data.sources import _pickles


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def payloads(victim: Path) -> dict[str, bytes]:
    import builtins
    import os
    import posix
    import subprocess

    command = f"touch {victim}"
    dtype, marker = np.dtype, np.ndarray
    reconstruct = np.zeros(1).__reduce__()[0]
    made = {
        "os.system": Call(os.system, command),
        "posix.system": Call(posix.system, command),
        "builtins.eval": Call(builtins.eval, f"open({str(victim)!r}, 'w')"),
        "builtins.exec": Call(builtins.exec, f"open({str(victim)!r}, 'w')"),
        "subprocess.Popen": Call(subprocess.Popen, ["touch", str(victim)]),
        "a chain of getattr": Call(getattr, Call(__import__, "os"), "system"),
        "open": Call(open, str(victim), "w"),
        "numpy.load": Call(np.load, str(victim)),
        "an array of objects": np.array([Call(os.system, command)], object),
        "the type of objects": Call(dtype, "O"),
        "a type of fields": Call(dtype, [("a", "O")]),
        "a type of odd arguments": Call(dtype, "u1", 7, 8),
        "an array of another class": Call(reconstruct, dict, (0,), b"b"),
        "an array of another size": Call(reconstruct, marker, (10**9,), b"b"),
        "an array of objects, made": Call(reconstruct, marker, (0,), b"O"),
        "an array made directly": Call(marker, (2,), "O"),
        "another encoding": Call(codecs.encode, "a", "rot13"),
        "an import by its encoding": Call(codecs.decode, b"x", "bz2"),
    }
    path, text = str(victim).encode(), f"touch {victim}".encode()
    array = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
    type_ = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
    raw = {
        "numpy.testing": b"cnumpy.testing._private.utils\nrunstring\n(S'import os'\n}tR.",
        "a name by STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(text)]) + text + b"\x85R.",
        "a dotted name by STACK_GLOBAL": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
        "a name of two memos": b"\x80\x04\x8c\x06system\x94\x8c\x02os\x94h\x01h\x00\x93\x94.",
        "a name that is no text": b"\x80\x04K\x01K\x02\x93.",
        "INST": b"(S'" + text + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'" + text + b"'\no.",
        "NEWOBJ": b"\x80\x02cnumpy\nndarray\n)\x81.",
        "an extension": b"\x80\x02\x82\x01.",
        "a persistent number": b"Pnumber\n.",
        "a buffer": b"\x80\x05\x97.",
        "a state for a function": b"cnumpy\ndtype\n}S'_call'\nNsb.",
        "a state in slots for a function": b"cnumpy\ndtype\nN}S'_call'\nNs\x86b.",
        "an array of a negative shape": b"}U\x04data" + array + b"(K\x01(J\xff\xff\xff\xfft" + type_ + b"\x89U\x00tbs.",
        "an array of another length": b"}U\x04data" + array + b"(K\x01(K\x02t" + type_ + b"\x89U\x01xtbs.",
        "a type with fields in its state": b"}U\x04data" + type_ + b"(K\x03U\x01|NU\x01aU\x01bK\x00K\x00K\x00tbs.",
        "a type in place of data": b"}U\x04data" + type_ + b"s.",
        "a memo that fills the memory": b"\x80\x02}r\xff\xff\xff\x7f.",
        "a length that fills the memory": b"\x80\x04\x8e" + struct.pack("<Q", 2**50) + b"x.",
        "a list in place of a dictionary": b"]" + b".",
        "nothing": b"",
        "text": b"hello" + path,
        "an array without a state": b"}U\x04data" + array + b"s.",
    }
    dumped = {
        f"{name}, protocol {p}": pickle.dumps({"data": v}, protocol=p) for name, v in made.items() for p in (2, 4)
    }
    return dumped | raw


NAMES = payloads(Path("x"))


@pytest.mark.parametrize("name", NAMES)
def test_a_malicious_pickle_does_nothing_and_is_refused(name, tmp_path):
    victim = tmp_path / "executed"
    content = payloads(victim)[name]
    sentence(lambda: _pickles.load(content, "data_batch_1"), "data_batch_1", "pickle")
    assert not victim.exists()


def test_a_malicious_pickle_inside_a_data_set_is_refused(tmp_path):
    import os

    for kind, write, name in (
        ("cifar10", originals.cifar10_pickled(pickle.dumps), "cifar-10-batches-py/data_batch_2"),
        ("imagenet_chrabaszcz", originals.chrabaszcz_pickled, "train_data_batch_1"),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        written = write(folder)
        (folder / name).write_bytes(pickle.dumps({"data": Call(os.system, f"touch {tmp_path}/executed")}, protocol=2))
        text = sentence(source(kind, **written.keys).open, Path(name).name, "system", "not loaded")
        assert "posix" in text
    assert not (tmp_path / "executed").exists()


def test_a_pickle_without_labels_or_images_is_a_sentence(tmp_path):
    data = np.zeros((3, 3072), np.uint8)
    for batch, word in (
        ({"data": data}, "no labels"),
        ({"data": data, "labels": [1, "a", 3]}, "no labels"),
        ({"data": data, "labels": [1, -2, 3]}, "no labels"),
        ({"labels": [1]}, "under data"),
        ({"data": data.astype(np.float32), "labels": [1, 2, 3]}, "float32 [3, 3072]"),
        ({"data": data, "labels": [1, 2]}, "3 images and 2 labels"),
        ({"data": data[:0], "labels": []}, "no images"),
    ):
        (tmp_path / "val_data").write_bytes(pickle.dumps(batch, protocol=3))
        (tmp_path / "train_data_batch_1").write_bytes(pickle.dumps(batch, protocol=3))
        config = source("imagenet_chrabaszcz", path=str(tmp_path), originals=False, held_out=1)
        sentence(config.open, "train_data_batch_1", word)
