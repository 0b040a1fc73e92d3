"""Reads the pickles in which some data sets were published, and nothing else that a pickle can do.

Such a file is a dictionary of texts, numbers, lists and arrays of numbers. Two gates stand before it. First its opcodes
are walked without being executed, and those that these files have no use for are refused. Then it is loaded with the
handful of names that an array is written with, each of which stands for a function of ours that checks what it is
given: no function or class of numpy, and of nothing else, is ever called by a pickle.
"""

import io
import pickle
import pickletools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndm.errors import UserError

OPCODES = {
    *("PROTO", "FRAME", "STOP", "MARK", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "NONE", "NEWTRUE", "NEWFALSE"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
}
MOST_MEMOS = 2**22
"""A memo's number decides how much memory is set aside for all of them."""
TYPES = ("u1", "i4", "i8", "f4", "f8")
ORDERS = ("|", "<", "=", None)


class _Refused(Exception):
    """Something that these files do not contain."""


class _Array:
    """An array on its way: empty until it is given its state."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        match state:
            case (1, tuple() as shape, _Type() as type_, False, bytes() | str() as raw):
                raw = raw.encode("latin1") if isinstance(raw, str) else raw
                dtype = np.dtype(f"<{type_.name}")
                if not all(type(n) is int and n >= 0 for n in shape) or type_.name not in TYPES:
                    raise _Refused("an array of an odd shape or type")
                self.value = np.frombuffer(raw, dtype).reshape(shape)
            case _:
                raise _Refused("an array that is not one of plain numbers")


class _Type:
    """The type of an array's numbers."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) == 8 and _text(state[1]) in ORDERS and not any(state[2:5])):
            raise _Refused("a type of numbers in an odd order")


class _Name:
    """What stands for a name that these files use: it can be called, and nothing else can be done to it."""

    __slots__ = ("_call",)

    def __init__(self, call: Any) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("a change of a function")


def _text(value: Any) -> Any:
    return value.decode("latin1") if isinstance(value, bytes) else value


def _never(*arguments: Any) -> Any:
    raise _Refused("an array made directly")


def _reconstruct(*arguments: Any) -> _Array:
    if len(arguments) != 3 or arguments[0] is not NDARRAY or arguments[1] != (0,) or _text(arguments[2]) != "b":
        raise _Refused("an array made in an odd way")
    return _Array()


def _dtype(*arguments: Any) -> _Type:
    if not arguments or _text(arguments[0]) not in TYPES or any(a not in (0, 1) for a in arguments[1:]):
        raise _Refused("an array of other things than numbers")
    return _Type(_text(arguments[0]))


def _encode(*arguments: Any) -> bytes:
    if len(arguments) != 2 or not isinstance(arguments[0], str) or _text(arguments[1]) != "latin1":
        raise _Refused("a text in an odd encoding")
    return arguments[0].encode("latin1")


NDARRAY = _Name(_never)
NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _Name(_reconstruct),
    ("numpy._core.multiarray", "_reconstruct"): _Name(_reconstruct),
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): _Name(_dtype),
    ("_codecs", "encode"): _Name(_encode),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in NAMES:
            raise _Refused(f"the name {module}.{name}")
        return NAMES[module, name]


def load(content: bytes, where: str) -> dict[str, Any]:
    """The dictionary in a pickle, with its texts as str and its arrays as arrays, which cannot be written to.

    Raises:
        UserError: naming `where` it came from: it is no pickle, or has something that these files do not contain.
    """
    try:
        _walk(content)
        found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(found, dict):
            raise _Refused("no dictionary")
        return {_text(key): _plain(value) for key, value in found.items() if isinstance(key, str | bytes)}
    except _Refused as refused:
        # Of the name, only what can be shown; it is the file's word.
        found = str(refused) if str(refused).isprintable() else "a name that cannot be shown"
        raise UserError(
            f"{where} is a pickle with {found[:100]}, which the original does not contain: it was not loaded; "
            "fetch the original again, or its version without pickles."
        ) from None
    except MemoryError:
        raise
    except Exception:  # of many types, from a stream of bytes that is anything
        raise UserError(f"{where} is not a whole pickle: it is damaged or of another format; fetch it again.") from None


def _walk(content: bytes) -> None:
    for code, argument, _ in pickletools.genops(content):
        if code.name not in OPCODES:
            raise _Refused(f"the operation {code.name}")
        if "PUT" in code.name and int(argument or 0) > MOST_MEMOS:
            raise _Refused("a memo of a number that is too large")


def _plain(value: Any) -> Any:
    """A value of the dictionary: an array, text, a number or a list."""
    if isinstance(value, _Array):
        if value.value is None:
            raise _Refused("an array that is empty")
        return value.value
    if isinstance(value, _Type | _Name):
        raise _Refused("a function or type in place of data")
    return _text(value)


def table(found: dict[str, Any], key: str, width: int, where: str) -> NDArray[np.uint8]:
    """The images [N, width] under a key; UserError where there are none."""
    value = found.get(key)
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != 2 or value.shape[1] != width:
        what = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        raise UserError(f"{where} has {what} under {key}, expected uint8 images of {width} numbers; fetch it again.")
    if not len(value):
        raise UserError(f"{where} has no images; fetch it again.")
    return value


def labels(found: dict[str, Any], where: str) -> NDArray[np.int64]:
    """The numbers [N] under "labels"; UserError where there are none."""
    value = found.get("labels")
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu":
        numbers = value.astype(np.int64)
    elif isinstance(value, list) and all(type(n) is int and 0 <= n < 2**31 for n in value):
        numbers = np.array(value, np.int64)
    else:
        raise UserError(f"{where} has no labels, or some that are no numbers; fetch it again.")
    if not len(numbers) or numbers.min() < 0:
        raise UserError(f"{where} has no labels, or negative ones; fetch it again.")
    return numbers
