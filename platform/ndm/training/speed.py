"""How much of a device a training uses (model FLOPs utilisation, Chowdhery et al., PaLM, arXiv 2204.02311, app. B)."""

import torch

from ndm.training.numerics import Precision

PEAK_TERAFLOPS: dict[str, dict[Precision, float]] = {
    "A100": {"fp32": 19.5, "tf32": 156.0, "bf16": 312.0},
    "H100": {"fp32": 66.9, "tf32": 494.7, "bf16": 989.4},
    "H200": {"fp32": 66.9, "tf32": 494.7, "bf16": 989.4},
}
"""Dense peak of matrix products by a part of the device's name, from the maker's data sheets of the SXM modules."""


def peak_flops(device: torch.device, devices: int, precision: Precision) -> float | None:
    """FLOPs per second that so many of the device can do together; None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((devices * 1e12 * peak[precision] for known, peak in PEAK_TERAFLOPS.items() if known in name), None)


def of(flops_per_second: float, peak: float | None) -> dict[str, float]:
    """Metrics of a rate; FLOPs are those of `ndm.evaluation.cost`, nothing that is computed again counts twice."""
    found = {"train/teraflops_per_second": flops_per_second / 1e12}
    return found | ({"train/flops_utilisation": flops_per_second / peak} if peak else {})
