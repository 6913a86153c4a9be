"""Reports on compiled programs: arithmetic, bytes moved, kernels, loops and temporaries, from the text of XLA's HLO.

A kernel is an instruction that the device is told to run by itself. What a loop's body holds counts as often as it
runs. Bytes moved are the operands that a kernel reads and the results that it writes, which is what it moves if
nothing stays in a cache; of an operand from which it takes a slice, or in which it overwrites one, the slice counts.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

_BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "f8e4m3fn": 1, "f8e5m2": 1, "s16": 2, "u16": 2}
_BYTES |= {"bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8}
# Instructions that only name, group or reinterpret what is in memory.
_NO_KERNELS = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call", "conditional"}
_NO_KERNELS |= {"after-all", "opt-barrier", "partition-id", "replica-id", "iota", "copy-done", "async-done"}
_SLICES = {"dynamic-slice", "slice", "gather"}
_CONVOLUTIONS = ("__cudnn$conv",)
_PRODUCTS = ("__cublas$", "__onednn$matmul")
_SHAPE = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_HEADER = re.compile(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$")


class Shape(NamedTuple):
    """Type and sizes of an array."""

    dtype: str
    sizes: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """The number of elements."""
        return math.prod(self.sizes)

    @property
    def size(self) -> float:
        """The size in memory."""
        return self.numbers * _BYTES.get(self.dtype, 0)


class Instruction(NamedTuple):
    """One instruction of a computation: its name, results, kind, names of its operands, and attributes."""

    name: str
    shapes: tuple[Shape, ...]
    kind: str
    operands: tuple[str, ...]
    attributes: str
    is_root: bool

    @property
    def size(self) -> float:
        """The size of its results."""
        return sum(shape.size for shape in self.shapes)


class Kernel(NamedTuple):
    """A kernel and what it does each time.

    Attributes
    ----------
    name, kind
        Those of the instruction; of a fusion, ``fusion``.
    source
        The operation in the Python program that it comes from, as far as XLA tells.
    runs
        How often it runs.
    operations
        Multiplications and additions of its products and convolutions.
    dtype
        Type of the factors of its products; empty if it has none.
    moved
        Bytes that it reads and writes.
    result
        Bytes of its results.
    cycles
        Cycles that the compiler expects, of a TPU; else 0.
    """

    name: str
    kind: str
    source: str
    runs: int
    operations: float
    dtype: str
    moved: float
    result: float
    cycles: int = 0


class Loop(NamedTuple):
    """A loop, how often its body runs in all, and how many kernels the body launches."""

    name: str
    runs: int
    kernels: int


class Program(NamedTuple):
    """Kernels and loops of a compiled program."""

    kernels: tuple[Kernel, ...]
    loops: tuple[Loop, ...]

    @property
    def launches(self) -> int:
        """The number of kernels that are launched."""
        return sum(kernel.runs for kernel in self.kernels)

    @property
    def operations(self) -> float:
        """Multiplications and additions of all products and convolutions."""
        return sum(kernel.runs * kernel.operations for kernel in self.kernels)

    @property
    def moved(self) -> float:
        """Bytes that all kernels read and write."""
        return sum(kernel.runs * kernel.moved for kernel in self.kernels)


def read_program(text: str) -> Program:
    """Return the kernels and loops of a compiled program.

    Parameters
    ----------
    text
        The program in HLO, as ``compiled.as_text()`` gives it.
    """
    computations = _computations(text)
    entry = next(name for name, (is_entry, _) in computations.items() if is_entry)
    bodies = {name: body for name, (_, body) in computations.items()}
    loops: list[Loop] = []
    kernels = list(_kernels(entry, 1, bodies, loops))
    return Program(tuple(kernels), tuple(loops))


def report_lines(
    program: Program, seconds: Callable[[Kernel], float], arithmetic: bool = True, most: int = 12
) -> Iterator[str]:
    """Yield a program's sums, loops, most expensive kernels and largest results, line by line.

    Parameters
    ----------
    program
        A compiled program.
    seconds
        Estimated time of a kernel each time it runs, by which kernels are ranked.
    arithmetic
        Whether products' operations are told. A TPU's compiler writes products as convolutions with gaps, which
        cannot be counted so.
    most
        Number of kernels and of results that are listed. Kernels that do the same count as one.
    """
    products = f"{program.operations / 1e9:,.0f} GFLOP in products, " if arithmetic else ""
    yield (
        f"  {products}{program.moved / 1e9:,.1f} GB moved, {program.launches:,} launches of "
        f"{len(program.kernels):,} kernels"
    )
    for loop in program.loops:
        yield f"  loop {loop.name}: {loop.runs:,} times {loop.kernels} kernels"
    alike: dict[tuple, list[Kernel]] = defaultdict(list)
    for kernel in program.kernels:
        alike[_operation(kernel), round(kernel.moved / 1e6), round(kernel.operations / 1e9)].append(kernel)

    def cost(kernels: Sequence[Kernel]) -> float:
        return sum(kernel.runs * seconds(kernel) for kernel in kernels)

    yield "  kernels that take most of the estimated time:"
    for kernels in sorted(alike.values(), key=cost, reverse=True)[:most]:
        first, runs = kernels[0], sum(kernel.runs for kernel in kernels)
        counted = f"{first.operations / 1e9:,.0f} GFLOP, " if arithmetic and first.operations else ""
        each = f"{counted}{first.moved / 1e6:,.0f} MB"
        yield f"    {1000 * cost(kernels):6.2f} ms  {runs:4} × {each}: {_operation(first)}"
    largest = sorted({(round(k.result / 1e6), _operation(k)) for k in program.kernels}, reverse=True)[: most // 3]
    yield "  largest results: " + "; ".join(f"{size:,} MB {name}" for size, name in largest)


def _operation(kernel: Kernel) -> str:
    """Return the end of the operation's path in the Python program, or the kernel's name without its number."""
    path = [part for part in kernel.source.split("/") if not re.fullmatch(r"jit\(.*\)|while|body|closed_call", part)]
    return "/".join(path[-3:]) or re.sub(r"[.\d]+$", "", kernel.name)


def _computations(text: str) -> dict[str, tuple[bool, list[Instruction]]]:
    found: dict[str, tuple[bool, list[Instruction]]] = {}
    body: list[Instruction] = []
    for line in text.splitlines():
        if header := _HEADER.match(line):
            body = []
            found[header[1]] = line.startswith("ENTRY"), body
        elif match := _INSTRUCTION.match(line):
            name, types, kind, rest = match.groups()
            operands, attributes = _split(rest)
            shapes = tuple(Shape(dtype, _sizes(sizes)) for dtype, sizes in _SHAPE.findall(types))
            names = tuple(re.findall(r"%([\w.\-]+)", operands))
            if kind in ("parameter", "constant"):
                attributes = operands
            body.append(Instruction(name, shapes, kind, names, attributes, "ROOT" in line[:8]))
    return found


def _split(rest: str) -> tuple[str, str]:
    """Return what is within the parentheses that are open at the beginning, and what follows them."""
    depth = 1
    for place, character in enumerate(rest):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return rest[:place], rest[place + 1 :]
    return rest, ""


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(",") if size)


def _called(instruction: Instruction, attribute: str) -> str:
    match = re.search(rf"\b{attribute}=%?([\w.\-]+)", instruction.attributes)
    return match[1] if match else ""


def _kernels(name: str, runs: int, bodies: dict[str, list[Instruction]], loops: list[Loop]) -> Iterator[Kernel]:
    body = bodies[name]
    here = {instruction.name: instruction for instruction in body}
    for instruction in body:
        if instruction.kind == "while":
            times = runs * _trips(instruction, bodies)
            inside = list(_kernels(_called(instruction, "body"), times, bodies, loops))
            loops.append(Loop(instruction.name, times, len(inside)))
            yield from inside
        elif instruction.kind == "call" and (called := _called(instruction, "to_apply")) in bodies:
            yield from _kernels(called, runs, bodies, loops)
        elif instruction.kind not in _NO_KERNELS:
            yield _kernel(instruction, runs, here, bodies)


def _trips(loop: Instruction, bodies: dict[str, list[Instruction]]) -> int:
    """Return how often a loop's body runs: as XLA says, or else the largest constant of its condition."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.attributes):
        return int(known[1])
    condition = bodies.get(_called(loop, "condition"), [])
    limits = [int(i.attributes) for i in condition if i.kind == "constant" and i.attributes.isdecimal()]
    return max(limits, default=1)


def _kernel(
    instruction: Instruction, runs: int, here: dict[str, Instruction], bodies: dict[str, list[Instruction]]
) -> Kernel:
    operands = [here[name] for name in instruction.operands if name in here]
    fused = bodies.get(_called(instruction, "calls"), []) if instruction.kind == "fusion" else []
    inner = {each.name: each for each in fused}
    products = [_product(each, inner) for each in fused] if fused else [_product(instruction, here)]
    operations = sum(count for count, _ in products)
    dtype = next((kind for count, kind in products if count), "")
    if fused:
        moved = sum(_read(number, operand, fused) for number, operand in enumerate(operands)) + _written(fused)
    else:
        sliced = instruction.kind in _SLICES
        moved = sum(0 if sliced else operand.size for operand in operands) + instruction.size * (1 + sliced)
    source = re.search(r'op_name="([^"]*)"', instruction.attributes)
    cycles = re.search(r'"estimated_cycles":"(\d+)"', instruction.attributes)
    return Kernel(
        instruction.name,
        instruction.kind,
        source[1] if source else "",
        runs,
        operations,
        dtype,
        moved,
        instruction.size,
        int(cycles[1]) if cycles else 0,
    )


def _product(instruction: Instruction, here: dict[str, Instruction]) -> tuple[float, str]:
    """Return the multiplications and additions of a product or convolution, and its factors' type."""
    target = re.search(r'custom_call_target="([^"]*)"', instruction.attributes)
    name = target[1] if target else ""
    factors = [here[operand].shapes[0] for operand in instruction.operands[:2] if operand in here]
    if len(factors) < 2 or not instruction.shapes:
        return 0, ""
    result = instruction.shapes[0]
    if instruction.kind == "dot" or name.startswith(_PRODUCTS):
        found = re.search(r'lhs_contracting_dim(?:ension)?s"?[=:][{\[]([\d,"]*)', instruction.attributes)
        axes = _sizes(found[1].replace('"', "")) if found else ()
        return 2 * result.numbers * math.prod(factors[0].sizes[axis] for axis in axes), factors[0].dtype
    if instruction.kind == "convolution" or name.startswith(_CONVOLUTIONS):
        labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
        kernel = factors[1]
        outputs = kernel.sizes[labels[2].index("o")] if labels else 1
        if "BackwardFilter" in name:  # the result is the kernel's gradient: as many products as the forward pass
            return 2 * result.numbers * factors[1].numbers / max(outputs, 1), factors[0].dtype
        return 2 * result.numbers * kernel.numbers / max(outputs, 1), factors[0].dtype
    return 0, ""


def _read(number: int, operand: Instruction, fused: Sequence[Instruction]) -> float:
    """Return the bytes of a fusion's operand that it reads."""
    parameter = next((i for i in fused if i.kind == "parameter" and i.attributes == str(number)), None)
    if parameter is None:
        return operand.size
    users = _users(parameter.name, fused)
    if users and all(user.kind in _SLICES for user in users):
        return min(operand.size, sum(user.size for user in users))
    if users and all(user.kind == "dynamic-update-slice" and user.operands[0] == parameter.name for user in users):
        return 0  # overwritten in place
    return operand.size


def _users(name: str, fused: Sequence[Instruction]) -> list[Instruction]:
    """Return the instructions that use a value, through those that only reinterpret it."""
    found = []
    for instruction in fused:
        if name in instruction.operands:
            same = instruction.kind in ("bitcast", "get-tuple-element")
            found += _users(instruction.name, fused) if same else [instruction]
    return found


def _written(fused: Sequence[Instruction]) -> float:
    inner = {instruction.name: instruction for instruction in fused}
    root = next((instruction for instruction in fused if instruction.is_root), None)
    if root is None:
        return 0
    results = [inner[name] for name in root.operands] if root.kind == "tuple" else [root]
    total = 0.0
    for result in results:
        while result.kind == "bitcast" and result.operands[0] in inner:
            result = inner[result.operands[0]]
        if result.kind == "dynamic-update-slice":
            result = inner[result.operands[1]]
        total += result.size
    return total
