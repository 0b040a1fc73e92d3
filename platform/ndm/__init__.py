"""Neural Diffusion Models: learned forward processes, their bounds, likelihoods, samplers, and running them."""

__version__ = "0.1.0"
