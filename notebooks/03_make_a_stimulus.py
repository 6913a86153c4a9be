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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/berg_jax/blob/main/notebooks/03_make_a_stimulus.ipynb)

# %% [markdown]
# # Make a stimulus
#
# The encoder has gradients, so an image can climb towards whatever you can write as a function of the responses.
# On a **demo subject** (synthetic weights; its preferences were planted).

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
import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import berg_jax
from berg_jax.experiments.synthesis import augmentations, objectives, parametrizations
from berg_jax.experiments.synthesis.areas import union
from berg_jax.experiments.synthesis.functions import Function
from berg_jax.experiments.synthesis.optimize import optimize

# %%
# %config InlineBackend.figure_formats = ["jpeg"]
BERG_DIR, SUBJECT = "demo", 1  # a real subject: "path/to/berg_dir", 1 to 8
STEPS = 32  # more for better pictures

# %% [markdown]
# ## Drive one region, suppress another
#
# Several regions share one program: each is a row of weights over one model's vertices.

# %%
subject = berg_jax.Subject(BERG_DIR, SUBJECT)
vertices, areas = union(subject, {"faces": "FFA-1 + FFA-2", "places": "PPA"})
model = subject.model(vertices)


def show(made, titles):
    _, axes = plt.subplots(1, len(made), figsize=(2 * len(made), 2.2), layout="constrained", squeeze=False)
    for axis, image, title in zip(axes.flat, made, titles, strict=True):
        axis.imshow(np.asarray(image).round().astype(np.uint8).transpose(1, 2, 0))
        axis.set_title(title, size=9)
        axis.axis("off")


contrast = objectives.contrast(areas["faces"], areas["places"])
result = optimize(
    model,
    contrast,
    parametrizations.fourier(),
    n=3,
    steps=STEPS,
    augment=augmentations.jitter(8),
    show_progress=False,
)
show(result.images, [f"faces − places {value:.1f} z" for value in result.values])

# %% [markdown]
# ## An objective of your own
#
# Any function of the responses, (images, vertices), to one number for each image. This one asks for a response that
# is strong, and as even over the region as possible.


# %%
def even(responses):
    return responses.mean(axis=1) - responses.std(axis=1)


faces = subject.model(roi="FFA-1")
result = optimize(faces, even, parametrizations.fourier(), n=3, steps=STEPS, show_progress=False)
show(result.images, [f"{value:.1f}" for value in result.values])

# %% [markdown]
# ## A generator of your own
#
# Anything that makes images of latents. Here a small decoder is trained on the spot, on drawings: the images that it
# can make all look somewhat like drawings, so the result stays in their space.

# %%
LATENTS, SIDE = 16, 56
drawings = np.concatenate([berg_jax.demo.images(kind, 100) for kind in ("faces", "bodies", "places", "words")])
small = drawings.reshape(-1, 3, SIDE, 4, SIDE, 4).mean(axis=(3, 5)) / 255


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        for width in (16, 32, 64):
            x = nn.silu(nn.Conv(width, (3, 3), strides=2)(x))
        return nn.Dense(LATENTS)(x.reshape(len(x), -1))


class Decoder(nn.Module):
    @nn.compact
    def __call__(self, z):
        x = nn.Dense(7 * 7 * 64)(z).reshape(-1, 7, 7, 64)
        for width in (32, 16, 16):
            x = nn.silu(nn.ConvTranspose(width, (4, 4), strides=(2, 2))(x))
        return nn.sigmoid(nn.Conv(3, (3, 3))(x))


encoder, decoder = Encoder(), Decoder()
data = jnp.asarray(small.transpose(0, 2, 3, 1), jnp.float32)
keys = jax.random.split(jax.random.key(0), 2)
weights = {
    "encoder": encoder.init(keys[0], data[:1]),
    "decoder": decoder.init(keys[1], jnp.zeros((1, LATENTS))),
}
adam = optax.adam(2e-3)


@jax.jit
def train(weights, state, batch, key):
    def loss(weights):
        z = encoder.apply(weights["encoder"], batch)
        blurred = z + 0.3 * jax.random.normal(key, z.shape)
        made = decoder.apply(weights["decoder"], blurred)
        return ((made - batch) ** 2).mean() + 1e-3 * (z**2).mean()

    value, gradient = jax.value_and_grad(loss)(weights)
    updates, state = adam.update(gradient, state)
    return optax.apply_updates(weights, updates), state, value


state, random = adam.init(weights), np.random.default_rng(0)
for step in range(600):
    batch = data[random.choice(len(data), 32, replace=False)]
    weights, state, error = train(weights, state, batch, jax.random.key(step))
print(f"mean squared error {error:.3f}, of a variance of {data.var():.3f}")


# %%
def decode(weights, z):
    made = decoder.apply(weights, z).transpose(0, 3, 1, 2)
    return 255 * jax.image.resize(made, (len(z), 3, 224, 224), "linear")


generator = parametrizations.Parametrization(
    init=lambda key, n: jax.random.normal(key, (n, LATENTS)),
    decode=Function(decode, (weights["decoder"],)),
)
result = optimize(model, contrast, generator, n=3, steps=STEPS, optimizer=optax.adam(0.1), show_progress=False)
show(result.images, [f"faces − places {value:.1f} z" for value in result.values])
