"""The programs compile for TPUs, by XLA's own TPU compiler. Needs the tpu extra; no TPU."""

from __future__ import annotations

import pytest

from berg_jax.experiments.tpu_compilation import estimated_cycles

from .conftest import Golden


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
    assert estimated_cycles(text) == 5 + 12 * 10


@pytest.mark.tpu
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_steps_compile_for_tpus(complement: Golden, precision: str) -> None:
    from berg_jax.experiments.tpu_compilation import compile_for_tpu

    results = list(compile_for_tpu(complement.folder, complement.subject, precision=precision, batch_size=4))
    assert {(r.chip, r.chips, r.step) for r in results} == {
        (chip, chips, step) for chip in ("v5e", "v6e") for chips in (1, 8) for step in ("encode", "gradient")
    }
    for result in results:
        assert not result.collectives
        assert result.seconds > 0
        assert 0 < result.memory < 1e9
