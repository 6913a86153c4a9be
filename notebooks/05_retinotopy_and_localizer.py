# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

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

if importlib.util.find_spec("berg_jax") is None:
    checkout = Path.cwd().parent
    if not (checkout / "pyproject.toml").exists():
        raise SystemExit("Clone berg_jax and open this notebook in its folder notebooks/, or pip install it first.")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", f"{checkout}[demo]"], check=True)

import io
import tempfile

import PIL.Image
from IPython.display import Image

from berg_jax.experiments.localizer.experiment import localize
from berg_jax.experiments.retinotopy.experiment import map_retinotopy

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
# Natural images behind Gaussian windows at 16 × 16 places (a real subject: 40 × 40). Each vertex' best window, and a
# Gaussian fitted to its mean responses.

# %%
print(
    map_retinotopy(BERG_DIR, SUBJECT, OUTPUT / "retinotopy", IMAGES, roi="early", fit_sizes=True, show_progress=False)
)

# %%
shown(OUTPUT / "retinotopy" / "angle.png")

# %% [markdown]
# ## Localizer
#
# Images by category, a general linear model's t for each vertex, with the false discovery rate controlled.

# %%
print(localize(BERG_DIR, [SUBJECT], OUTPUT / "localizer", roi="nsdgeneral", show_progress=False))

# %%
shown(OUTPUT / "localizer" / f"subj{SUBJECT:02d}" / "preference.png")
