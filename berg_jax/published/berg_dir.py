"""Paths of a subject's files in a BERG directory and in the public bucket; imports neither JAX nor Flax."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidParameterError, ModelNotFoundError, ResourceError
from ..files.disk import read_small

MODEL_FOLDER = Path("encoding_models/modality-fmri/train_dataset-nsd_fsaverage/model-huze")
DESCRIPTION, METADATA = "subject.json", "metadata.npy"  # files in a converted subject's folder
DEMO = "demo"  # the berg_dir that stands for the synthetic demo subjects
DEMO_SUBJECTS = (1, 2, 3, 4)
DEMO_VERSION = 1  # version of their generator, which changes whenever it builds something else
CACHE_VARIABLE = "BERG_JAX_CACHE"
_log = logging.getLogger(__name__)

# sha256 of the files as the model's author published them.
PUBLISHED = {
    "subj01_part1.pth": "832b67cebae7d34ce51720ce63e5aa69e5a1dc4d20c7578e2481410db0d4d014",
    "subj01_part2.pth": "f72e8ead92ca7c4f6ec8f10df9028000e71808992e71d433fe8326e5289a95f6",
    "part1_voxel_indices.pt": "81c686f552aba9902cd99d841502a2fd29cd9f2c325d9f47c3db1d54eb4e8862",
}


def check_subject_id(subject_id: int) -> int:
    """Return a subject's ID as an int, or raise InvalidParameterError unless it is a number from 1 to 99."""
    if isinstance(subject_id, bool) or not hasattr(subject_id, "__index__") or not 1 <= int(subject_id) <= 99:
        raise InvalidParameterError(f"subject must be a whole number from 1 to 99, got {subject_id!r}.")
    return int(subject_id)


def cache_folder() -> Path:
    """Return the folder for files that berg_jax can make again: ``BERG_JAX_CACHE``, or one in the user's cache.

    Raises
    ------
    ResourceError
        The user has no home folder, as in some containers.
    """
    cache = os.environ.get(CACHE_VARIABLE) or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "berg_jax"
    try:
        return Path(cache).expanduser()
    except RuntimeError as error:
        raise ResourceError(f"You have no home folder here. Set {CACHE_VARIABLE} to a folder.") from error


def demo_folder() -> Path:
    """Return the BERG directory of the demo subjects, which is in the cache folder."""
    return cache_folder() / f"{DEMO}-{DEMO_VERSION}"


def resolve_berg_dir(berg_dir: str | Path) -> Path:
    """Return the path of a BERG directory, with ``~`` and ``"demo"`` expanded.

    A folder named ``demo`` that is a BERG directory takes precedence over the demo subjects, with a warning.
    """
    path = Path(berg_dir).expanduser()
    if path != Path(DEMO):
        return path
    if (path / "encoding_models").is_dir():
        _log.warning("berg_dir 'demo' is the folder %s here, not the demo subjects.", path.absolute())
        return path
    return demo_folder()


@dataclass(frozen=True)
class SubjectFiles:
    """Paths of one subject's files below a BERG directory, whether or not the files exist.

    Attributes
    ----------
    berg_dir
        The BERG directory, with ``"demo"`` expanded.
    subject_id
        ID of the subject.

    Examples
    --------
    >>> SubjectFiles(Path("berg_dir"), 1).part1.name
    'subj01_part1.pth'
    """

    berg_dir: Path
    subject_id: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "berg_dir", resolve_berg_dir(self.berg_dir))

    @property
    def is_demo(self) -> bool:
        """Whether the subject is one of the synthetic demo subjects."""
        return self.berg_dir == demo_folder()

    @property
    def name(self) -> str:
        """Name of the subject inside the files, such as ``subj01``."""
        return f"subj{self.subject_id:02d}"

    @property
    def model(self) -> Path:
        """Folder of the model."""
        return self.berg_dir / MODEL_FOLDER

    @property
    def part1(self) -> Path:
        """File of part 1's weights."""
        return self.model / "encoding_models_weights" / f"{self.name}_part1.pth"

    @property
    def part2(self) -> Path:
        """File of part 2's weights."""
        return self.model / "encoding_models_weights" / f"{self.name}_part2.pth"

    @property
    def indices(self) -> Path:
        """File of the vertices that part 1 predicts, for every subject."""
        return self.model / "encoding_models_weights" / "part1_voxel_indices.pt"

    @property
    def metadata(self) -> Path:
        """File of the metadata: noise ceilings, ROIs, accuracies and image splits."""
        return self.model / "metadata" / f"metadata_subject-{self.subject_id:02d}.npy"

    @property
    def metadata_places(self) -> list[Path]:
        """Possible files of the metadata: in the BERG directory, and in the converted subject's folder."""
        places = [self.metadata, self.converted / METADATA]
        for folder in (self.berg_dir, self.berg_dir / self.name):  # a subject's own folder, and that of a fit
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
                if json.loads(read_small(folder / DESCRIPTION))["subject"] == self.subject_id:
                    places.append(folder / METADATA)
        return places

    @property
    def converted(self) -> Path:
        """Default folder of the converted subject."""
        return self.model / "berg_jax" / self.name

    def require(self) -> None:
        """Raise ModelNotFoundError unless all files that the conversion needs exist."""
        if self.is_demo:
            raise ModelNotFoundError(
                "The demo subjects are synthetic and exist in converted form only: there are no PyTorch files to "
                "convert or to compare with. Use berg-jax make-synthetic-subject for such files."
            )
        if not self.berg_dir.is_dir():
            raise ModelNotFoundError(
                f"There is no folder {self.berg_dir}. Give the berg_dir, which holds {MODEL_FOLDER}."
            )
        missing = [path for path in (self.part1, self.part2, self.indices) if not path.is_file()]
        if missing:
            available = available_subjects(self.berg_dir)
            raise ModelNotFoundError(
                f"Subject {self.subject_id} is not complete: {missing[0].parent} lacks "
                f"{', '.join(path.name for path in missing)}. "
                + (f"Subjects there: {available}." if available else "No subject is there.")
            )


def subjects_sentence(berg_dir: str | Path) -> str:
    """Return a sentence that names the subjects of a BERG directory.

    Raises
    ------
    ModelNotFoundError
        There is no such folder.
    """
    path = resolve_berg_dir(berg_dir)
    if path == demo_folder():
        return (
            f"Subjects in {berg_dir}: {', '.join(map(str, DEMO_SUBJECTS))} (synthetic, each built on its first use)."
        )
    if not path.is_dir():
        raise ModelNotFoundError(f"There is no folder {path}. Give the berg_dir, which holds {MODEL_FOLDER}.")
    if (path / DESCRIPTION).is_file():
        return f"{berg_dir} is one converted subject's own folder."
    found = available_subjects(path)
    if not found:
        return f"Subjects in {berg_dir}: none with its weights (berg-jax fetch gets them)."
    return f"Subjects in {berg_dir}: {', '.join(map(str, found))}."


def available_subjects(berg_dir: Path) -> list[int]:
    """Return the IDs of the subjects of a BERG directory that can be loaded, ascending.

    They have both weight files, are converted, or were fitted: a fit's output holds a folder such as ``subj09``.
    """
    folder = berg_dir / MODEL_FOLDER
    found = {
        int(match[1])
        for path in folder.glob("encoding_models_weights/subj*_part1.pth")
        if (match := re.fullmatch(r"subj(\d\d)_part1\.pth", path.name))
        and path.with_name(f"subj{match[1]}_part2.pth").is_file()
    }
    found |= {
        int(match[1])
        for parent in (folder / "berg_jax", berg_dir)
        for path in parent.glob(f"subj*/{DESCRIPTION}")
        if (match := re.fullmatch(r"subj(\d\d)", path.parent.name))
    }
    return sorted(found)
