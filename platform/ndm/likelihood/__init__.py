"""Likelihood estimates per example, in nats, each with the name of its recipe."""
