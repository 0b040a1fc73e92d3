"""The 2048 Inception features of published FIDs, by torch-fidelity, from a weights file that the user supplies.

Nothing is downloaded and nothing is unpickled: torch-fidelity's class fetches weights when it is given no file,
and reads a file it is given with an unrestricted pickle. So the file is read here, tensors only, and the class is
handed bytes that were written here from those tensors.
"""

import hashlib
import importlib
import io
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from ndm.errors import UserError
from ndm.quality.features import Extractor

RELEASE = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
FILE = "weights-inception-2015-12-05-6726825d.pth"
HOW = (
    f"install the package with: pip install torch-fidelity, fetch the weights with: curl -LO {RELEASE}{FILE}, "
    "and give that file's path as samples.weights"
)


class Inception(Extractor):
    """Bytes, three channels, enlarged to 299 x 299 in the way of TensorFlow 1; one channel is repeated.

    Raises:
        UserError: the data are not images of integer levels, or the package or the weights are missing or unusable.
    """

    name = "inception"

    def __init__(self, shape: tuple[int, ...], levels: int, weights: Path | None) -> None:
        if len(shape) != 3 or shape[0] not in (1, 3) or levels == 0:
            raise UserError(
                f"The extractor inception takes images of integer levels with 1 or 3 channels, not data of shape "
                f"{shape} with levels = {levels}; use the extractor pixels."
            )
        super().__init__(levels)
        try:
            library: Any = importlib.import_module("torch_fidelity")
        except (ImportError, OSError, RuntimeError) as error:  # the latter two: a torchvision made for another torch
            raise UserError(f"The extractor inception cannot import torch-fidelity ({error}); {HOW}.") from error
        if weights is None or not weights.is_file():
            raise UserError(f"The extractor inception has no weights file ({weights}); {HOW}.")
        trusted = io.BytesIO()
        torch.save(read_tensors(weights), trusted)
        trusted.seek(0)
        try:
            self.network = library.FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=trusted
            )
        except (RuntimeError, TypeError) as error:
            raise UserError(f"The file {weights} holds other tensors than this Inception network's; {HOW}.") from error
        self.digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        """Hash of the weights file, to be recorded beside the metrics; the release's begins with 6726825d."""

    def forward(self, raw: Tensor) -> Tensor:
        return self.network(as_bytes(raw, self.levels).expand(-1, 3, -1, -1))[0]


def as_bytes(raw: Tensor, levels: int) -> Tensor:
    """Levels 0 .. K - 1 spread over 0 .. 255; bytes stay as they are."""
    return (raw.float() * (255 / (levels - 1))).round().to(torch.uint8)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a file of torch.save read without running anything in it.

    Raises:
        UserError: it is damaged or holds anything but tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, SafetensorError, RuntimeError, EOFError) as error:
        raise UserError(f"The file {path} is damaged or holds more than tensors, so it was not read; {HOW}.") from error
