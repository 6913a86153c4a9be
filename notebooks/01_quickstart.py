# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/berg_jax/blob/main/notebooks/01_quickstart.ipynb)

# %% [markdown]
# # Quickstart
#
# An image goes in, the response of every cortical vertex comes out. This runs on a **demo subject**: its weights are
# synthetic, and what it prefers was planted. For a real subject change the one cell that says which.

# %%
import importlib.util
import subprocess
import sys
from pathlib import Path

# On Colab, or before the first installation. A checkout's folder of that name is found, but has no origin.
if getattr(importlib.util.find_spec("berg_jax"), "origin", None) is None:
    checkout = Path.cwd().parent
    source = checkout.as_uri() if (checkout / "pyproject.toml").exists() else "git+https://github.com/OWNER/berg_jax"
    package = f"berg_jax[demo] @ {source}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import berg_jax

# %%
# %config InlineBackend.figure_formats = ["jpeg"]
BERG_DIR, SUBJECT = "demo", 1  # a real subject: "path/to/berg_dir", 1 to 8

# %% [markdown]
# ## From images to responses
#
# Images are (batch, 3, height, width), RGB, 0 to 255. Responses are in z units, left hemisphere first.

# %%
images = np.concatenate([berg_jax.demo.images("faces", 8), berg_jax.demo.images("places", 8)])
_, axes = plt.subplots(2, 8, figsize=(8, 2.1), layout="constrained")
for axis, image in zip(axes.flat, images, strict=True):
    axis.imshow(image.transpose(1, 2, 0))
    axis.axis("off")

# %%
subject = berg_jax.Subject(BERG_DIR, SUBJECT)
model = subject.model()
responses = np.asarray(model(images))
responses.shape

# %% [markdown]
# ## On the cortex

# %%
difference = responses[:8].mean(axis=0) - responses[8:].mean(axis=0)
areas = {name: subject.vertices(name) for name in ("FFA-1", "PPA")}
note = "SYNTHETIC weights" if subject.description.synthetic else None
brain = berg_jax.surface.plot(difference, views=("ventral",), outlines=areas, label="faces − places (z)", note=note)
brain.set_dpi(180)
brain

# %% [markdown]
# ## A region alone
#
# A model of fewer vertices is smaller and faster, and gives the same columns.

# %%
faces = subject.model(roi="FFA-1")
columns = areas["FFA-1"].global_indices
np.abs(np.asarray(faces(images)) - responses[:, columns]).max()

# %% [markdown]
# ## And back to the pixels
#
# Where should this photograph change, to drive FFA-1? The model is an argument of the jitted function.


# %%
@jax.jit
def drive(images, model):
    return model(images).mean()


place = jnp.asarray(images[8:9], jnp.float32)
gradient = jax.grad(drive)(place, faces)
_, axes = plt.subplots(1, 2, figsize=(5, 2.5), layout="constrained")
axes[0].imshow(images[8].transpose(1, 2, 0))
axes[1].imshow(np.abs(gradient[0]).sum(axis=0), cmap="magma")
for axis, title in zip(axes, ("a place", "how much each pixel matters to FFA-1"), strict=True):
    axis.set_title(title, size=9)
    axis.axis("off")
