"""Neural Diffusion Models: learned forward processes, their bounds, likelihoods and samplers, and running them at scale."""

__version__ = "0.1.0"
