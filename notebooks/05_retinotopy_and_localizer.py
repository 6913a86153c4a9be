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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/berg_jax/blob/main/notebooks/05_retinotopy_and_localizer.ipynb)

# %% [markdown]
# # Retinotopy and a localizer
#
# Two classic experiments, in silico: where in the visual field does each vertex look, and which category does it
# prefer? On **demo subjects** (synthetic weights), in which the answers were planted, so one can see whether they are
# found.

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
import io
import tempfile

import PIL.Image
from IPython.display import Image

from berg_jax import Execution, Selection, Subject
from berg_jax.experiments import localize, map_retinotopy

# %%
BERG_DIR, SUBJECT, IMAGES = "demo", 1, None  # a real subject: "path/to/berg_dir", 1 to 8, "path/to/nsd_stimuli.hdf5"
OUTPUT = Path(tempfile.mkdtemp())


def shown(path, width=700):
    picture = PIL.Image.open(path).convert("RGB")
    picture.thumbnail((width, 2 * width))
    memory = io.BytesIO()
    picture.save(memory, "JPEG")
    return Image(memory.getvalue())


# %% [markdown]
# ## Retinotopy
#
# Natural images behind Gaussian windows at 16 × 16 places (a real subject: 40 × 40). Each vertex's best window, and a
# Gaussian fitted to its mean responses.

# %%
subject = Subject(BERG_DIR, SUBJECT)
quiet = Execution(show_progress=False)
early = Selection("early")
print(map_retinotopy(subject, OUTPUT / "retinotopy", IMAGES, selection=early, fit_sizes=True, execution=quiet))

# %%
shown(OUTPUT / "retinotopy" / "angle.png")

# %% [markdown]
# ## Localizer
#
# Images by category, a general linear model's t for each vertex, with the false discovery rate controlled.

# %%
visual = Selection("nsdgeneral")
print(localize([subject], OUTPUT / "localizer", selection=visual, execution=quiet))

# %%
shown(OUTPUT / "localizer" / f"subj{SUBJECT:02d}" / "preference.png")
