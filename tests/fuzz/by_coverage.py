"""Coverage-guided fuzzing of one target, by atheris (the extra ``fuzz``): it keeps inputs that reach new code.

python -m tests.fuzz.by_coverage TARGET [--seconds S] [--corpus FOLDER]

It ends with 0 if nothing but answers and BERGErrors came, and leaves an input that broke something in the corpus
folder. ``--corpus`` keeps what was found, for the next time.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["berg_jax", "zipfile", "tarfile", "pickle", "numpy.lib.format"]):
    from .targets import TARGETS

from berg_jax.errors import BERGError

from .by_chance import SECONDS, guarded


def main() -> None:
    """Fuzz until the time is over or something breaks; libFuzzer ends the process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path)
    options = parser.parse_args()
    target = TARGETS[options.target]
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    corpus = options.corpus or folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    path = folder / "files" / target.file
    (folder / "files").mkdir()
    for index, contents in enumerate(target.seeds(folder / "files")):
        (corpus / f"seed{index}").write_bytes(contents)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
        target.read(path)

    def one(data: bytes) -> None:
        if target.repair:
            with contextlib.suppress(Exception):
                data = target.repair(data)
        path.write_bytes(data)
        with contextlib.suppress(BERGError), guarded(folder):
            target.read(path)
        path.unlink(missing_ok=True)  # which a map of the old file survives

    warnings.simplefilter("ignore")
    flags = [f"-max_total_time={options.seconds}", "-max_len=65536", "-rss_limit_mb=4096", "-verbosity=0"]
    flags += [f"-timeout={4 * SECONDS}", f"-artifact_prefix={corpus}/broken-", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
