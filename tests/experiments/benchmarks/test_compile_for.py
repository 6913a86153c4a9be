"""The programs compile for TPUs and GPUs, by XLA's own compilers. Needs the tpu or cuda12 extra; no such device."""

from __future__ import annotations

import importlib.util
from typing import get_args

import pytest

from berg_jax.cli.benchmarks import Chip
from berg_jax.errors import InvalidParameterError, ResourceError
from berg_jax.experiments.benchmarks.compile_for import CHIPS, compile_for, kernel_seconds
from berg_jax.experiments.benchmarks.programs import read_program

from ...conftest import Golden


def test_cycles_of_loops_count_as_often_as_they_run() -> None:
    text = """HloModule jit

%body.1 (arg: s32[]) -> s32[] {
  %fusion.1 = f32[] fusion(), backend_config={"estimated_cycles":"10"}
}

%condition.1 (arg: s32[]) -> pred[] {
  %limit = s32[] constant(12), metadata={}
}

ENTRY %main (x: f32[]) -> f32[] {
  %fusion.2 = f32[] fusion(), backend_config={"estimated_cycles":"5"}
  %while.1 = s32[] while(%x), condition=%condition.1, body=%body.1
}
"""
    program = read_program(text)
    assert sum(
        kernel.runs * kernel_seconds("v5e", "bfloat16", kernel) for kernel in program.kernels
    ) == pytest.approx((5 + 12 * 10) / 1.5e9)


@pytest.mark.parametrize(
    ("chip", "precision"),
    [
        pytest.param("v5e", "bfloat16", marks=pytest.mark.tpu),
        pytest.param("v6e", "float32", marks=pytest.mark.tpu),
        pytest.param("h100", "bfloat16", marks=pytest.mark.cuda),
        pytest.param("a100", "float32", marks=pytest.mark.cuda),
    ],
)
def test_steps_compile(complement: Golden, chip: str, precision: str) -> None:
    results = list(compile_for(chip, complement.folder, complement.subject, precision=precision, batch_size=4))
    assert [(r.chip, r.chips, r.step) for r in results] == [
        (chip, chips, step) for chips in (1, 8) for step in ("encode", "gradient")
    ]
    for result in results:
        assert not result.collectives
        assert 0 < result.memory < 1e9
        assert result.seconds > 0
        assert result.program.operations > 0
        assert ("GFLOP in products" in result.report()) == (chip[0] != "v")


def test_the_command_offers_every_chip() -> None:
    assert list(get_args(Chip)) == list(CHIPS)


def test_what_cannot_be_compiled_is_said_first(complement: Golden) -> None:
    for options, said in (
        ({"chip": "tpu"}, "chip must be one of"),
        ({"batch_size": 3}, "at least 4, got 3"),
        ({"counts": [2]}, r"counts must be of \[1, 8\], got \[2\]"),
        ({"counts": []}, "got \\[\\]"),
    ):
        with pytest.raises(InvalidParameterError, match=said):
            list(compile_for(**{"chip": "v5e", "berg_dir": complement.folder, **options}))


# Where a compiler is installed the tests above use it: then there is no lack of one to be named.
@pytest.mark.skipif(importlib.util.find_spec("jax_plugins") is not None, reason="a compiler is installed")
def test_a_compiler_that_is_not_there_is_named(complement: Golden) -> None:
    with pytest.raises(ResourceError, match=r"h100 cannot be used: .*berg_jax\[cuda12\]"):
        list(compile_for("h100", complement.folder, complement.subject))
