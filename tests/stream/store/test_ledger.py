"""The ledger and the output that holds it: what makes no sense there is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

import berg_jax
from berg_jax.errors import IntegrityError, InvalidParameterError, ResourceError
from berg_jax.stream.loop import stream
from berg_jax.stream.sources.arrays import ArraySource
from berg_jax.stream.store.layout import LEDGER, ROOT, Columns
from berg_jax.stream.store.ledger import Ledger
from berg_jax.stream.store.output import Output
from berg_jax.stream.store.places import find_place
from berg_jax.stream.store.show import show_text
from berg_jax.stream.store.status import status_text
from berg_jax.vertices import Vertices


def test_a_ledger_that_makes_no_sense(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", 10, 4)
    assert ledger.done() == {}
    ledger.record(2, 2, seconds=1.5)
    assert ledger.done() == {2: 2}
    (tmp_path / "ledger" / "000000001.123.partial").write_text("{")
    assert ledger.done() == {2: 2}
    for name, text in (
        ("000000000.json", "{"),
        ("000000000.json", '{"done": 5}'),
        ("000000000.json", '{"done": true}'),
        ("000000003.json", '{"done": 1}'),
        ("notes.json", '{"done": 1}'),
    ):
        path = tmp_path / "ledger" / name
        path.write_text(text)
        with pytest.raises(IntegrityError, match=r"no entry of this ledger.*Remove it"):
            ledger.done()
        path.unlink()


def test_an_output_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    zarr.create_group(tmp_path / "other.zarr")
    for name, said in (("folder", r"\(it lacks zarr\.json\)"), ("file", r"\(it is a file"), ("other.zarr", "")):
        with pytest.raises(ResourceError, match=f"no output of berg_jax {said}"):
            Output.reopen(tmp_path / name, {}, {})


def test_an_experiment_s_folder_is_called_so(tmp_path: Path) -> None:
    """The folder of an experiment is given to status, show, or encode's --output → told where to look instead."""
    folder = tmp_path / "experiment"
    (folder / "subj01" / "stream" / LEDGER).mkdir(parents=True)
    (folder / "subj01" / "stream" / ROOT).write_text("{}")
    with pytest.raises(ResourceError, match=r"is no output itself, but holds 1: .*subj01/stream is one"):
        status_text(folder)
    (folder / "report.html").touch()
    for look in (status_text, show_text, lambda path: Output.reopen(path, {}, {})):
        with pytest.raises(ResourceError, match=r"a finished experiment: open .*experiment/report\.html"):
            look(folder)


def test_paths_may_go_up_and_urls_keep_their_slashes(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    up = tmp_path / "below" / ".."
    zarr.create_array(tmp_path / "images.zarr", data=np.full((3, 3, 4, 4), 7, np.uint8))
    source, columns = ArraySource(up / "images.zarr"), Columns(Vertices.all(1))
    stream(
        lambda images: images[:, 0, 0, :2].astype(float), source, [columns], output=up / "o.zarr", identity="corner"
    )
    assert (berg_jax.open_responses(tmp_path / "o.zarr").data == 7).all()
    for url in ("s3:/bucket/o", Path("gs://bucket/o")):
        with pytest.raises(InvalidParameterError, match=r"a URL has two slashes.*Give it as text"):
            find_place(url)
