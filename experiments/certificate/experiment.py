"""The certificate: shows, on your machine and with your files, that the converted model equals the PyTorch one.

berg-jax verify --berg-dir DIR --subject N --output FOLDER                             with PyTorch
berg-jax verify --berg-dir DIR --subject N --output FOLDER --against certificate.json  without it

The reference is ``convert/torch_reference.py``; where the published ``berg`` package is installed, responses are
its own. (That path follows the package's documented interface; it has only been run with our own class of the
same interface.) Our model is run first and let go of, then the reference, so that one is in memory at a time.

On synthetic weights expect responses within 6e-5 z, tokens within 1e-6, the gradient within 1e-5.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ...errors import InvalidParameterError, ModelNotFoundError, ResourceError, ValidationError
from ...files.disk import atomic_folder, explained
from ...model.nn.config import IMAGE
from ...published.berg_dir import SubjectFiles, check_subject_id
from .comparison import (
    RESPONSE_LIMIT,
    Observation,
    Stimuli,
    all_stimuli,
    check_consistency,
    compare,
    error_table,
    measured_selection_path,
    observe,
    observe_berg,
    observe_reference,
    recorded_stimuli,
    recorded_vertices,
    response_check,
    selection_path,
)
from .facts import find_devices, notes, part1_vertices, provenance, reference_options, regions
from .record import Certificate, Check, read_certificate, record, recorded
from .report import write_report

if TYPE_CHECKING:
    from ...convert.subject import Options
    from ...subject import Subject

WEIGHTS = ("part1", "part2", "part1_voxel_indices")  # the sources that responses depend on

_log = logging.getLogger(__name__)


def certify(
    berg_dir: str | Path,
    subject: int,
    output: str | Path,
    *,
    config: str | Path | None = None,
    num_heads: int | None = None,
    lora_scale: float | None = None,
    retina_sigma: float | None = None,
    precisions: Sequence[str] = ("float32", "tensorfloat32", "bfloat16"),
    images_per_batch: int = 2,
    show_progress: bool = True,
) -> Certificate:
    """Compare a subject's converted model with PyTorch, and write ``certificate.json`` and ``report.html``.

    Parameters
    ----------
    berg_dir, subject
        As for :func:`berg_jax.load`; the subject's PyTorch files must be there.
    output
        The folder to write; it must not exist.
    config, num_heads, lora_scale, retina_sigma
        What the reference is given, as for a conversion: by default embed_dim / 64 heads, 0.2 and 0.01, whatever
        the subject was converted with.
    precisions
        What to report. float32 is always among them, and alone decides.
    images_per_batch
        Images that our model takes at once.
    show_progress
        Show a progress bar where there is a terminal.

    Returns
    -------
    The certificate; ``passed`` says how it went.

    Raises
    ------
    ModelNotFoundError
        There are no PyTorch files to compare with.
    ResourceError
        PyTorch, matplotlib or the photographs are not installed, or the output exists or cannot be written.
    BERGError
        The subject cannot be loaded, or an option makes no sense.
    """
    from tqdm import tqdm

    from ...convert.subject import read_options
    from ...model.encoding_model import check_precision
    from ...subject import Subject

    start = time.perf_counter()
    _require_sources(SubjectFiles(Path(berg_dir).expanduser(), check_subject_id(subject)))
    _require_installed("torch", "torch")
    _require_installed("matplotlib", "demo")
    output = _new(output)
    if images_per_batch < 1:
        raise InvalidParameterError(f"images_per_batch must be at least 1, got {images_per_batch}.")
    precisions = tuple(dict.fromkeys(("float32", *precisions)))
    for precision in precisions:
        check_precision(precision)
    options = read_options(config, num_heads, lora_scale, retina_sigma)
    stimuli = all_stimuli()
    devices = find_devices()
    with atomic_folder(output, replace=False) as folder:
        person = Subject(berg_dir, subject, num_heads=options.num_heads)
        steps = len(stimuli) * (len(devices) * len(precisions) + 1)
        with tqdm(total=steps, unit="image", disable=None if show_progress else True) as progress:
            ours, own_checks = _run_ours(person, stimuli, devices, precisions, images_per_batch, progress)
            theirs, facts = _run_reference(person, Path(berg_dir).expanduser(), options, stimuli, progress)
        responses = {key: seen.responses for key, seen in ours.items()}
        cpu = ("cpu", "float32")
        others = {key: values for key, values in responses.items() if key[1] == "float32" and key != cpu}
        certificate = Certificate(
            **provenance(person, stimuli, "torch"),
            **facts,
            seconds=round(time.perf_counter() - start, 1),
            checks=[
                *compare(ours[cpu], theirs),
                *(response_check(device, values, theirs.responses) for (device, _), values in others.items()),
                *own_checks,
            ],
            errors=error_table(responses, theirs.responses, regions(person)),
            recorded=_record(stimuli, theirs.responses),
            notes=notes(person, facts["reference"]),
        )
        with explained("write", output):
            _write(folder, certificate, responses, theirs.responses)
    return certificate


def check_against(
    berg_dir: str | Path,
    subject: int,
    certificate: str | Path,
    output: str | Path | None = None,
    *,
    show_progress: bool = True,
) -> Certificate:
    """Compare this machine's responses with the reference's that a certificate has recorded. Needs no PyTorch.

    Parameters
    ----------
    berg_dir, subject
        As for :func:`berg_jax.load`; a converted subject's folder will do.
    certificate
        A ``certificate.json`` that passed, of the same subject and files.
    output
        The folder to write this machine's certificate and report to; it must not exist.
    show_progress
        Show a progress bar where there is a terminal.

    Returns
    -------
    The certificate of this machine.

    Raises
    ------
    ModelNotFoundError
        There is no such certificate or subject.
    ValidationError
        The certificate is damaged, did not pass, or is of another subject or other files.
    ResourceError
        The output exists or cannot be written, or matplotlib, which draws its report, is not installed.
    """
    from tqdm import tqdm

    from ...subject import Subject

    start = time.perf_counter()
    path = Path(certificate).expanduser()
    theirs = read_certificate(path)
    if theirs.subject != check_subject_id(subject):
        raise ValidationError(
            f"{path} is of subject {theirs.subject}, not {subject}. Give that subject's certificate."
        )
    if output is not None:
        _require_installed("matplotlib", "demo")
        output = _new(output)
    stimuli = recorded_stimuli()
    person = Subject(berg_dir, subject)
    _require_same_sources(path, theirs, person)
    vertices = recorded_vertices(2 * person.hemisphere_size)
    expected = recorded(path, theirs.recorded, stimuli, vertices)
    devices = find_devices()
    with tqdm(total=len(devices) * len(stimuli), unit="image", disable=None if show_progress else True) as progress:
        ours, _ = _run_ours(person, stimuli, devices, ("float32",), 2, progress, deep=False)
    responses = {key: seen.responses[:, vertices] for key, seen in ours.items()}
    made = Certificate(
        **provenance(person, stimuli),
        reference={**theirs.reference, "name": f"{theirs.reference['name']}, as recorded on {theirs.date}"},
        selection_path=theirs.selection_path,
        seconds=round(time.perf_counter() - start, 1),
        checks=[response_check(device, seen, expected) for (device, _), seen in responses.items()],
        errors=error_table(responses, expected, {"recorded vertices": np.arange(len(vertices))}),
        recorded=theirs.recorded,
    )
    if output is not None:
        with atomic_folder(output, replace=False) as folder, explained("write", output):
            _write(folder, made, responses, expected)
    return made


# The run.


def _announce(progress: Any, what: str) -> None:
    """What is computed next, before the bar or, where there is no terminal, in the log."""
    progress.set_description(what)
    if progress.disable:
        _log.info("Computing the answers of %s …", what)


def _run_ours(
    person: Subject,
    stimuli: Stimuli,
    devices: Sequence[Any],
    precisions: Sequence[str],
    images_per_batch: int,
    progress: Any,
    deep: bool = True,
) -> tuple[dict[tuple[str, str], Observation], list[Check]]:
    """Observations by device and precision, and the checks that need our model alone."""
    import jax

    from ...model.checkpoint import load_model

    seen, checks = {}, []
    for device in devices:
        for precision in precisions:
            key = (device.platform if device.platform == "cpu" else device.device_kind, precision)
            _announce(progress, f"berg_jax, {', '.join(key)}")
            exact = key == ("cpu", "float32")
            with jax.default_device(device):
                model = load_model(person.folder, precision=precision, check=not seen)
                seen[key] = observe(model, stimuli, images_per_batch, deep=deep and exact, advance=progress.update)
                if exact and deep:
                    images = np.stack([image for image in stimuli.values() if image.shape[-1] == IMAGE][:2])
                    checks += check_consistency(model, images, part1_vertices(person))
            del model  # before the next one is loaded
    return seen, checks


def _run_reference(
    person: Subject, berg_dir: Path, options: Options, stimuli: Stimuli, progress: Any
) -> tuple[Observation, dict[str, Any]]:
    """What the reference makes of the stimuli; which reference that was, and what its selection path does."""
    from ...convert.torch_reference import load_reference

    _announce(progress, "the reference, PyTorch")
    subject, layout = person.description.subject, person.description.layout
    given = reference_options(person, options)
    theirs, second = observe_reference(load_reference(berg_dir, subject, **given), stimuli, progress.update)
    found = selection_path(second, part1_vertices(person), layout)
    name, published = "convert/torch_reference.py", _published()
    if published and layout == "overlay":  # its full path knows no other
        berg_class, name = published
        responses = observe_berg(berg_class, berg_dir, subject, stimuli)
        theirs = replace(theirs, responses=responses)
        found = measured_selection_path(berg_class, name, berg_dir, subject, stimuli, responses)
    return theirs, {"reference": {"name": name, **given}, "selection_path": found}


def _published() -> tuple[Any, str] | None:
    """The published package's class and its name with version, where it is installed."""
    try:
        from berg import BERG
    except ImportError:
        return None
    distributions = importlib.metadata.packages_distributions().get("berg", [])
    version = importlib.metadata.version(distributions[0]) if distributions else "of unknown version"
    return BERG, f"berg package {version}"


# The certificate.


def _record(stimuli: Stimuli, responses: Float[np.ndarray, "stimuli vertices"]) -> dict[str, Any]:
    """Of the reference's responses those to the recorded stimuli, at the recorded vertices."""
    shown = recorded_stimuli()
    rows = [row for row, name in enumerate(stimuli) if name in shown]
    vertices = recorded_vertices(responses.shape[1])
    return record(shown, vertices, responses[rows][:, vertices])


def _write(
    folder: Path, certificate: Certificate, ours: Mapping[tuple[str, str], np.ndarray], theirs: np.ndarray
) -> None:
    (folder / "certificate.json").write_text(certificate.to_json(), encoding="utf-8")
    write_report(folder / "report.html", certificate, ours, theirs, RESPONSE_LIMIT)


# What is wrong is said before work starts.


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


def _require_same_sources(path: Path, certificate: Certificate, person: Subject) -> None:
    ours = person.description.sources
    differing = [name for name in WEIGHTS if ours.get(name, {}).get("sha256") != certificate.sources.get(name)]
    if differing:
        raise ValidationError(
            f"{path} is of another {', '.join(differing)} than {person.folder} was converted from (by sha256). Give "
            "the certificate of these files."
        )


def _new(output: str | Path) -> Path:
    path = Path(output).expanduser()
    if path.exists():
        raise ResourceError(f"{path} exists. Choose another output folder, or remove it first.")
    return path
