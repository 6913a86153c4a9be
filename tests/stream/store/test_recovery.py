"""Recovery of a store: skipped images are filled, new ones appended, and every row before stays the same bits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

import berg_jax
from berg_jax.errors import InvalidParameterError, ModelNotFoundError, ResourceError
from berg_jax.stream.store import growth, ledger
from berg_jax.stream.store.status import account_of

from ...conftest import Golden
from ..calls import encode_images

NAMES = ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png", "g.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven images of one size."""
    path = tmp_path / "images"
    path.mkdir()
    for seed, name in enumerate(NAMES):
        values = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(values).save(path / name)
    return path


def part(folder: Path, names: list[str]) -> Path:
    """A folder beside it with some of its images."""
    path = folder.parent / "".join(name[0] for name in names)
    path.mkdir()
    for name in names:
        shutil.copy(folder / name, path / name)
    return path


def damage(folder: Path) -> dict[str, bytes]:
    """Make one image unreadable from its first byte on, and one within; what they were."""
    whole = {name: (folder / name).read_bytes() for name in ("b.png", "e.png")}
    (folder / "b.png").write_bytes(b"no image")
    (folder / "e.png").write_bytes(whole["e.png"][:-300])
    return whole


def encode(images: Path, complement: Golden, output: Path, **options: object) -> str:
    return encode_images(images, complement.folder, 2, output, **{"roi": "V3v", **options})


def stored(output: Path) -> dict[str, bytes]:
    """The bits of each image's row."""
    data = berg_jax.open_responses(output).data
    return {str(name): row.tobytes() for name, row in zip(data.image.values, data.values, strict=True)}


def facts(output: Path) -> tuple[list[int], str, dict]:
    """A store's digests, the fingerprint of its images, and its account."""
    group = zarr.open_group(output, mode="r", use_consolidated=False)
    return group["digest"][:].tolist(), group.attrs["run"]["images"], account_of(output)


def test_skipped_images_are_filled_and_nothing_else_changes(complement: Golden, folder: Path, tmp_path: Path) -> None:
    """Images are mended → --retry-skipped fills their rows; the store is as if they had never been broken."""
    fresh, output, other = tmp_path / "fresh.zarr", tmp_path / "o.zarr", tmp_path / "other.zarr"
    encode(folder, complement, fresh)
    whole = damage(folder)
    encode(folder, complement, output, on_error="skip")
    shutil.copytree(output, other)
    before = stored(output)
    assert list(account_of(output)["skipped"]) == ["b.png", "e.png"]

    (folder / "b.png").write_bytes(whole["b.png"])
    said = encode(folder, complement, output, on_error="skip", retry_skipped=True)
    assert "7 found = 6 encoded + 1 skipped + 0 passed over" in said
    after = stored(output)
    assert after["b.png"] == stored(fresh)["b.png"]
    assert {name: bits for name, bits in after.items() if name != "b.png"} == {
        name: bits for name, bits in before.items() if name != "b.png"
    }

    (folder / "e.png").write_bytes(whole["e.png"])
    encode(folder, complement, output, retry_skipped=True)
    assert stored(output) == stored(fresh)
    assert facts(output) == facts(fresh)
    assert "complete already" in encode(folder, complement, output)

    encode(part(folder, ["b.png", "e.png"]), complement, other, retry_skipped=True)  # the mended ones alone
    assert stored(other) == stored(fresh)
    assert facts(other) == facts(fresh)


def test_images_are_appended_behind_the_rows_before(complement: Golden, folder: Path, tmp_path: Path) -> None:
    """A folder grows → --append adds the new images; the rows before are the same bits."""
    output, fresh = tmp_path / "o.zarr", tmp_path / "fresh.zarr"
    encode(folder, complement, fresh)
    encode(part(folder, ["b.png", "d.png", "f.png"]), complement, output)
    before = stored(output)
    encode(part(folder, ["a.png", "b.png", "c.png", "d.png", "f.png"]), complement, output, append=True)
    after = stored(output)
    assert list(after) == ["b.png", "d.png", "f.png", "a.png", "c.png"]
    assert {name: after[name] for name in before} == before
    encode(part(folder, ["e.png", "g.png"]), complement, output, append=True)  # the new ones alone
    final = stored(output)
    assert list(final) == ["b.png", "d.png", "f.png", "a.png", "c.png", "e.png", "g.png"]
    assert {name: final[name] for name in after} == after
    assert {name: final[name] for name in NAMES} == stored(fresh)
    assert account_of(output) == account_of(fresh)
    digests = dict(zip(final, facts(output)[0], strict=True))
    assert [digests[name] for name in NAMES] == facts(fresh)[0]
    assert "complete already" in encode(folder, complement, output, append=True)  # nothing is new


def test_a_grown_array_is_as_if_it_had_been_encoded_at_once(complement: Golden, tmp_path: Path) -> None:
    """Rows are added to an array → after --append, the plain command finds the store complete."""
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    path, output, fresh = tmp_path / "images.npy", tmp_path / "o.zarr", tmp_path / "fresh.zarr"
    np.save(path, images)
    encode(path, complement, fresh)
    np.save(path, images[:2])
    encode(path, complement, output)
    np.save(path, images)
    encode(path, complement, output, append=True)
    assert stored(output) == stored(fresh)
    assert facts(output) == facts(fresh)
    assert "complete already" in encode(path, complement, output)


def test_what_cannot_be_recovered_is_refused(complement: Golden, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "o.zarr"
    encode(part(folder, ["a.png", "b.png"]), complement, output)
    before = stored(output)
    for images, options, kind, said in (
        (folder, {"retry_skipped": True, "append": True}, InvalidParameterError, "not both"),
        (folder, {"retry_skipped": True}, InvalidParameterError, "5 images are not in the output: 'c.png'"),
        (folder, {"append": True, "precision": "bfloat16"}, ResourceError, "precision is 'float32' there"),
        (folder, {"append": True, "dtype": "float16"}, ResourceError, "dtype is 'float32' there"),
    ):
        with pytest.raises(kind, match=said):
            encode(images, complement, output, **options)
    with pytest.raises(ModelNotFoundError, match="leave out --append"):
        encode(folder, complement, tmp_path / "none.zarr", append=True)
    shutil.copy(folder / "c.png", folder / "b.png")
    with pytest.raises(ResourceError, match=r"1 images have names that the output has, and other contents: 'b\.png'"):
        encode(folder, complement, output, append=True)
    assert stored(output) == before
    assert "complete already" in encode(tmp_path / "ab", complement, output)


class Killed(BaseException):
    """The end of a process, which no handler of errors meets."""


def at_every_write(patch: pytest.MonkeyPatch, moment: int) -> None:
    """Let the writes of the ledger and of the growth go well until this one, which is not done."""
    calls = []

    def write(place: Path, data: bytes) -> None:
        calls.append(place)
        if len(calls) == moment:
            raise Killed
        real(place, data)

    real = ledger.write
    patch.setattr(ledger, "write", write)
    patch.setattr(growth, "write", write)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["append", "retry_skipped"])
def test_a_kill_at_any_write_is_survived(kind: str, complement: Golden, folder: Path, tmp_path: Path) -> None:
    """The process dies at any moment → the same command again ends with the same bits."""
    fresh, output = tmp_path / "fresh.zarr", tmp_path / "begun.zarr"
    encode(folder, complement, fresh)
    if kind == "append":
        encode(part(folder, NAMES[:3]), complement, output)
    else:
        whole = damage(folder)
        encode(folder, complement, output, on_error="skip")
        for name, data in whole.items():
            (folder / name).write_bytes(data)
    moment = 0
    while True:
        moment += 1
        copy = shutil.copytree(output, tmp_path / f"{moment}.zarr")
        with pytest.MonkeyPatch.context() as patch:
            at_every_write(patch, moment)
            try:
                encode(folder, complement, copy, **{kind: True})
                break
            except Killed:
                pass
        encode(folder, complement, copy, **{kind: True})
        assert stored(copy) == stored(fresh)
        assert facts(copy) == facts(fresh)
        assert berg_jax.open_responses(copy).attributes["complete"]
    assert moment > 2
