"""Outputs that are unfinished, or that other processes change while they are read: said in words, no tracebacks."""

from __future__ import annotations

import logging
from pathlib import Path

import jax
import pytest

import berg_jax
from berg_jax.errors import BERGError, ResourceError
from berg_jax.stream.execution import Process
from berg_jax.stream.reducers import Moments, states
from berg_jax.stream.store import places
from berg_jax.stream.store.ledger import Ledger
from berg_jax.stream.store.output import Output
from berg_jax.stream.store.places import Place, find_place, write

from ..numbered import COLUMNS, Source, run

ONE_DEVICE = jax.devices()[:1]


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return find_place({"disk": str(tmp_path / "o.zarr"), "memory": f"memory://{tmp_path.name}/"}[request.param])


def test_opening_an_unfinished_run_warns_and_says_how_much_is_there(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """A run of which one of two processes has done its share → the other rows are NaN, and a warning counts them."""
    source = Source(count=24)
    run(source, [COLUMNS], output=place, devices=ONE_DEVICE, process=Process(0, 2))

    with caplog.at_level(logging.WARNING, "berg_jax"):
        stored = berg_jax.open_responses(place)
    assert f"{place} is not finished: 12 of 24 images are there" in caplog.text
    assert int(stored.data.isnull().all("vertex").sum()) == 12

    caplog.clear()
    run(source, [COLUMNS], output=place, devices=ONE_DEVICE)
    with caplog.at_level(logging.WARNING, "berg_jax"):
        assert not berg_jax.open_responses(place).data.isnull().any()
    assert not caplog.text


@pytest.mark.parametrize("text", [b"", b'{"attributes": {', b"[]", b'{"zarr_format": 3}'])
def test_a_half_written_description_is_no_traceback_when_two_finish_at_once(place: Place, text: bytes) -> None:
    """A store whose puts are not atomic, on which two processes finish at once → an error that says what to do."""
    output = Output.create(place, ["a", "b"], {}, 1, COLUMNS, {})
    whole = places.read(place / "zarr.json")
    write(place / "zarr.json", text)
    with pytest.raises(ResourceError, match=r"zarr\.json cannot be read now.*another process.*same command again"):
        output.finish()

    write(place / "zarr.json", whole)
    output.finish()
    assert output.complete


@pytest.fixture
def vanishing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that lists one file or object more than it has."""
    real = places.list_folder

    def listing(folder: Place, suffix: str) -> list[Place]:
        return [*real(folder, suffix), folder / f"000000001{suffix}"]

    monkeypatch.setattr(places, "list_folder", listing)
    monkeypatch.setattr(states, "list_folder", listing)


@pytest.mark.usefixtures("vanishing")
def test_a_listed_file_that_has_vanished_is_said(place: Place) -> None:
    """A ledger's entry or a reducer's state is listed, and gone when it is read → an error that names it."""
    with pytest.raises(ResourceError, match=r"000000001\.json was there a moment ago and is gone"):
        Ledger(place / "ledger", 10, 4).entries()
    for use in (states.reduced_blocks, lambda folder: states.merge(folder, [Moments(5)])):
        with pytest.raises(ResourceError, match=r"000000001\.state\.npz was there a moment ago and is gone"):
            use(place / "reducers")


def test_results_that_were_removed_are_said(tmp_path: Path) -> None:
    """A complete output without its results → an error that names them."""
    run(Source(count=4), [Moments(5)], output=tmp_path / "o.zarr", devices=ONE_DEVICE)
    (tmp_path / "o.zarr" / "reducers" / "moments.npz").unlink()

    with pytest.raises(BERGError, match=r"moments\.npz are not there.*Bring them back"):
        run(Source(count=4), [Moments(5)], output=tmp_path / "o.zarr", devices=ONE_DEVICE)
