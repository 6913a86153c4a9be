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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/berg_jax/blob/main/notebooks/07_a_new_person.ipynb)

# %% [markdown]
# # A new person
#
# The published model is of eight people. From a person's own images and responses it can be fitted to that person,
# with one of the eight as donor. Here the person is **simulated**: demo subject 2 with noise, and demo subject 1 as
# the donor (synthetic weights; their preferences were planted).

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
import csv
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import berg_jax
from berg_jax import Selection
from berg_jax.fitting import fit

# %%
# %config InlineBackend.figure_formats = ["jpeg"]
BERG_DIR, DONOR = "demo", 1  # a real donor: "path/to/berg_dir", 1 to 8
AREAS = "V1 + hV4 + FFA-1 + PPA"

# %% [markdown]
# ## The measurements
#
# What a scanner gives: images, a beta of each vertex for every trial, and a table that says which image each trial
# showed, and in which session. Every image is shown three times. Noise is larger than the signal: with an ncsnr of
# 0.8, a perfect model would correlate with the mean of three trials at 0.81.

# %%
donor = berg_jax.Subject(BERG_DIR, DONOR)
vertices = donor.vertices(AREAS)
kinds = ("faces", "bodies", "places", "words", "objects", "natural")
pixels = np.concatenate([berg_jax.demo.images(kind, 50, 3) for kind in kinds])

person = berg_jax.load("demo", 2, vertices)
signal = np.concatenate([np.asarray(person(pixels[start : start + 50])) for start in range(0, len(pixels), 50)])
signal = (signal - signal.mean(0)) / signal.std(0)

random = np.random.default_rng(0)
shown = random.permutation(np.repeat(np.arange(len(pixels)), 3))
session = np.arange(len(shown)) * 3 // len(shown)
betas = signal[shown] + random.normal(size=(len(shown), len(vertices))) / 0.8

Path("person").mkdir(exist_ok=True)
np.save("person/shown.npy", pixels)
np.save("person/betas.npy", betas.astype(np.float32))
with open("person/trials.csv", "w", newline="") as file:
    csv.writer(file).writerows([["image", "session"], *zip(shown, session, strict=True)])

# %% [markdown]
# ## The readout
#
# The donor's network sees every image once. Each vertex keeps the donor's layers and receptive field, and gets
# readout weights of its own by ridge regression, whose penalty leave-one-out has chosen.

# %%
options = {
    "subject_id": 9,
    "table": "person/trials.csv",
    "selection": Selection(AREAS),
    "learning_curve": "30,100,all",
}
result = fit(donor, "person/fitted", "person/shown.npy", "person/betas.npy", **options)
result

# %%
medians = result.values["medians"]
names = [name for name in medians if name in ("V1v", "V1d", "hV4", "FFA-1", "PPA")]
ceiling = [medians[name]["noise_ceiling"] ** 0.5 for name in names]

_, (bars, curve) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for offset, key, label in ((-0.2, "r", "this fit"), (0.2, "r_donor", "the donor's own prediction")):
    bars.bar(np.arange(len(names)) + offset, [medians[name][key] for name in names], 0.4, label=label)
bars.plot(range(len(names)), ceiling, "k_", ms=30, label="noise ceiling")
bars.set_xticks(range(len(names)), names)
bars.set_ylabel("median test r")
bars.legend(loc="lower right")
curve.plot(*zip(*((row["images"], row["r"]) for row in result.values["learning_curve"]), strict=True), "o-")
curve.axhline(medians["all vertices"]["r_donor"], color="0.5", ls="--")
curve.set_xlabel("training images (dashed: the donor's own prediction)")
curve.set_ylabel("median test r")
plt.show()
# %%
result.plot("r")
# %% [markdown]
# The images that were tested were in no fit. Fits to shuffled images have an r of 0: nothing has leaked. The donor's
# own prediction is the baseline; what the fit adds is this person's own.
#
# ## Layers and receptive fields
#
# The next stage starts from the readouts, and also trains from which layers, and from where on the image, each
# vertex reads. It takes the features that are kept already.

# %%
moved = fit(donor, "person/fitted", "person/shown.npy", "person/betas.npy", **options, stage="selectors", epochs=20)
moved

# %% [markdown]
# ## A subject like any other
#
# The folder is a subject, for every command and function.

# %%
new = berg_jax.Subject("person/fitted", 9)
new

# %%
model = new.model(roi="FFA-1")
faces, places = (np.asarray(model(berg_jax.demo.images(kind, 8, 4))).mean() for kind in ("faces", "places"))
print(f"FFA-1 of the new person: {faces:.2f} z to faces, {places:.2f} z to places")

# %% [markdown]
# On the command line: `berg-jax fit shown.npy --betas betas.npy --trials trials.csv --berg-dir path/to/berg_dir
# --donor 1 --subject-id 9 --output fitted`, and with NSD's folder as `--betas` no table is needed. On a GPU,
# `--stage full` trains the network, too.
