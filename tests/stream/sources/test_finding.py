"""The files people have: what is encoded, what is skipped, what is passed over, and that all are accounted for."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from berg_jax.errors import InvalidParameterError, ModelNotFoundError, ResourceError, StimulusError
from berg_jax.stream.sources.folders import FolderSource, ListSource
from berg_jax.stream.sources.image_files import PathFile
from berg_jax.stream.sources.open import log_account, open_source
from berg_jax.stream.sources.tars import TarSource

from .image_files import encoded, member, pixels, write_tar

GIT_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
HTML = b"<!DOCTYPE html>\n<html><body>404 not found</body></html>"


def make(folder: Path, files: dict[str, bytes]) -> Path:
    for name, contents in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
    return folder


def pictures(*names: str) -> dict[str, bytes]:
    return {name: encoded(pixels(seed)) for seed, name in enumerate(names)}


def balanced(source: FolderSource | ListSource | TarSource) -> bool:
    """Whether every file that was found is encoded, skipped or passed over."""
    account = source.account.as_json()
    skipped, passed_over = len(account["skipped"]), sum(account["passed_over"].values())
    return account["found"] == account["encoded"] + skipped + passed_over


# Links


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    """A category's folder is a link to a folder elsewhere → its images are encoded."""
    make(tmp_path / "elsewhere", pictures("1.png", "2.png"))
    images = make(tmp_path / "images", pictures("faces/1.png"))
    (images / "places").symlink_to(tmp_path / "elsewhere")
    source = FolderSource(images)
    assert source.ids == ["faces/1.png", "places/1.png", "places/2.png"]
    assert balanced(source)


def test_links_in_circles_end(tmp_path: Path) -> None:
    """A folder holds a link to a folder above it → its images are encoded once, and the link is counted."""
    images = make(tmp_path / "images", pictures("a/1.png", "b/2.png"))
    (images / "a" / "up").symlink_to(images)
    (images / "a" / "across").symlink_to(images / "b")
    (images / "b" / "across").symlink_to(images / "a")
    source = FolderSource(images)
    assert source.ids == ["a/1.png", "a/across/2.png", "b/2.png", "b/across/1.png"]
    assert source.account.passed_over["link back to a folder above it"] == 4
    assert balanced(source)


def test_broken_links_are_errors(tmp_path: Path) -> None:
    """Some images are links to nothing, as in a DataLad dataset that was not fetched → an error that lists them."""
    images = make(tmp_path / "images", pictures("1.png", "2.png"))
    (images / "3.png").symlink_to(".git/annex/objects/xx/3.png")
    (images / "4.jpg").symlink_to("/gone/4.jpg")
    with pytest.raises(StimulusError, match=r"2 of 4 images cannot be used") as raised:
        FolderSource(images)
    assert "3.png is a broken link to .git/annex/objects/xx/3.png (datalad get or git annex get" in str(raised.value)
    assert "4.jpg is a broken link to /gone/4.jpg" in str(raised.value)
    source = FolderSource(images, on_error="skip")
    assert list(source.account.skipped) == ["3.png", "4.jpg"]
    assert balanced(source)
    with pytest.raises(StimulusError, match="broken link"):
        source.read([2])


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="there are no permissions of this kind here")
def test_folders_that_may_not_be_read_are_errors(tmp_path: Path) -> None:
    """A category's folder may not be read → an error that names it; skipping lists it."""
    images = make(tmp_path / "images", pictures("a/1.png", "b/1.png", "c.png"))
    program = (
        "import os, sys\n"
        "from berg_jax.stream.sources.folders import FolderSource\n"
        "from berg_jax.errors import StimulusError\n"
        "from PIL import Image\n"
        "Image.init()\n"
        "os.geteuid() or os.setuid(65534)\n"  # root may read everything
        "try: FolderSource(sys.argv[1])\n"
        "except StimulusError as error: print(error)\n"
        "print(FolderSource(sys.argv[1], on_error='skip').account)"
    )
    for folder in [images, *images.parents]:
        if folder.is_relative_to(tempfile.gettempdir()) and folder != Path(tempfile.gettempdir()):
            folder.chmod(0o755)  # for a user who is not root
    (images / "b").chmod(0)
    try:
        said = subprocess.run([sys.executable, "-c", program, images], capture_output=True, text=True, check=True)
    finally:
        (images / "b").chmod(0o755)
    assert "b: the folder cannot be read: Permission denied" in said.stdout
    assert "3 found = 2 usable + 1 skipped + 0 passed over" in said.stdout


# Kinds of files


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.gif", "GIF"),
        ("a.pgm", "PPM"),
        ("a.jfif", "JPEG"),
        ("a.jpe", "JPEG"),
        ("a.avif", "AVIF"),
        ("a.JPG", "JPEG"),
        ("a", "PNG"),
        ("a.0001", "JPEG"),
        ("a.dib", "BMP"),
    ],
)
def test_pictures_of_every_suffix_are_encoded(name: str, kind: str, tmp_path: Path) -> None:
    """Pictures whose suffix is rare, capital or missing lie beside others → all are encoded, in a tar, too."""
    image = Image.fromarray(pixels(0)[..., 0] if kind == "PPM" else pixels(0))
    stream = io.BytesIO()
    try:
        image.save(stream, kind)
    except (KeyError, OSError):
        pytest.skip(f"Pillow cannot write {kind} here")
    files = {name: stream.getvalue(), "b.png": encoded(pixels(1)), "notes.txt": b"not this"}
    folder = FolderSource(make(tmp_path / "images", files))
    shard = TarSource(write_tar(tmp_path / "x.tar", *(member(*item) for item in files.items())))
    assert folder.ids == [name, "b.png"]
    assert shard.ids == [f"x/{name}", "x/b.png"]
    expected = np.asarray(Image.open(stream).convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(folder.read([0])[0], expected)
    np.testing.assert_array_equal(shard.read([0])[0], expected)
    assert folder.account.as_json() == shard.account.as_json()
    assert folder.account.passed_over == {"no picture (.txt)": 1}


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is HEIC, which is not decoded here. Convert it to PNG or JPEG"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "it is JPEG 2000, which is not decoded here"),
        (HTML, "it is an HTML page"),
        (b"", "it is empty"),
        (GIT_LFS, "it is a Git LFS pointer, not the file itself: git lfs pull"),
        (bytes(400), "it is only zeros"),
        (b"%PDF-1.7\n", "it is a PDF document"),
        (b"\x89PNG\r\n\x1a\n" + bytes(5), "it begins as PNG does and is damaged or incomplete"),
    ],
)
def test_an_error_says_what_a_file_is(contents: bytes, said: str, tmp_path: Path) -> None:
    """A file named as a picture is something else → the error says what it is; skipping covers it."""
    images = make(tmp_path / "images", {**pictures("a.png", "b.png"), "c.jpg": contents})
    with pytest.raises(StimulusError, match=r"c\.jpg cannot be read as an image") as raised:
        FolderSource(images)
    assert said in str(raised.value)
    source = FolderSource(images, on_error="skip")
    assert list(source.account.skipped) == ["c.jpg"]
    assert source.read([0, 1]).shape == (2, 3, 16, 16)
    assert balanced(source)


def test_a_picture_named_as_another_kind_is_decoded(tmp_path: Path) -> None:
    """A GIF is named .jpg → it is decoded, because its contents decide."""
    images = make(tmp_path / "images", {"a.jpg": encoded(pixels(0)[:, :, 0], "GIF"), **pictures("b.png")})
    assert FolderSource(images).read([0, 1]).shape == (2, 3, 16, 16)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations_and_pages_are_refused(kind: str, tmp_path: Path) -> None:
    """A file holds several pictures, an animation or pages → refused, because one image is asked for."""
    frames = [Image.fromarray(pixels(seed)) for seed in range(3)]
    stream = io.BytesIO()
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
    images = make(tmp_path / "images", {f"a.{kind.lower()}": stream.getvalue(), **pictures("b.png")})
    with pytest.raises(StimulusError, match=r"holds (an animation of 3 pictures|several pages), and one is"):
        FolderSource(images)


def test_an_error_lists_all_bad_files(tmp_path: Path) -> None:
    """Many files are unusable → all are found before work starts; twenty are named, and the rest counted."""
    images = make(tmp_path / "images", {f"{number}.jpg": HTML for number in range(25)} | pictures("a.png"))
    with pytest.raises(StimulusError, match=r"25 of 26 images cannot be used") as raised:
        FolderSource(images)
    assert str(raised.value).count("HTML page") == 20
    assert "… and 5 more" in str(raised.value)
    with pytest.raises(StimulusError, match="25 of 25 images cannot be used"):
        FolderSource(make(tmp_path / "none", {f"{number}.jpg": HTML for number in range(25)}), on_error="skip")


# Files that are no stimuli

NOT_STIMULI = {
    "._x.png": b"AppleDouble",
    ".ipynb_checkpoints/x-checkpoint.png": encoded(pixels(7)),
    "faces/.thumbnails/x.png": encoded(pixels(7)),
    "faces/@eaDir/x.jpg": encoded(pixels(7)),
    "__MACOSX/faces/._x.png": b"AppleDouble",
    "Thumbs.db": b"\xd0\xcf\x11\xe0",
    "faces/labels.json": b"{}",
}


def test_one_set_of_files_is_one_set_of_images_in_every_container(tmp_path: Path) -> None:
    """Hidden files, previews and what macOS adds lie among images → passed over and counted, in every container."""
    files = pictures("faces/1.png", "faces/2.png", "places/1.png")
    images = make(tmp_path / "images", files | NOT_STIMULI)
    every = sorted(path.relative_to(images).as_posix() for path in images.rglob("*") if path.is_file())
    folder = FolderSource(images)
    assert folder.ids == list(files)
    listing = tmp_path / "images" / "list.txt"
    listing.write_text("\n".join(name for name in every if name.endswith((".png", ".jpg"))))
    in_list = ListSource(listing)
    shard = TarSource(write_tar(tmp_path / "x.tar", *(member(name, (images / name).read_bytes()) for name in every)))
    array = np.stack([np.asarray(Image.open(images / name)) for name in files])
    np.save(tmp_path / "x.npy", array)
    for source in (in_list, shard, open_source(tmp_path / "x.npy")):
        np.testing.assert_array_equal(source.read([0, 1, 2]), folder.read([0, 1, 2]))
    assert in_list.ids == folder.ids
    assert [name.removeprefix("x/") for name in shard.ids] == folder.ids
    assert folder.account.as_json() == shard.account.as_json()
    assert folder.account.passed_over.total() == len(NOT_STIMULI)
    assert in_list.account.passed_over.total() == 5  # the pictures among them
    assert balanced(folder)
    assert balanced(in_list)


def test_lists_in_hidden_folders_are_read(tmp_path: Path) -> None:
    """All images of a list lie in a hidden folder, such as a cache → they are encoded."""
    make(tmp_path / ".cache" / "stimuli", pictures("1.png", "2.png"))
    listing = tmp_path / "list.txt"
    for prefix in (f"{tmp_path}/.cache/stimuli", ".cache/stimuli"):
        listing.write_text(f"{prefix}/1.png\n{prefix}/2.png\n")
        assert len(ListSource(listing)) == 2


def test_missing_files_of_a_list(tmp_path: Path) -> None:
    """A list names files that are not there → an error that lists them; skipping keeps their places."""
    make(tmp_path, pictures("1.png"))
    (tmp_path / "list.txt").write_text("gone.png\n1.png\nfar/away.png\n")
    with pytest.raises(ModelNotFoundError, match=r"2 of 3 images cannot be used") as raised:
        ListSource(tmp_path / "list.txt")
    assert "line 3: there is no file" in str(raised.value)
    source = ListSource(tmp_path / "list.txt", on_error="skip")
    assert source.ids == ["gone.png", "1.png", "far/away.png"]
    assert source.account.encoded == 1


def test_output_below_the_images_is_no_stimulus(tmp_path: Path) -> None:
    """Results are written below the folder of images → no later run takes their pictures for images."""
    images = make(tmp_path / "images", pictures("a/1.png", "b/1.png"))
    make(images / "results", pictures("subj01/map.png"))
    make(
        images / "old", {**pictures("figure.png"), "report.html": b"", "config.json": b'{"command": "berg-jax rsa"}'}
    )
    make(images / "out.zarr", {"zarr.json": b"{}", "ledger/0.json": b"{}", **pictures("c.png")})
    source = open_source(images, output=images / "results")
    assert source.ids == ["a/1.png", "b/1.png"]
    assert source.account.passed_over == {"in output of berg_jax": 7}
    assert balanced(source)
    with pytest.raises(InvalidParameterError, match="Choose another output"):
        open_source(images, output=images / "a" / "..")
    report = make(tmp_path / "mine", {**pictures("figure.png"), "report.html": b"", "config.json": b"{}"})
    assert FolderSource(report).ids == ["figure.png"]
    assert FolderSource(images / "old").ids == ["figure.png"]  # asked for by name


def test_tar_files_beside_pictures_are_not_ignored(tmp_path: Path) -> None:
    """Tar shards and one picture share a folder → an error asks which is meant."""
    images = make(tmp_path / "images", pictures("preview.png"))
    for name in ("a.tar", "b.tar"):
        write_tar(images / name, *(member(*item) for item in pictures("1.png").items()))
    with pytest.raises(StimulusError, match="holds 1 image files and 2 tar files"):
        open_source(images)
    assert list(open_source(images, on_error="skip").account.skipped) == ["a.tar", "b.tar"]
    (images / "preview.png").unlink()
    assert open_source(images).ids == ["a/1.png", "b/1.png"]


def test_links_in_tars_are_skipped(tmp_path: Path) -> None:
    """A tar holds a link in place of an image → an error; skipping keeps its place."""
    link = member("b.png", type=b"2", linkname="/etc/passwd")
    path = write_tar(tmp_path / "x.tar", *(member(*item) for item in pictures("a.png").items()), link)
    source = TarSource(path, on_error="skip")
    assert source.account.skipped == {
        "x/b.png": f"{path} holds 'b.png', a link to '/etc/passwd'. Put the image itself there."
    }


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.ESTALE, errno.ENOMEM])
def test_trouble_of_the_machine_skips_no_image(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk, the network or the number of open files fails while images are read → an error, skip or not."""
    images = make(tmp_path / "images", pictures("a.png", "b.png"))
    source = FolderSource(images, on_error="skip")

    def fail(file: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(PathFile, "open", fail)
    with pytest.raises(ResourceError, match=r"a\.png cannot be read: (too many|the disk|the machine's memory)"):
        source.read([0])
    with pytest.raises(ResourceError, match=r"\.png cannot be read"):
        FolderSource(images, on_error="skip")


def test_the_account_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A command reads a folder of images → it says how many files are usable, skipped and passed over."""
    images = make(tmp_path / "images", {**pictures("a.png", "b.png"), "notes.txt": b"", ".x.png": b""})
    with caplog.at_level("INFO", logger="berg_jax"):
        log_account(images, open_source(images))
    said = "4 found = 2 usable + 0 skipped + 2 passed over (1 hidden, 1 no picture (.txt))"
    assert caplog.messages == [f"Images in {images}: {said}"]
