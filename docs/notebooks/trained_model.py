# %% [markdown]
# # A trained model in a notebook
#
# What `ndm export` wrote is a folder; this needs the folder, `ndm` and matplotlib, and neither Ray nor MLflow. The file
# of this page, `docs/notebooks/trained_model.py`, opens as a notebook in Jupyter and in editors that know `# %%`.

# %%
import matplotlib.pyplot as plt
import torch

import ndm

model = ndm.load("exports/RUN")
print(model)

# %% [markdown]
# ## Samples
#
# Sample i is a function of (seed, i): the same eight in any batch, on any machine, and by another sampler from the same
# latents.

# %%
ancestral = model.sample(8, seed=3)
heun = model.sample(8, seed=3, sampler={"kind": "heun", "steps": 20})

# %%
figure, axes = plt.subplots(2, 8, figsize=(8, 2.2))
for row, images in zip(axes, (ancestral, heun), strict=True):
    for axis, image in zip(row, images, strict=True):
        axis.imshow(image[0], cmap="gray", vmin=0, vmax=model.levels - 1)
        axis.axis("off")

# %% [markdown]
# ## The forward process
#
# `process.transform(x, t)` is F; x is the data on the model's scale, from −1 to 1. At t = 0 it is x, whatever was
# learned.

# %%
x = model.objective.model.decoder.encode(ancestral[:1])
times = torch.linspace(0, 1, 8)
with torch.no_grad():
    f, d_f = model.process.transform.dual(x.repeat(8, 1, 1, 1), times)
change = (f - x).square().mean((1, 2, 3)).sqrt()
assert change[0] == 0
print(change)

# %%
figure, axes = plt.subplots(1, 8, figsize=(8, 1.2))
for axis, image, t in zip(axes, f, times, strict=True):
    axis.imshow(image[0], cmap="gray", vmin=-1, vmax=1)
    axis.set_title(f"t = {t:.2f}", fontsize=8)
    axis.axis("off")

# %% [markdown]
# ## Likelihoods
#
# The bound of the samples and of noise of the same levels, with the same noise for both. A model that has learned
# something tells them apart.

# %%
noise = torch.randint(0, model.levels, ancestral.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
own = model.likelihood(ancestral, "elbo_cont_k16")
other = model.likelihood(noise, "elbo_cont_k16")
for name, found in (("samples", own), ("noise", other)):
    print(f"{name} {found.mean.value:.2f} ± {found.mean.error:.2f} bits/dim")
