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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/berg_jax/blob/main/notebooks/04_a_million_images.ipynb)

# %% [markdown]
# # A million images
#
# A stream carries images through the model in blocks and reduces the responses on the device: the best images of each
# region, means, a GLM. A block that is done is on the disk; a run that is stopped goes on. On a **demo subject**
# (synthetic weights).

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
import tempfile

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import berg_jax
from berg_jax import Execution
from berg_jax.stream import GeneratedSource, Moments, TopK, stream
from berg_jax.stream.reducers import roi_weights

# %%
# %config InlineBackend.figure_formats = ["jpeg"]
BERG_DIR, SUBJECT = "demo", 1  # a real subject: "path/to/berg_dir", 1 to 8
IMAGES = 2_000  # on a GPU or TPU: 1_000_000
BATCH_SIZE = 50

# %% [markdown]
# ## Images that exist only when they are asked for
#
# A pure function of a key and image numbers makes them on the device: gratings of random orientation, frequency,
# color and place. No image is stored, and image 123,456 is the same whenever it is made.

# %%
y, x = jnp.mgrid[-1:1:224j, -1:1:224j]


def gratings(key, numbers):
    def one(number):
        angle, frequency, phase, *rest = jax.random.uniform(jax.random.fold_in(key, number), (8,))
        angle, frequency = jnp.pi * angle, 3 + 30 * frequency
        wave = jnp.cos(frequency * (jnp.cos(angle) * x + jnp.sin(angle) * y) + 2 * jnp.pi * phase)
        window = jnp.exp(-((x - 2 * rest[0] + 1) ** 2 + (y - 2 * rest[1] + 1) ** 2) / 0.1)
        color = jnp.stack(rest[2:])[:, None, None]
        return 127.5 + 127.5 * (wave * window * color)

    return jax.vmap(one)(numbers)


source = GeneratedSource(gratings, jax.random.key(0), IMAGES, "grating", version=1)

# %% [markdown]
# ## One pass, several answers

# %%
subject = berg_jax.Subject(BERG_DIR, SUBJECT)
rois = {name: subject.vertices(name) for name in ("V1", "hV4", "FFA-1", "PPA")}
vertices = subject.vertices(list(rois))
sinks = [TopK(k=8, rois=roi_weights(vertices, rois)), Moments(len(vertices))]
run = {
    "model": subject.model(vertices),
    "source": source,
    "sinks": sinks,
    "output": Path(tempfile.mkdtemp()) / "run",
    "identity": subject.identity(vertices),
}
quiet = {"batch_size": BATCH_SIZE, "show_progress": False}

# %% [markdown]
# ## Stopped, and resumed
#
# A time limit stops it as Slurm's would: the batch at hand is finished and recorded. The same call goes on. (A kill
# would cost the block at hand.)

# %%
try:
    results = stream(**run, execution=Execution(time_limit=3, **quiet))
except berg_jax.Interrupted as stopped:
    print(stopped)
    results = stream(**run, execution=Execution(**quiet))
print(f"{int(results['moments']['count']):,} images; mean response {results['moments']['mean'].mean():.3f} z")

# %% [markdown]
# ## The gratings that drive each region most

# %%
best = results["top_k"]
_, axes = plt.subplots(len(rois), 8, figsize=(8, 4.2), layout="constrained")
for row, name in enumerate(rois):
    for axis, image, value in zip(axes[row], source.read(best["images"][row]), best["values"][row], strict=True):
        axis.imshow(np.asarray(image).astype(np.uint8).transpose(1, 2, 0))
        axis.set_title(f"{name} {value:.2f}", size=7)
        axis.axis("off")
