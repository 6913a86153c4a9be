"""``berg-jax demo``: from pictures to responses on a brain, and from a region back to a picture.

Everything it shows is made by a synthetic subject, so none of it is a finding about brains.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray
from jaxtyping import Array, Float
from PIL import Image

from .. import surface
from ..demo import images, photographs
from ..errors import ResourceError
from ..files.disk import explained
from ..model.encoding_model import EncodingModel
from ..model.nn.config import IMAGE
from ..stream.encode import encode_images
from ..stream.sources.image_files import fit_square, resize
from ..subject import Subject

CATEGORIES = ("faces", "places", "bodies", "words")
OUTLINED = ("V1", "FFA-1", "OFA", "PPA", "OPA", "RSC")
STEPS, STEP = 20, 4.0  # of the ascent, and how far one goes, in grey levels (root mean square)
_EACH = 4  # drawings of a category
_NOTE = "Synthetic demo subject: its areas and preferences were planted. Not a finding about brains."


def demonstrate(output: str | Path, subject: int = 1, roi: str = "FFA-1", *, show_progress: bool = True) -> str:
    """Encode pictures with a demo subject, draw a brain, and change a photograph so that it drives a region.

    Parameters
    ----------
    output
        The folder to write: ``images/``, ``responses.zarr``, ``brain.png`` and ``ascent.png``.
    subject
        Which demo subject, 1 to 4.
    roi
        The region that the photograph shall drive: a ROI expression.
    show_progress
        Show progress of the encoding.

    Returns
    -------
    What was made, in a few lines.

    Raises
    ------
    BERGError
        Something that it needs is not installed, there is no such subject or region, or the folder cannot be
        written.
    """
    output = Path(output)
    person = Subject("demo", subject)
    model = person.model(roi=roi)
    folder = output / "images"
    with explained("write", output):
        _write_images(folder)
    summary = encode_images(
        folder, "demo", subject, output / "responses.zarr", fit="crop", batch_size=4, show_progress=show_progress
    )
    _draw_brain(person, output)
    start = _photograph("flower.jpg")
    path, driven = ascend(model, jnp.asarray(start[None]), STEPS, STEP)
    _draw_ascent(start, np.asarray(path[-1, 0]), np.asarray(driven[:, 0]), roi, output / "ascent.png")
    return "\n".join(
        [
            summary,
            f"Faces against places on the brain: {output / 'brain.png'}",
            f"A photograph changed by {STEPS} steps of gradient ascent: mean response of {roi} from "
            f"{float(driven[0, 0]):.2f} to {float(driven[-1, 0]):.2f} z: {output / 'ascent.png'}",
        ]
    )


@partial(jax.jit, static_argnames="steps")
def ascend(
    model: EncodingModel, start: Float[Array, "b 3 224 224"], steps: int, step: float
) -> tuple[Float[Array, "steps b 3 224 224"], Float[Array, "1+steps b"]]:
    """Gradient ascent on the mean response of a model's vertices, each image on its own.

    The gradient's spectrum is divided by frequency, as photographs' spectra are, so that what grows is no pixel
    noise; every step has the same root mean square. Values stay in 0–255.

    Parameters
    ----------
    model
        Of the region to drive.
    start
        Images in 0–255.
    steps
        How many.
    step
        Root mean square of one, in grey levels.

    Returns
    -------
    The images after each step, and the mean responses (z units) before the first and after each.
    """
    frequency = np.hypot(np.fft.fftfreq(IMAGE)[:, None], np.fft.rfftfreq(IMAGE)[None])
    frequency = jnp.asarray(np.maximum(frequency, 1 / IMAGE), jnp.float32)

    def mean_response(x: Float[Array, "b 3 224 224"]) -> tuple[Float[Array, ""], Float[Array, " b"]]:
        mean = model(x).mean(axis=1)
        return mean.sum(), mean

    def move(x: Float[Array, "b 3 224 224"], _: None) -> tuple[Array, tuple[Array, Array]]:
        gradient, mean = jax.grad(mean_response, has_aux=True)(x)
        smooth = jnp.fft.irfft2(jnp.fft.rfft2(gradient) / frequency[None, None], (IMAGE, IMAGE))
        size = jnp.sqrt((smooth**2).mean(axis=(1, 2, 3), keepdims=True))
        x = jnp.clip(x + step * smooth / jnp.maximum(size, 1e-30), 0, 255)
        return x, (x, mean)

    last, (path, means) = jax.lax.scan(move, start.astype(jnp.float32), None, length=steps)
    return path, jnp.concatenate([means, mean_response(last)[1][None]])


def _write_images(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in photographs().items():
        shutil.copyfile(path, folder / name)
    for category in CATEGORIES:
        for index, image in enumerate(images(category, _EACH, seed=7)):
            Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{category}-{index + 1}.png")


def _photograph(name: str) -> Float[np.ndarray, "3 224 224"]:
    with Image.open(photographs()[name]) as image:
        return resize(fit_square(np.asarray(image.convert("RGB")), "crop")).transpose(2, 0, 1)


def _draw_brain(person: Subject, output: Path) -> None:
    with xarray.open_zarr(output / "responses.zarr") as data:
        kinds = np.array([str(name).partition("-")[0] for name in data.image.values])
        faces, places = (data.responses.values[kinds == kind].mean(axis=0) for kind in ("faces", "places"))
    vertices = person.vertices("nsdgeneral")
    surface.plot(
        (faces - places)[vertices.global_indices],
        vertices,
        label="response to faces − response to places (z)",
        title="Faces against places in a synthetic brain",
        outlines={name: person.vertices(name) for name in OUTLINED},
        note=_NOTE,
        output=output / "brain.png",
    )


def _draw_ascent(
    start: Float[np.ndarray, "3 224 224"],
    end: Float[np.ndarray, "3 224 224"],
    driven: Float[np.ndarray, " 1+steps"],
    roi: str,
    path: Path,
) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ResourceError("matplotlib is not installed: pip install 'berg_jax[demo]'.") from error
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    before, after, curve = figure.subplots(1, 3, width_ratios=(1, 1, 1.1))
    for axes, image, title in ((before, start, "before"), (after, end, f"after {STEPS} steps")):
        axes.imshow(image.transpose(1, 2, 0).round().astype(np.uint8))
        axes.set_title(title)
        axes.axis("off")
    curve.plot(driven, color="#b2182b", linewidth=2)
    curve.set(xlabel="step of gradient ascent", ylabel=f"mean response of {roi} (z)", title="what the region does")
    curve.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(_NOTE, fontsize=8, color="0.4")
    with explained("write", path):
        figure.savefig(path, dpi=130)
