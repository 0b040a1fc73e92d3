"""How far a sample is from a reference: distances of two sets of images, each with its standard error and its floor."""
