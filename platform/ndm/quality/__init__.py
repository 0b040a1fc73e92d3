"""How far a sample is from a reference: distances of two sets of images, each with its standard error and its floor."""

FEWEST = 30
"""Images of a sample and of a reference below which nothing is measured."""
