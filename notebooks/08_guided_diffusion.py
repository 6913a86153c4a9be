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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/berg_jax/blob/main/notebooks/08_guided_diffusion.ipynb)

# %% [markdown]
# # Guided diffusion
#
# Gradient ascent finds images that drive a region, and they look like nothing. A diffusion model is a **prior**: its
# samples are of the class of images it was trained on, and the encoder steers them. Here a small one learns the
# demo's drawings; the method is the same for a large one of photographs. On a **demo subject** (synthetic weights;
# its preferences were planted).

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
import matplotlib.pyplot as plt
import numpy as np

import berg_jax
from berg_jax.experiments.synthesis import objectives, optimize, priors
from berg_jax.experiments.synthesis.areas import union
from berg_jax.experiments.synthesis.judging import percentile, score

# %%
# %config InlineBackend.figure_formats = ["jpeg"]
BERG_DIR, SUBJECT = "demo", 1  # a real subject: "path/to/berg_dir", 1 to 8
STEPS = 24  # more for better pictures


def show(made, titles):
    _, axes = plt.subplots(1, len(made), figsize=(1.6 * len(made), 2.0), layout="constrained", squeeze=False)
    for axis, image, title in zip(axes.flat, made, titles, strict=True):
        axis.imshow(np.asarray(image).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
        axis.set_title(title, size=8)
        axis.axis("off")


# %% [markdown]
# ## Train the model, once
#
# 800 drawings become 64 numbers each (principal components), and a small network learns to remove noise from them.
# This takes about a minute on two cores; the weights stay in the cache.

# %%
diffusion = priors.drawings_diffusion()
samples = priors.sample(diffusion, 5, steps=STEPS)
show(samples.images, [f"sample {number}" for number in range(1, 6)])

# %% [markdown]
# ## Steer it
#
# At each step the clean estimate is shown to the encoder, and moves along the gradient of the objective. The gradient
# is normalized, so that a scale means the same at every step; negative scales suppress.

# %%
subject = berg_jax.Subject(BERG_DIR, SUBJECT)
vertices, areas = union(subject, {"faces": "FFA-1 + FFA-2", "places": "PPA"})
model = subject.model(vertices)
faces = objectives.mean(areas["faces"])
scales = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
steered = [
    priors.sample(diffusion, 1, model=model, objective=faces, scale=scale, steps=STEPS, seed=4) for scale in scales
]
show(
    [one.images[0] for one in steered],
    [f"scale {scale:+g}: {one.values[0]:.2f} z" for scale, one in zip(scales, steered, strict=True)],
)

# %% [markdown]
# What is the score worth? Compare with natural-like images, and with gradient ascent that stops at the same score.

# %%
natural = score(model, faces, berg_jax.demo.images("natural", 60, seed=9))
guided = priors.sample(diffusion, 4, model=model, objective=faces, scale=2.0, steps=STEPS)
best, value = guided.images[guided.values.argmax()], guided.values.max()
rank = percentile(np.array([value]), natural)[0]
print(f"guided: {value:.2f} z, above {rank:.0f}% of natural-like images")
ascent = optimize(model, faces, n=1, steps=16, every=2, show_progress=False)
reached = 2 * (int(np.argmax(ascent.looks[:, 0] >= value)) + 1)
same = optimize(model, faces, n=1, steps=reached, every=2, show_progress=False)
show([best, same.images[0]], [f"guided: {value:.2f} z", f"ascent: {same.values[0]:.2f} z"])
