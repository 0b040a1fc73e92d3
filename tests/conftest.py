"""Shared by every test: one thread, so that tests side by side do not fight for the cores."""

import torch

torch.set_num_threads(1)
