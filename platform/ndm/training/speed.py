"""How much of a device a training uses (model FLOPs utilisation, Chowdhery et al., PaLM, arXiv 2204.02311, app. B)."""

import torch

PEAK_TERAFLOPS = {"A100": 19.5, "H100": 66.9, "H200": 66.9}
"""Dense peak of matrix products in fp32 without tensor cores, by a part of the device's name (the makers' sheets)."""


def peak_flops(device: torch.device, devices: int) -> float | None:
    """FLOPs per second that so many of the device can do together; None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((devices * 1e12 * value for known, value in PEAK_TERAFLOPS.items() if known in name), None)


def of(flops_per_second: float, peak: float | None) -> dict[str, float]:
    """Metrics of a rate; FLOPs are those of `ndm.evaluation.cost`, nothing that is computed again counts twice."""
    found = {"train/teraflops_per_second": flops_per_second / 1e12}
    return found | ({"train/flops_utilisation": flops_per_second / peak} if peak else {})
