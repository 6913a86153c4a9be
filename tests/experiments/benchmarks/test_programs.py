"""Reports on compiled programs: what is counted, against programs whose sums are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from berg_jax.experiments.benchmarks.compile_for import kernel_seconds
from berg_jax.experiments.benchmarks.programs import Kernel, read_program, report_lines

TEXT = """HloModule jit_step, is_scheduled=true

%fused_gather (param_0: f32[324,4], param_1: s32[]) -> f32[1,4] {
  %param_0 = f32[324,4]{1,0} parameter(0)
  %param_1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice.1 = f32[1,4]{1,0} dynamic-slice(%param_0, %param_1, %zero), dynamic_slice_sizes={1,4}
}

%fused_update (param_0.1: f32[10,4], param_1.1: s32[], param_2.1: f32[1,4]) -> f32[10,4] {
  %param_0.1 = f32[10,4]{1,0} parameter(0)
  %param_1.1 = s32[] parameter(1)
  %param_2.1 = f32[1,4]{1,0} parameter(2)
  %zero.1 = s32[] constant(0)
  ROOT %update.1 = f32[10,4]{1,0} dynamic-update-slice(%param_0.1, %param_2.1, %param_1.1, %zero.1)
}

%body (state: (s32[], f32[10,4], f32[324,4])) -> (s32[], f32[10,4], f32[324,4]) {
  %state = (s32[], f32[10,4]{1,0}, f32[324,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %results = f32[10,4]{1,0} get-tuple-element(%state), index=1
  %table = f32[324,4]{1,0} get-tuple-element(%state), index=2
  %gather_fusion = f32[1,4]{1,0} fusion(%table, %i), kind=kLoop, calls=%fused_gather
  %update_fusion = f32[10,4]{1,0} fusion(%results, %i, %gather_fusion), kind=kLoop, calls=%fused_update
  ROOT %next = (s32[], f32[10,4]{1,0}, f32[324,4]{1,0}) tuple(%i, %update_fusion, %table)
}

%condition (state.1: (s32[], f32[10,4], f32[324,4])) -> pred[] {
  %state.1 = (s32[], f32[10,4]{1,0}, f32[324,4]{1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  %limit = s32[] constant(10)
  ROOT %less = pred[] compare(%i.1, %limit), direction=LT
}

ENTRY %main (a: bf16[16,588], b: bf16[588,768], maps: bf16[2,20,20,8], kernel: bf16[6,5,5,8]) -> f32[16,768] {
  %a = bf16[16,588]{1,0} parameter(0)
  %b = bf16[588,768]{1,0} parameter(1)
  %maps = bf16[2,20,20,8]{3,2,1,0} parameter(2)
  %kernel = bf16[6,5,5,8]{3,2,1,0} parameter(3)
  %start = (s32[], f32[10,4]{1,0}, f32[324,4]{1,0}) tuple()
  %while.1 = (s32[], f32[10,4]{1,0}, f32[324,4]{1,0}) while(%start), condition=%condition, body=%body
  %conv.1 = (bf16[2,16,16,6]{3,2,1,0}, u8[0]{0}) custom-call(%maps, %kernel), dim_labels=b01f_o01i->b01f, TARGET
  ROOT %dot.1 = f32[16,768]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
""".replace("TARGET", 'custom_call_target="__cudnn$convForward", metadata={op_name="jit(step)/Heads/conv"}')


def test_products_bytes_and_what_loops_repeat_are_counted() -> None:
    program = read_program(TEXT)
    kernels = {kernel.name: kernel for kernel in program.kernels}
    assert program.launches == 10 * 2 + 2
    assert [(loop.name, loop.runs, loop.kernels) for loop in program.loops] == [("while.1", 10, 2)]
    assert kernels["dot.1"].operations == 2 * 16 * 588 * 768
    assert kernels["conv.1"].operations == 2 * (2 * 16 * 16 * 6) * 5 * 5 * 8
    assert kernels["dot.1"].moved == 2 * (16 * 588 + 588 * 768) + 4 * 16 * 768
    # A row of the table and its index are read, and a row is written; likewise where the row takes its place.
    assert kernels["gather_fusion"].moved == 4 * 4 + 4 + 4 * 4
    assert kernels["update_fusion"].moved == 4 + 4 * 4 + 4 * 4
    lines = list(report_lines(program, lambda kernel: kernel.moved / 1e9))
    assert "22 launches of 4 kernels" in lines[0]
    assert any("loop while.1: 10 times 2 kernels" in line for line in lines)
    assert any(line.endswith("Heads/conv") for line in lines)


def test_a_program_compiled_here_has_the_operations_that_jax_counts() -> None:
    def step(x: jax.Array, weights: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]

    arguments = jnp.ones((32, 64)), jnp.ones((7, 64, 64))
    program = read_program(jax.jit(step).lower(*arguments).compile().as_text())
    assert program.operations == 7 * 2 * 32 * 64 * 64
    assert [loop.runs for loop in program.loops] == [7]


@pytest.mark.parametrize(
    ("precision", "dtype", "rate"),
    [("bfloat16", "bf16", 989e12), ("bfloat16", "f32", 494e12), ("float32", "f32", 67e12)],
)
def test_the_roofline_is_the_longer_of_arithmetic_and_bytes(precision: str, dtype: str, rate: float) -> None:
    arithmetic = Kernel("a", "dot", "", 1, 1e12, dtype, 1e6, 0)
    bytes_moved = Kernel("b", "dot", "", 1, 1e3, dtype, 3.35e9, 0)
    assert kernel_seconds("h100", precision, arithmetic) == pytest.approx(1e12 / rate + 2e-6)
    assert kernel_seconds("h100", precision, bytes_moved) == pytest.approx(1e-3 + 2e-6)
