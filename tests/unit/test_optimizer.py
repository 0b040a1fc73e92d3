"""The learning rate as a function of the examples seen."""

import math

import pytest
import torch

from ndm.training.optimizer import OptimizerConfig


def test_warm_up_is_linear_from_zero():
    config = OptimizerConfig(lr=0.4, warmup=1000)
    assert [config.rate(at, 10_000) for at in (0, 250, 500, 999, 1000, 9000)] == pytest.approx(
        [0, 0.1, 0.2, 0.3996, 0.4, 0.4]
    )


def test_cosine_falls_to_zero_at_the_end():
    """After the warm-up lr (1 + cos(pi p)) / 2, p from 0 to 1 at the last example; and stays there."""
    config = OptimizerConfig(lr=2.0, warmup=200, decay="cosine")
    quarter = 1 + math.cos(math.pi / 4)
    expected = [1, 2, quarter, 1, 0, 0]
    assert [config.rate(at, 1000) for at in (100, 200, 400, 600, 1000, 1200)] == pytest.approx(expected, abs=1e-12)


def test_without_warm_up_the_first_step_is_a_whole_one():
    assert OptimizerConfig(lr=0.3, warmup=0).rate(1, 10) == 0.3
    assert OptimizerConfig(lr=0.3, warmup=0, decay="cosine").rate(0, 10) == 0.3


def test_a_warm_up_as_long_as_the_training_does_not_divide_by_zero():
    config = OptimizerConfig(lr=1.0, warmup=100, decay="cosine")
    assert config.rate(50, 100) == 0.5
    assert 0 <= config.rate(100, 100) <= 1


def test_adamw_has_the_keys_of_the_config():
    module = torch.nn.Linear(2, 2)
    optimizer = OptimizerConfig(lr=0.1, beta1=0.8, beta2=0.95, weight_decay=0.02).build(module)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.1, (0.8, 0.95), 0.02)
    assert group["params"] == list(module.parameters())
