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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/berg_jax/blob/main/notebooks/06_sweeps.ipynb)

# %% [markdown]
# # Sweeps
#
# The same question for many regions, subjects, seeds and settings: up to 64 trials share one compiled program. On
# **demo subjects** (synthetic weights; their preferences were planted).

# %%
import importlib.util
import subprocess
import sys
from pathlib import Path

# On Colab, or before the first installation. A checkout's folder of that name is found, but has no origin.
if getattr(importlib.util.find_spec("berg_jax"), "origin", None) is None:
    checkout = Path.cwd().parent
    source = checkout.as_uri() if (checkout / "pyproject.toml").exists() else "git+https://github.com/OWNER/berg_jax"
    package = f"berg_jax[demo,sweep] @ {source}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)

# %%
import io
import tempfile

import pandas
import PIL.Image
from IPython.display import Image

from berg_jax.experiments.sweeps import read_spec, sweep
from berg_jax.experiments.sweeps.submit import plan_text

# %% [markdown]
# ## What is asked
#
# A TOML file: every combination of `[grid]`, with every row of `[zip]` and every draw of `[random]`. On the command
# line `berg-jax sweep spec.toml --output sweep`; a `[launcher]` table makes it an array of Slurm jobs.

# %%
BERG_DIR = "demo"  # real subjects: "path/to/berg_dir"
FOLDER = Path(tempfile.mkdtemp())
(FOLDER / "spec.toml").write_text(f"""
[base]
berg_dir = "{BERG_DIR}"
steps = 16

[grid]
subject = [1, 2]
seed = [0, 1]

[zip]
drive = ["FFA-1 + FFA-2", "PPA", "V1"]
suppress = ["PPA", "FFA-1 + FFA-2", []]
""")
plan = read_spec(FOLDER / "spec.toml")
print(plan_text(plan, every=False))

# %% [markdown]
# ## What comes out
#
# One table, with a row for each trial; one picture for each trial; contact sheets of the best. Given again after an
# interruption, it goes on with what is missing.

# %%
print(sweep(plan, FOLDER / "sweep", show_progress=False))

# %%
table = pandas.read_parquet(FOLDER / "sweep" / "sweep.parquet")
table.groupby(["subject", "drive"]).value.agg(["mean", "max"]).round(2)

# %%
sheet = PIL.Image.open(FOLDER / "sweep" / "contact_sheet.png").convert("RGB")
sheet.thumbnail((700, 1400))
memory = io.BytesIO()
sheet.save(memory, "JPEG")
Image(memory.getvalue())
