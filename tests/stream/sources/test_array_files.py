"""Arrays as people have them: held open, packed by plugins, several in a file, by MATLAB, scaled."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
import zarr
from typer.testing import CliRunner

import berg_jax
from berg_jax.cli.app import app
from berg_jax.errors import InvalidParameterError, ModelNotFoundError, StimulusError
from berg_jax.stream.sources.arrays import ArraySource, split_name
from berg_jax.stream.sources.open import open_source, require_there

from ...conftest import Golden

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 3, 6, 6), dtype=np.uint8)


def write_hdf5(path: Path, **arrays: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array
    return path


@pytest.fixture
def held_open(tmp_path: Path) -> Iterator[Path]:
    path = write_hdf5(tmp_path / "a.h5", images=IMAGES)
    code = f"import h5py, sys; f = h5py.File({str(path)!r}, 'r+'); print('open', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as holder:
        holder.stdout.readline()
        yield path
        holder.stdin.close()


@pytest.mark.nightly
def test_a_file_that_another_program_holds_open_is_not_to_be_fetched_again(held_open: Path) -> None:
    """An HDF5 file that another program writes to → said so, with `HDF5_USE_FILE_LOCKING`; with it, it is read."""
    with pytest.raises(StimulusError, match=r"another program holds it open.*HDF5_USE_FILE_LOCKING=FALSE") as found:
        ArraySource(held_open)
    assert "Get the file" not in str(found.value)
    code = f"from berg_jax.stream.sources.arrays import ArraySource; print(len(ArraySource({str(held_open)!r})))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"HDF5_USE_FILE_LOCKING": "FALSE", "PATH": ""},
        check=False,
    )
    assert result.stdout.strip() == "4", result.stderr


def test_a_file_that_was_never_closed_names_the_tool_that_clears_it(tmp_path: Path) -> None:
    """An HDF5 file whose writer was killed → `h5clear` is named."""
    path = tmp_path / "a.h5"
    code = (
        f"import h5py, os; f = h5py.File({str(path)!r}, 'w', libver='latest'); f['x'] = [1]; f.flush(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(StimulusError, match=r"marked as open for writing.*h5clear"):
        ArraySource(path)


def test_a_file_system_without_locks_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An HDF5 file on a file system without locks (some NFS, Lustre) → `HDF5_USE_FILE_LOCKING` is named."""
    path = write_hdf5(tmp_path / "a.h5", x=IMAGES)

    def refuse(*given: object) -> None:
        raise OSError(errno.ENOLCK, "Unable to open file (unable to lock file, errno = 37, 'No locks available')")

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(StimulusError, match=r"its file system has no locks.*HDF5_USE_FILE_LOCKING=FALSE") as found:
        ArraySource(path)
    assert "Get the file" not in str(found.value)


def packed_by_plugin(path: Path, number: int = 32_004) -> Path:
    with h5py.File(path, "w") as file:
        facts = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        facts.set_chunk((1, 3, 6, 6))
        facts.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (0,))
        space = h5py.h5s.create_simple(IMAGES.shape)
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_UINT8, space, facts)
    return path


def test_a_missing_filter_names_the_package_that_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An HDF5 file packed by a filter that is not installed → `pip install hdf5plugin`; with that, it is read."""
    path = packed_by_plugin(tmp_path / "a.h5", 32_765)  # a number that no package has
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)  # as if it were not installed
    with pytest.raises(
        StimulusError, match=r"filter 32765, which is not installed here. pip install hdf5plugin"
    ) as found:
        ArraySource(path)
    assert "Get the file" not in str(found.value)
    available = h5py.h5z.filter_avail
    monkeypatch.delitem(sys.modules, "hdf5plugin")
    (tmp_path / "hdf5plugin.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: "hdf5plugin" in sys.modules or available(number))
    assert len(ArraySource(path)) == 4
    sys.modules.pop("hdf5plugin")


def write_zarr(path: Path, **arrays: np.ndarray) -> Path:
    group = zarr.create_group(path)
    for name, array in arrays.items():
        group.create_array(name.replace("__", "/"), data=array)
    return path


@pytest.mark.parametrize(("write", "name"), [(write_hdf5, "a.h5"), (write_hdf5, "a.HDF5"), (write_zarr, "a.zarr")])
def test_one_of_several_arrays_is_chosen_by_name(write: Callable[..., Path], name: str, tmp_path: Path) -> None:
    """A file with two arrays of images → refused with their names; `file.h5::name` reads one (zarr, too)."""
    path = write(tmp_path / name, train=IMAGES, test__faces=IMAGES[::-1], labels=np.arange(4))
    with pytest.raises(StimulusError, match=rf"Choose one by its name: .*{name}::test/faces"):
        open_source(path)
    for chosen, expected in (("train", IMAGES), ("test/faces", IMAGES[::-1]), ("/test/faces", IMAGES[::-1])):
        for given in (f"{path}::{chosen}", Path(f"{path}::{chosen}")):
            require_there(given)
            source = open_source(given)
            assert len(source) == 4
            np.testing.assert_array_equal(source.read([0, 3]), expected[[0, 3]])
    for missing in ("val", "labels"):
        with pytest.raises(
            StimulusError, match=rf"no \w+ '{missing}' of four axes; it has \['test/faces', 'train'\]"
        ):
            open_source(f"{path}::{missing}")
    with pytest.raises(ModelNotFoundError, match=r"There is no"):
        require_there(tmp_path / f"no{name}::train")


def test_a_file_whose_own_name_has_colons_is_read_as_it_is(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "odd.h5::twin.h5", x=IMAGES)
    assert split_name(path) == (path, None)
    assert len(open_source(path)) == 4
    assert split_name("s3://bucket/a.zarr")[1] is None


def test_a_chosen_array_is_encoded_and_its_name_recorded(complement: Golden, tmp_path: Path) -> None:
    """`berg-jax encode file.h5::name` → encodes that array."""
    path = write_hdf5(tmp_path / "a.h5", a=IMAGES, b=IMAGES[:2])
    options = ["--berg-dir", complement.folder, "--subject", 2, "--output", tmp_path / "o.zarr", "--batch-size", 3]
    result = CliRunner().invoke(app, [str(word) for word in ("encode", f"{path}::b", "--roi", "V3v", *options)])
    assert result.exit_code == 0, result.output
    with xarray.open_zarr(tmp_path / "o.zarr") as stored:
        assert stored.image.values.tolist() == ["0", "1"]
        model = berg_jax.Subject(complement.folder, 2).model(roi="V3v")
        np.testing.assert_allclose(stored.responses, model(IMAGES[:2]), atol=1e-5)


def test_axes_that_matlab_has_reversed_are_refused_and_their_layout_named(tmp_path: Path) -> None:
    """An HDF5 file that MATLAB wrote → refused, its possible layouts named; `--layout NCWH` reads it upright."""
    theirs = IMAGES[:, :, :4].transpose(2, 3, 1, 0)  # H × W × 3 × N in MATLAB
    for order, layout in ((theirs, "NCWH"), (theirs.transpose(2, 0, 1, 3), "NWHC")):
        path = tmp_path / f"{layout}.h5"
        with h5py.File(path, "w") as file:
            file["images"] = order.transpose()  # HDF5 has the axes in reverse order
            file["images"].attrs["MATLAB_class"] = np.bytes_("uint8")
        with pytest.raises(StimulusError, match=rf"written by MATLAB.*--layout {layout} if it was"):
            ArraySource(path, "crop")
        source = ArraySource(path, "crop", layout)
        np.testing.assert_array_equal(source.read([1, 2]), IMAGES[[1, 2], :, :4, 1:5])
    usual = ArraySource(tmp_path / "NCWH.h5", "crop", "NCHW")  # whoever says so has transposed them already
    np.testing.assert_array_equal(usual.read([0])[0], IMAGES[0, :, :4, 1:5].transpose(0, 2, 1))


def test_images_on_the_last_axis_are_told_to_be_transposed(tmp_path: Path) -> None:
    """(3, W, H, N) or (H, W, 3, N) → refused, with the axes that are expected."""
    for axes in ((1, 3, 2, 0), (2, 3, 1, 0)):
        np.save(tmp_path / "a.npy", IMAGES.transpose(axes))
        with pytest.raises(StimulusError, match=r"3 channels on another axis.*MATLAB and Julia.*Transpose it"):
            ArraySource(tmp_path / "a.npy")


def test_the_layout_of_an_hdf5_file_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An HDF5 file of unknown origin → its assumed layout is printed; NSD's own and what is given are not."""
    with caplog.at_level("INFO"):
        ArraySource(write_hdf5(tmp_path / "a.h5", x=IMAGES), layout="NCHW")
        ArraySource(write_hdf5(tmp_path / "b.h5", imgBrick=IMAGES.transpose(0, 2, 3, 1)))
        assert not caplog.records
        ArraySource(write_hdf5(tmp_path / "c.h5", x=IMAGES))
    assert "c.h5 is read as NCHW. If its pictures lie on their side" in caplog.text


@pytest.mark.parametrize(("name", "value"), [("scale_factor", 255.0), ("add_offset", 128)])
@pytest.mark.parametrize("kind", ["zarr2", "zarr3", "hdf5"])
def test_packed_numbers_are_refused(kind: str, name: str, value: float, tmp_path: Path) -> None:
    """An array with `scale_factor` or `add_offset` → refused, since its numbers are not pixels' values."""

    def write(value: float) -> Path:
        if kind == "hdf5":
            path = write_hdf5(tmp_path / f"{value}.h5", x=IMAGES)
            with h5py.File(path, "r+") as file:
                file["x"].attrs[name] = value
            return path
        array = zarr.create_array(tmp_path / f"{value}.zarr", data=IMAGES, zarr_format=int(kind[-1]))
        array.attrs[name] = value
        return tmp_path / f"{value}.zarr"

    with pytest.raises(StimulusError, match=rf"attribute {name} is {value}.*Write it decoded") as found:
        ArraySource(write(value))
    assert "Get the file" not in str(found.value)
    assert len(ArraySource(write({"scale_factor": 1.0, "add_offset": 0.0}[name]))) == 4


def test_layouts_are_options(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    assert berg_jax.Images(tmp_path / "a.npy", layout="NCWH").layout == "NCWH"
    with pytest.raises(InvalidParameterError, match="layout must be one of"):
        berg_jax.Images(tmp_path / "a.npy", layout="HWCN")
