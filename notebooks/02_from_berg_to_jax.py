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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/berg_jax/blob/main/notebooks/02_from_berg_to_jax.ipynb)

# %% [markdown]
# # From BERG to JAX
#
# A subject's PyTorch checkpoints are converted once; then the package's familiar interface runs on JAX. Here the
# checkpoints are a tiny **synthetic** subject's, in the real file formats. Where PyTorch is installed, both are
# compared.

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

import numpy as np

from berg_jax import BERG
from berg_jax.convert.subject import convert_subject
from berg_jax.convert.synthetic import make_synthetic_subject, natural_like_images

# %%
BERG_DIR, SUBJECT = None, 1  # a real subject: "path/to/berg_dir", 1 to 8
if BERG_DIR is None:
    BERG_DIR = make_synthetic_subject(Path(tempfile.mkdtemp()) / "berg_dir", size="tiny", subject_id=SUBJECT)
sorted(str(path.relative_to(BERG_DIR)) for path in Path(BERG_DIR).rglob("*.p*"))

# %% [markdown]
# ## Convert
#
# On the command line `berg-jax convert`. The files are read without PyTorch, and nothing that they hold is executed.

# %%
convert_subject(BERG_DIR, SUBJECT).relative_to(BERG_DIR)

# %% [markdown]
# ## The same interface
#
# Names, arguments, masks and exceptions are the PyTorch package's.

# %%
berg = BERG(berg_dir=BERG_DIR)
model = berg.get_encoding_model("fmri-nsd_fsaverage-huze", subject=SUBJECT)
images = natural_like_images(4, seed=1)
(left, right), metadata = berg.encode(model, images, return_metadata=True)
left.shape, right.shape, sorted(metadata["fmri"])[:4]

# %%
rois = [name for name in metadata["fmri"]["lh_fsaverage_rois"] if len(metadata["fmri"]["lh_fsaverage_rois"][name])]
one = berg.get_encoding_model("fmri-nsd_fsaverage-huze", subject=SUBJECT, selection={"roi": rois[0]})
rois[0], [side.shape for side in berg.encode(one, images)]

# %% [markdown]
# `model.encoder` is the JAX model underneath: jit it, differentiate it, put it on a mesh.

# %%
model.encoder(images).shape

# %% [markdown]
# ## The same numbers
#
# `berg-jax verify` does this for a real subject, at every stage, and writes a certificate.

# %%
if importlib.util.find_spec("torch") is None:
    print("PyTorch is not installed: nothing to compare with.")
else:
    from berg_jax.convert.torch_reference import load_reference, run

    theirs, _, _ = run(load_reference(BERG_DIR, SUBJECT), images)
    ours = np.concatenate([left, right], axis=1)
    print(f"largest difference {np.abs(ours - theirs).max():.1e}, of responses up to {np.abs(theirs).max():.1f} z")
