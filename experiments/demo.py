"""``berg-jax demo``: a tour with a synthetic subject, from pictures to responses on a brain, and from a region back.

None of its results is a finding about brains, because the subject is synthetic.
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

from ..demo import images, photographs
from ..files.disk import explained
from ..model.encoding_model import EncodingModel
from ..model.nn.config import IMAGE
from ..stream.encode import encode_images
from ..stream.execution import Execution
from ..stream.images import Images
from ..stream.sources.image_files import fit_square, resize
from ..subject import Subject
from ..surface.style import default_style
from .reporting.figures import about, new_figure, save_figure
from .reporting.pictures import draw_brain
from .reporting.results import SYNTHETIC

CATEGORIES = ("faces", "places", "bodies", "words")
OUTLINED = ("V1", "FFA-1", "OFA", "PPA", "OPA", "RSC")
STEPS = 20  # steps of the ascent
STEP = 4.0  # size of a step, root mean square in grey levels
_EACH = 4  # drawings of each category


def demonstrate(
    output: str | Path,
    subject_id: int = 1,
    roi: str = "FFA-1",
    *,
    devices: int | None = None,
    show_progress: bool = True,
) -> str:
    """Encode pictures with a demo subject, draw a brain, and change a photograph so that it drives a region.

    Parameters
    ----------
    output
        Folder to write: ``images/``, ``responses.zarr``, ``brain.png`` and ``ascent.png``.
    subject_id
        Demo subject, 1 to 4.
    roi
        ROI expression of the region that the photograph is to drive.
    devices
        Number of local devices that encode the images (default: all); the photograph is changed on one.
    show_progress
        Show a progress bar while images are encoded.

    Returns
    -------
    A summary of a few lines.

    Raises
    ------
    BERGError
        A needed package is not installed, there is no such subject or region, there are not so many devices, or the
        folder cannot be written.
    """
    output = Path(output)
    execution = Execution(batch_size=4, devices=devices, show_progress=show_progress)
    execution.local_devices()  # refused now, if there are not so many
    subject = Subject("demo", subject_id)
    model = subject.model(roi=roi)
    folder = output / "images"
    with explained("write", output):
        _write_images(folder)
    summary = encode_images(subject, Images(folder, fit="crop"), output / "responses.zarr", execution=execution)
    _draw_brain(subject, output)
    start = _photograph("flower.jpg")
    images_by_step, means = ascend(model, jnp.asarray(start[None]), STEPS, STEP)
    subtitle = about([subject_id], roi, image=1, vertices=len(model.vertices))
    course = np.asarray(means[:, 0])
    _draw_ascent(start, np.asarray(images_by_step[-1, 0]), course, roi, subtitle, output / "ascent.png")
    return "\n".join(
        [
            summary,
            f"Faces against places on the brain: {output / 'brain.png'}",
            f"A photograph changed by {STEPS} steps of gradient ascent: mean response of {roi} from "
            f"{float(means[0, 0]):.2f} to {float(means[-1, 0]):.2f} z: {output / 'ascent.png'}",
        ]
    )


@partial(jax.jit, static_argnames="steps")
def ascend(
    model: EncodingModel, start: Float[Array, "b 3 224 224"], steps: int, step: float
) -> tuple[Float[Array, "steps b 3 224 224"], Float[Array, "1+steps b"]]:
    """Change images by gradient ascent on the mean response of a model's vertices, each image on its own.

    The gradient's spectrum is divided by frequency, because photographs' spectra fall off that way; otherwise pixel
    noise would grow. Every step has the same root mean square, and values stay in 0–255.

    Parameters
    ----------
    model
        Model of the region to drive.
    start
        Images to start from, in 0–255.
    steps
        Number of steps.
    step
        Root mean square of a step, in grey levels.

    Returns
    -------
    images
        The images after each step.
    means
        Each image's mean response (z units) before the first step and after each.

    See Also
    --------
    berg_jax.experiments.synthesis.optimize.optimize : Optimization with objectives, priors and restarts.
    """
    frequency = np.hypot(np.fft.fftfreq(IMAGE)[:, None], np.fft.rfftfreq(IMAGE)[None])
    frequency = jnp.asarray(np.maximum(frequency, 1 / IMAGE), jnp.float32)

    def mean_response(x: Float[Array, "b 3 224 224"]) -> tuple[Float[Array, ""], Float[Array, " b"]]:
        mean = model(x).mean(axis=1)
        return mean.sum(), mean

    def climb(x: Float[Array, "b 3 224 224"], _: None) -> tuple[Array, tuple[Array, Array]]:
        gradient, mean = jax.grad(mean_response, has_aux=True)(x)
        smooth = jnp.fft.irfft2(jnp.fft.rfft2(gradient) / frequency[None, None], (IMAGE, IMAGE))
        size = jnp.sqrt((smooth**2).mean(axis=(1, 2, 3), keepdims=True))
        x = jnp.clip(x + step * smooth / jnp.maximum(size, 1e-30), 0, 255)
        return x, (x, mean)

    last, (images_by_step, means) = jax.lax.scan(climb, start.astype(jnp.float32), None, length=steps)
    last_mean = mean_response(last)[1]
    return images_by_step, jnp.concatenate([means, last_mean[None]])


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


def _draw_brain(subject: Subject, output: Path) -> None:
    with xarray.open_zarr(output / "responses.zarr") as data:
        kinds = np.array([str(name).partition("-")[0] for name in data.image.values])
        faces, places = (data.responses.values[kinds == kind].mean(axis=0) for kind in ("faces", "places"))
    vertices = subject.vertices("nsdgeneral")
    draw_brain(
        subject,
        vertices,
        (faces - places)[vertices.global_indices],
        output / "brain.png",
        "",
        roi="nsdgeneral",
        images=2 * _EACH,
        regions=OUTLINED,
        label="response to faces − response to places (z)",
        title="Faces against places in a synthetic brain",
    )


@default_style()
def _draw_ascent(
    start: Float[np.ndarray, "3 224 224"],
    end: Float[np.ndarray, "3 224 224"],
    means: Float[np.ndarray, " 1+steps"],
    roi: str,
    subtitle: str,
    path: Path,
) -> None:
    figure = new_figure(3.1, "A photograph that is made to drive a region", subtitle, SYNTHETIC)
    panels = figure.subplot_mosaic([["before", "after"], ["curve", "curve"]], height_ratios=(1.3, 1))
    for name, image, title in (("before", start, "before"), ("after", end, f"after {STEPS} steps")):
        panels[name].imshow(image.transpose(1, 2, 0).round().astype(np.uint8))
        panels[name].set_title(title)
        panels[name].axis("off")
    curve = panels["curve"]
    curve.plot(means, color="#b2182b")
    curve.set(xlabel="step of gradient ascent", ylabel=f"mean response of {roi} (z)")
    curve.locator_params(axis="x", integer=True)
    curve.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path, ("step", "mean response (z)"), enumerate(means.astype(float).tolist()))
