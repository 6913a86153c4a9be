"""Certificate: shows, on your machine and with your files, that the converted model equals the PyTorch one.

::

    berg-jax verify --berg-dir DIR --subject N --output FOLDER                             with PyTorch
    berg-jax verify --berg-dir DIR --subject N --output FOLDER --against certificate.json  without it

The reference is ``convert/torch_reference.py``; where the published ``berg`` package is installed, responses are
its own. (That path follows the package's documented interface; it has only been run with our own class of the
same interface.) Our model is run first and let go of, then the reference, so that one is in memory at a time.

On synthetic weights expect responses within 6e-5 z, tokens within 1e-6, the gradient within 1e-5.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ...errors import InvalidParameterError, ModelNotFoundError, ResourceError, ValidationError
from ...files.disk import atomic_folder, explained
from ...published.berg_dir import SubjectFiles, check_subject_id
from ..reporting.command import Command, plain
from .comparison import RESPONSE_LIMIT, compare, error_table, response_check
from .facts import find_devices, notes, provenance, regions
from .record import Certificate, read_certificate, record, recorded
from .report import write_report
from .runs import run_ours, run_reference
from .stimuli import Stimuli, all_stimuli, recorded_stimuli, recorded_vertices

if TYPE_CHECKING:
    from ...subject import Subject

WEIGHTS = ("part1", "part2", "part1_voxel_indices")  # the sources that responses depend on
_IMAGES_PER_BATCH = 2
_PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
_OPTIONS = {"subject_id": "subject", "precisions": "precision", "certificate": "against"}  # of other names than here


def certify(
    berg_dir: str | Path,
    subject_id: int,
    output: str | Path,
    *,
    config: str | Path | None = None,
    num_heads: int | None = None,
    lora_scale: float | None = None,
    retina_sigma: float | None = None,
    precisions: Sequence[str] = _PRECISIONS,
    images_per_batch: int = _IMAGES_PER_BATCH,
    show_progress: bool = True,
) -> Certificate:
    """Compare a subject's converted model with PyTorch, and write a certificate.

    The output folder holds ``certificate.json``, which other machines can compare themselves with, ``report.html``
    with its figures, and ``config.json`` with the command and settings.

    Parameters
    ----------
    berg_dir
        BERG directory with the subject's PyTorch files.
    subject_id
        The subject's number, from 1.
    output
        The folder to write; it must not exist.
    config
        The model's config.yaml, to take the reference's options from; it must not contradict those given here.
    num_heads
        The reference's attention heads; by default embed_dim / 64, whatever the subject was converted with.
    lora_scale
        The reference's scale of the low-rank adapters; by default 0.2, whatever the subject was converted with.
    retina_sigma
        The reference's retina mapper's constant sigma, in [0, 1); by default 0.01, whatever the subject was
        converted with.
    precisions
        Precisions to report: "float32", "tensorfloat32", "bfloat16". float32 is always among them, and alone
        decides.
    images_per_batch
        Images that our model takes at once.
    show_progress
        Show a progress bar where there is a terminal.

    Returns
    -------
    Certificate
        The certificate; its ``passed`` says whether every check passed.

    Raises
    ------
    ModelNotFoundError
        There are no PyTorch files to compare with.
    ResourceError
        PyTorch, matplotlib or the photographs are not installed, or the output exists or cannot be written.
    BERGError
        The subject cannot be loaded, or an option makes no sense.

    See Also
    --------
    check_against : Compare another machine, without PyTorch, with the certificate.
    berg_jax.experiments.certificate.read_certificate : Read a certificate that passed.
    """
    precisions = tuple(dict.fromkeys(("float32", *precisions)))
    settings = {
        "berg_dir": berg_dir,
        "subject_id": subject_id,
        "output": output,
        "config": config,
        "num_heads": num_heads,
        "lora_scale": lora_scale,
        "retina_sigma": retina_sigma,
        "precisions": precisions,
        "images_per_batch": images_per_batch,
    }

    from tqdm import tqdm

    from ...convert.subject import read_options
    from ...model.encoding_model import check_precision
    from ...subject import Subject

    start = time.perf_counter()
    _require_sources(SubjectFiles(Path(berg_dir).expanduser(), check_subject_id(subject_id)))
    _require_installed("torch", "torch")
    _require_installed("matplotlib", "demo")
    output = _new(output)
    if images_per_batch < 1:
        raise InvalidParameterError(f"images_per_batch must be at least 1, got {images_per_batch}.")
    for precision in precisions:
        check_precision(precision)
    options = read_options(config, num_heads, lora_scale, retina_sigma)
    stimuli = all_stimuli()
    devices = find_devices()
    with atomic_folder(output, replace=False) as folder:
        subject = Subject(berg_dir, subject_id, num_heads=options.num_heads)
        steps = len(stimuli) * (len(devices) * len(precisions) + 1)
        with tqdm(total=steps, unit="image", disable=None if show_progress else True) as progress:
            ours, own_checks = run_ours(subject, stimuli, devices, precisions, images_per_batch, progress)
            theirs, facts = run_reference(subject, Path(berg_dir).expanduser(), options, stimuli, progress)
        responses = {key: seen.responses for key, seen in ours.items()}
        cpu = ("cpu", "float32")
        others = {key: values for key, values in responses.items() if key[1] == "float32" and key != cpu}
        certificate = Certificate(
            **provenance(subject, stimuli, "torch"),
            **facts,
            seconds=round(time.perf_counter() - start, 1),
            checks=[
                *compare(ours[cpu], theirs),
                *(response_check(device, values, theirs.responses) for (device, _), values in others.items()),
                *own_checks,
            ],
            errors=error_table(responses, theirs.responses, regions(subject)),
            recorded=_record(stimuli, theirs.responses),
            notes=notes(subject, facts["reference"]),
        )
        with explained("write", output):
            _write(folder, certificate, responses, theirs.responses, _command(certify, settings), settings)
    return certificate


def check_against(
    berg_dir: str | Path,
    subject_id: int,
    certificate: str | Path,
    output: str | Path | None = None,
    *,
    show_progress: bool = True,
) -> Certificate:
    """Compare this machine's responses with the reference's that a certificate has recorded, without PyTorch.

    Parameters
    ----------
    berg_dir
        BERG directory with the subject's files, or a converted subject's folder.
    subject_id
        The subject's number, from 1.
    certificate
        A ``certificate.json`` that passed, of the same subject and files.
    output
        The folder to write this machine's certificate and report to, as :func:`certify` does; it must not exist.
    show_progress
        Show a progress bar where there is a terminal.

    Returns
    -------
    Certificate
        The certificate of this machine; its ``passed`` says whether every check passed.

    Raises
    ------
    ModelNotFoundError
        There is no such certificate or subject.
    ValidationError
        The certificate is damaged, did not pass, or is of another subject or other files.
    ResourceError
        The output exists or cannot be written, or matplotlib, which draws its report, is not installed.

    See Also
    --------
    certify : Make the certificate, with PyTorch.
    berg_jax.experiments.certificate.read_certificate : Read a certificate that passed.
    """
    settings = {"berg_dir": berg_dir, "subject_id": subject_id, "certificate": certificate, "output": output}

    from tqdm import tqdm

    from ...subject import Subject

    start = time.perf_counter()
    path = Path(certificate).expanduser()
    theirs = read_certificate(path)
    if theirs.subject != check_subject_id(subject_id):
        raise ValidationError(
            f"{path} is of subject {theirs.subject}, not {subject_id}. Give that subject's certificate."
        )
    if output is not None:
        _require_installed("matplotlib", "demo")
        output = _new(output)
    stimuli = recorded_stimuli()
    subject = Subject(berg_dir, subject_id)
    _require_same_sources(path, theirs, subject)
    vertices = recorded_vertices(2 * subject.hemisphere_size)
    expected = recorded(path, theirs.recorded, stimuli, vertices)
    devices = find_devices()
    with tqdm(total=len(devices) * len(stimuli), unit="image", disable=None if show_progress else True) as progress:
        ours, _ = run_ours(subject, stimuli, devices, ("float32",), _IMAGES_PER_BATCH, progress, deep=False)
    responses = {key: seen.responses[:, vertices] for key, seen in ours.items()}
    made = Certificate(
        **provenance(subject, stimuli),
        reference={**theirs.reference, "name": f"{theirs.reference['name']}, as recorded on {theirs.date}"},
        selection_path=theirs.selection_path,
        seconds=round(time.perf_counter() - start, 1),
        checks=[response_check(device, seen, expected) for (device, _), seen in responses.items()],
        errors=error_table(responses, expected, {"recorded vertices": np.arange(len(vertices))}),
        recorded=theirs.recorded,
    )
    if output is not None:
        with atomic_folder(output, replace=False) as folder, explained("write", output):
            _write(folder, made, responses, expected, _command(check_against, settings), settings)
    return made


# The files of a certificate.


def _record(stimuli: Stimuli, responses: Float[np.ndarray, "stimuli vertices"]) -> dict[str, Any]:
    """Return the certificate's ``recorded`` field: responses to the recorded stimuli at the recorded vertices."""
    shown = recorded_stimuli()
    rows = [row for row, name in enumerate(stimuli) if name in shown]
    vertices = recorded_vertices(responses.shape[1])
    return record(shown, vertices, responses[rows][:, vertices])


def _command(function: Callable[..., Certificate], settings: Mapping[str, Any]) -> str:
    """Return the command that repeats the comparison, or the call, where the command line has no such options."""
    by_default = {"lora_scale": None, "retina_sigma": None, "images_per_batch": _IMAGES_PER_BATCH}
    if all(settings.get(name, value) == value for name, value in by_default.items()):
        options = {_OPTIONS.get(name, name): value for name, value in settings.items() if name not in by_default}
        return Command("verify", plain(options), {"precision": list(_PRECISIONS)}).line
    arguments = ", ".join(f"{name}={value!r}" for name, value in plain(settings).items() if value is not None)
    return f"berg_jax.experiments.{function.__name__}({arguments})"


def _write(
    folder: Path,
    certificate: Certificate,
    ours: Mapping[tuple[str, str], np.ndarray],
    theirs: np.ndarray,
    command: str,
    settings: Mapping[str, Any],
) -> None:
    (folder / "certificate.json").write_text(certificate.to_json(), encoding="utf-8")
    stored = {"subject" if name == "subject_id" else name: value for name, value in settings.items()}
    write_report(folder, certificate, ours, theirs, RESPONSE_LIMIT, command=command, settings=stored)


# Requirements, checked before work starts.


def _require_sources(files: SubjectFiles) -> None:
    try:
        files.require()
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"There is nothing to compare with: a certificate needs the subject's PyTorch files. {error} Without "
            "them compare with a certificate.json of the same subject (--against)."
        ) from error


def _require_installed(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        without = " Without PyTorch use --against certificate.json." if package == "torch" else ""
        raise ResourceError(
            f"This needs {package}, which is not installed: pip install 'berg_jax[{extra}]'.{without}"
        )


def _require_same_sources(path: Path, certificate: Certificate, subject: Subject) -> None:
    ours = subject.description.sources
    differing = [name for name in WEIGHTS if ours.get(name, {}).get("sha256") != certificate.sources.get(name)]
    if differing:
        raise ValidationError(
            f"{path} is of another {', '.join(differing)} than {subject.folder} was converted from (by sha256). Give "
            "the certificate of these files."
        )


def _new(output: str | Path) -> Path:
    path = Path(output).expanduser()
    if path.exists():
        raise ResourceError(f"{path} exists. Choose another output folder, or remove it first.")
    return path
