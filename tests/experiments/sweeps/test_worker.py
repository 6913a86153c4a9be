"""A sweep on disk: trials do not hurt each other, workers share a folder, and a kill costs the chunk at hand."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pyarrow.parquet
import pytest
from PIL import Image

from berg_jax.errors import IntegrityError, Interrupted, InvalidParameterError, ModelNotFoundError
from berg_jax.experiments.sweeps import records, tables
from berg_jax.experiments.sweeps import worker as running
from berg_jax.experiments.sweeps.spec import Spec
from berg_jax.stream.execution import Process

from ...kills import HELD, Program
from .made import Fake, begun, parsed, ran, work


def test_a_trial_that_breaks_its_chunk_breaks_only_itself(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = begun(tmp_path)
    fake = Fake(breaks=(2,))
    monkeypatch.setattr(running, "run_chunk", fake)
    said = work(tmp_path)
    assert fake.seen == [[0, 1, 2, 3], [0], [1], [2], [3], [4, 5, 6, 7]]
    assert "7 of 8 trials done, 1 failed, 0 left" in said
    assert f"{spec.trials[2].id} failed (seed 2): RuntimeError: RESOURCE_EXHAUSTED: out of memory" in said
    rows = pyarrow.parquet.read_table(tmp_path / "sweep.parquet").to_pylist()
    assert [row["value"] for row in rows] == [0, 1, None, 3, 4, 5, 6, 7]
    assert [row["error"] is None for row in rows] == [seed != 2 for seed in range(8)]
    assert rows[2]["image"] is None
    fake.seen.clear()
    assert work(tmp_path) == said
    assert fake.seen == []
    again = Fake()
    monkeypatch.setattr(running, "run_chunk", again)
    assert "8 of 8 trials done, 0 failed, 0 left" in work(tmp_path, retry_failed=True)
    assert again.seen == [[2]]


def test_it_goes_on_and_grows(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path)
    with pytest.raises(Interrupted, match=r"Stopped between two chunks.(.|\n)*0 of 8 trials done, 0 failed, 8 left"):
        work(tmp_path, time_limit=-1)
    fake = Fake()
    monkeypatch.setattr(running, "run_chunk", fake)
    (tmp_path / "images" / "leftover.png.1.partial").touch()
    work(tmp_path)
    begun(tmp_path, 10)
    work(tmp_path)
    assert fake.seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    with pytest.raises(InvalidParameterError, match="holds another sweep: 7 trials that are recorded there"):
        begun(tmp_path, 3)
    assert len(set(ran(tmp_path))) == len(ran(tmp_path)) == 10


def test_workers_share_a_folder(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path, 10, chunk=2)
    fake = Fake()
    monkeypatch.setattr(running, "run_chunk", fake)
    assert "6 of 10 trials done, 0 failed, 4 left" in work(tmp_path, Process(0, 2))
    assert "10 of 10 trials done" in work(tmp_path, Process(1, 2))
    assert fake.seen == [[0, 1], [4, 5], [8, 9], [2, 3], [6, 7]]
    page = (tmp_path / "report.html").read_text()
    assert "10 of 10 trials are done, 0 failed, 0 are left" in page
    assert page.count("<img") == 10 + 1


def test_what_others_record_meanwhile_is_in_the_results(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that writes late must not leave a table without what another one did while it wrote."""
    begun(tmp_path, 4, chunk=2)
    monkeypatch.setattr(running, "run_chunk", Fake())
    written = []

    def late(output: Path, spec: Spec, found: dict[str, records.Entry]) -> list[str]:
        written.append(len(found))
        if len(written) == 1:
            for path in kept:
                path.rename(output / "records" / path.name)
        return tables.write_results(output, spec, found)

    work(tmp_path)
    kept = [path.rename(tmp_path / path.name) for path in sorted((tmp_path / "records").glob("*.json"))[:1]]
    monkeypatch.setattr(running, "write_results", late)
    assert "4 of 4 trials done" in work(tmp_path, Process(9, 10))
    assert written == [2, 4]
    assert len(pyarrow.parquet.read_table(tmp_path / "sweep.parquet")) == 4
    assert "4 of 4 trials are done" in (tmp_path / "report.html").read_text()


def test_damage_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="There is no sweep at"):
        work(tmp_path / "nothing")
    begun(tmp_path)
    (tmp_path / "records" / "a.json").write_text('{"time": 1}')
    with pytest.raises(IntegrityError, match=r"a\.json is damaged: KeyError\('trials'\). Remove it"):
        records.entries(tmp_path)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"sweep\.json is damaged"):
        work(tmp_path)


# A run whose chunks compute nothing, as a process that holds before one of them.
PROGRAM = """
import sys
from pathlib import Path
from berg_jax.experiments.sweeps import worker
from tests.experiments.sweeps import made
from tests.kills import at_call, hold

worker.Subject, worker.load_regions, worker.run_chunk = (lambda *_: None), (lambda *_: made.NOTHING), made.Fake()
at_call(worker, "run_chunk", int(sys.argv[2]), hold)
made.work(Path(sys.argv[1]))
"""


@pytest.mark.nightly
def test_kill_9_costs_the_chunk_at_hand(tmp_path: Path) -> None:
    spec = begun(tmp_path, 24, chunk=2)
    done: dict[str, bytes] = {}
    for chunks, call in ((4, 5), (6, 3)):
        with Program("-c", PROGRAM, tmp_path, call) as process:
            process.until(HELD)
            process.end(signal.SIGKILL)
        there = {path.name: path.read_bytes() for path in (tmp_path / "records").glob("*.json")}
        assert done.items() <= there.items()
        assert len(there) == chunks
        for name in ran(tmp_path):
            Image.open(tmp_path / "images" / f"{name}.png").load()
        done = there

    with Program("-c", PROGRAM, tmp_path, 0) as process:
        assert process.end() == 0, process.said
    there = {path.name: path.read_bytes() for path in (tmp_path / "records").glob("*.json")}
    assert done.items() <= there.items()
    assert Counter(ran(tmp_path)) == Counter({one.id: 1 for one in spec.trials})
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.nightly
def test_a_sweep_notices_other_photographs(tiny: None, tmp_path: Path) -> None:
    """A sweep goes on after the photograph that it starts from was replaced → refused, not mixed."""
    start, output = tmp_path / "start.bmp", tmp_path / "out"
    base = 'base = {berg_dir = "demo", subject = 1, drive = "FFA-1", steps = 2, images = "pixels", '
    base += f'start = "{start}"}}\n'
    Image.new("RGB", (64, 64), "red").save(start)
    records.begin(output, parsed("grid = {seed = [0]}\n", base))
    assert "1 of 1 trials done" in work(output)
    records.begin(output, parsed("grid = {seed = [0, 1]}\n", base))
    Image.new("RGB", (64, 64), "blue").save(start)
    with pytest.raises(InvalidParameterError, match=r"other contents of start"):
        work(output)
    Image.new("RGB", (64, 64), "red").save(start)
    assert "2 of 2 trials done" in work(output)
