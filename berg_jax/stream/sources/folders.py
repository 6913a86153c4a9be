"""Image files in folders and in lists of paths."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import ModelNotFoundError, StimulusError
from ...files.disk import readable
from ...files.names import on_disk
from .account import Account
from .image_files import FilesSource, OnError, PathFile, listing, natural
from .kinds import is_picture, passed_over

TARS = (".tar",)
OWN = "in output of berg_jax"
_MOST_FOLDERS = 1_000_000  # that links may lead to
_REPORT, _CONFIG, _COMMAND = "report.html", "config.json", b'"command": "berg-jax '


@dataclass
class Found:
    """Files found below a folder.

    Attributes
    ----------
    files
        The pictures, and broken links to what may be pictures, in natural order.
    tars
        Tar files.
    unreadable
        Folders that may not be read, and why.
    passed_over
        Number of all other files, by the reason.
    """

    files: list[PathFile] = field(default_factory=list)
    tars: list[Path] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)


def search(folder: Path, output: Path | None = None) -> Found:
    """Return the files below a folder; links to folders are followed, but not in circles.

    Parameters
    ----------
    folder
        The folder.
    output
        Folder that the command writes, whose files are no stimuli.

    Raises
    ------
    StimulusError
        Links lead to more than a million folders.
    """
    found = Found()
    own = None if output is None else os.path.realpath(output)
    waiting: list[tuple[str, str, str | None, frozenset[tuple[int, int]]]] = [(str(folder), "", None, frozenset())]
    visited = 0
    while waiting:
        path, prefix, reason, above = waiting.pop()
        visited += 1
        if visited > _MOST_FOLDERS:
            raise StimulusError(f"{folder} leads to more than {_MOST_FOLDERS:,} folders by links. Remove some.")
        try:
            status = os.stat(path)
            place = status.st_dev, status.st_ino
            if place in above:
                found.passed_over["link back to a folder above it"] += 1
                continue
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            found.unreadable[prefix or path] = f"the folder cannot be read: {error.strerror}"
            continue
        if prefix and reason is None and (os.path.realpath(path) == own or _is_output(entries)):
            reason = OWN
        for entry in entries:
            name = prefix + entry.name
            why = reason or passed_over(entry.name)
            if _is_folder(entry):
                waiting.append((entry.path, f"{name}/", why, above | {place}))
            elif why is not None:
                found.passed_over[why] += 1
            else:
                _add(found, entry, name)
    found.files.sort(key=lambda file: natural(file.name))
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _add(found: Found, entry: os.DirEntry[str], name: str) -> None:
    """Add a file to what was found."""
    path, suffix = Path(entry.path), os.path.splitext(entry.name)[1].lower()
    problem = ""
    try:
        status = entry.stat()
    except OSError as error:  # a broken link, or one to a place that may not be entered
        if not is_picture(name, None) and suffix:
            found.passed_over[f"broken link ({suffix})"] += 1
            return
        found.files.append(PathFile(name, path, 0, problem=link_problem(path, error)))
        return
    if not entry.is_file():
        found.passed_over["no file (pipe or device)"] += 1
        return
    if suffix in TARS:
        found.tars.append(path)
        return
    try:
        picture = is_picture(name, None)
        if not picture and status.st_size:
            with path.open("rb") as stream:
                picture = is_picture(name, stream)
    except OSError as error:
        picture, problem = True, f"{path} cannot be read: {error.strerror}. Check its permissions."
    if picture:
        found.files.append(PathFile(name, path, status.st_size, problem=problem))
    else:
        found.passed_over[f"no picture ({suffix or 'no suffix'})"] += 1


def link_problem(path: Path, error: OSError) -> str:
    """Return what is wrong with a file that is listed in a folder and cannot be looked at."""
    if not path.is_symlink():
        return f"{path} cannot be read: {error.strerror}. Check its permissions."
    target = os.readlink(path)
    fetch = " (datalad get or git annex get fetches it)" if ".git/annex" in target else ""
    return f"{path} is a broken link to {target}{fetch}. Fetch the file it stands for, or remove it."


def _is_output(entries: list[os.DirEntry[str]]) -> bool:
    """Return whether a folder is what a command has written: a store of responses, or an experiment's results."""
    there = {entry.name: entry for entry in entries}
    if {"zarr.json", "ledger"} <= there.keys():
        return True
    if not {_REPORT, _CONFIG} <= there.keys():
        return False
    try:
        with open(there[_CONFIG].path, "rb") as file:
            return _COMMAND in file.read(1 << 16)
    except OSError:
        return False


class FolderSource(FilesSource):
    """The image files of a folder and its subfolders, in natural order (2 before 10).

    Links to folders are followed. A file is an image by its suffix or, where that tells nothing, by its first bytes.
    Hidden files and folders, what macOS and file servers leave (``__MACOSX``, ``@eaDir``), and output of berg_jax
    are passed over; ``account`` counts them.

    Parameters
    ----------
    folder
        Folder of the files.
    fit
        Treatment of images that are not square: ``"error"``, ``"crop"`` (to the middle square), ``"pad"`` (with
        grey), or ``"stretch"``; see :class:`FilesSource`.
    on_error
        Treatment of files that cannot be used, ``"error"`` or ``"skip"``; see :class:`FilesSource`.
    output
        Folder that is being written, whose files are no stimuli.

    Raises
    ------
    ModelNotFoundError
        There is no such folder.
    StimulusError
        The folder has no images; or images that cannot be used, folders that may not be read, or tar files beside
        images, while ``on_error`` is ``"error"``.

    See Also
    --------
    ListSource, TarSource, ArraySource : Other sources of images.

    Examples
    --------
    >>> from berg_jax.demo import photographs
    >>> source = FolderSource(photographs()["flower.jpg"].parent, fit="crop")
    >>> source.ids
    ['china.jpg', 'flower.jpg']
    """

    def __init__(
        self, folder: str | Path, fit: str = "error", on_error: OnError = "error", output: str | Path | None = None
    ) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ModelNotFoundError(f"There is no folder {folder}. Give a folder of image files.")
        found = search(self.folder, None if output is None else Path(output))
        problems = [f"{folder}/{name.rstrip('/')}: {why}." for name, why in found.unreadable.items()]
        if problems and on_error == "error":
            raise StimulusError(_first(problems) + " Check its permissions; encode's --on-error skip leaves it out.")
        if not found.files:
            raise StimulusError(_none(folder, found))
        if found.tars and on_error == "error":
            raise StimulusError(
                f"{folder} holds {len(found.files):,} image files and {len(found.tars):,} tar files, such as "
                f"{found.tars[0].name}. Give the one or the other: a folder of its own, or a list of the images; "
                "encode's --on-error skip leaves the tar files out."
            )
        account = Account(passed_over=found.passed_over, skipped=found.unreadable)
        account.skipped |= {
            path.relative_to(self.folder).as_posix(): "a tar file beside images" for path in found.tars
        }
        super().__init__(found.files, fit, on_error, account)


def _none(folder: str | Path, found: Found) -> str:
    """Return the message for a folder without images."""
    if found.tars:
        return f"{folder} holds no image files, but tar files in folders, such as {found.tars[0]}. Give one folder."
    others = ", ".join(f"{count:,} {reason}" for reason, count in sorted(found.passed_over.items()))
    return f"{folder} holds no image files{f'; passed over: {others}' if others else ''}. Give a folder of images."


def _first(problems: list[str]) -> str:
    more = f" And {len(problems) - 1:,} more." if len(problems) > 1 else ""
    return problems[0] + more


class ListSource(FilesSource):
    """The image files that a text file lists, in its order.

    Parameters
    ----------
    path
        Text file with one path per line, absolute or relative to the list's folder. Empty lines and lines that begin
        with ``#`` are ignored. The name of an image is its path; from absolute paths, the folder that they all share
        is removed. Hidden files and what other programs leave are passed over, as in a folder.
    fit
        Treatment of images that are not square: ``"error"``, ``"crop"`` (to the middle square), ``"pad"`` (with
        grey), or ``"stretch"``; see :class:`FilesSource`.
    on_error
        Treatment of files that cannot be used, ``"error"`` or ``"skip"``; see :class:`FilesSource`.

    Raises
    ------
    ModelNotFoundError
        There is no such list, or no file at one of its paths while ``on_error`` is ``"error"``.
    StimulusError
        The list is not text, is empty, or has an image twice or one that cannot be used.

    See Also
    --------
    FolderSource, TarSource, ArraySource : Other sources of images.
    """

    def __init__(self, path: str | Path, fit: str = "error", on_error: OnError = "error") -> None:
        self.path = Path(path)
        account = Account()
        files: dict[str, PathFile] = {}
        first: dict[str, int] = {}
        lines = list(_lines(self.path))
        shared = os.path.commonpath([os.path.dirname(name) for _, name, _ in lines]) if lines else ""
        for number, name, target in lines:
            where = f"{path}, line {number}: "
            if name in files:
                raise StimulusError(f"{where}{name!r} stands in line {first[name]} already. List each image once.")
            parts = name.removeprefix(shared).split("/")
            if why := next(filter(None, map(passed_over, parts)), None):
                account.passed_over[why] += 1
                continue
            with readable(f"{where}{str(target)[:200]}", StimulusError, "Give the path of one image a line."):
                target = on_disk(target)
                size = target.stat().st_size if target.is_file() else None
            problem = ""
            if size is None:
                problem = f"there is no file {target}. Give the path of one image a line."
                if target.is_symlink():
                    problem = link_problem(target, OSError())
            first[name] = number
            files[name] = PathFile(name, target, size or 0, where, problem and where + problem)
        missing = [file.problem for file in files.values() if file.problem]
        if missing and on_error == "error":
            raise ModelNotFoundError(listing(missing, len(files)))
        if not files:
            raise StimulusError(f"{path} lists no images. Give the path of one image a line.")
        super().__init__(list(files.values()), fit, on_error, account)


def _lines(path: Path) -> Iterator[tuple[int, str, Path]]:
    """Yield for each image of a list its line's number, its name and its path."""
    if not path.is_file():
        raise ModelNotFoundError(f"There is no file {path}. Give a text file with the path of one image a line.")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise StimulusError(f"{path} cannot be read as text: {error}. Give the path of one image a line.") from error
    # Python, unlike the system, treats two slashes at the beginning as another root than one.
    lines = [re.sub("^//+", "/", line) for line in lines]
    listed = {number: Path(line) for number, line in enumerate(lines, 1) if line and line[0] != "#"}
    absolute = [str(file.parent) for file in listed.values() if file.is_absolute()]
    shared = os.path.commonpath(absolute) if absolute else ""
    for number, file in listed.items():
        yield number, (file.relative_to(shared) if file.is_absolute() else file).as_posix(), path.parent / file
