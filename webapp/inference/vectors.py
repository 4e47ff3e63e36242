"""Vector instructions that Python has no words for, as LLVM's: for `kernels`, which alone may import this.

numba's cache looks at a function's own file, not at this one: whoever changes it changes VECTORS_VERSION in `kernels`.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

PANEL = 64  # outputs
_LANES, _VECTORS = 16, PANEL // 16
_INT, _INT32, _FLOAT = ir.IntType(64), ir.IntType(32), ir.FloatType()
_FLOATS, _INTS = ir.VectorType(_FLOAT, _LANES), ir.VectorType(_INT32, _LANES)


def _features() -> Any:
    """What the CPU can do, as far as numba compiles for it and not for one that was named."""
    if numba.config.CPU_NAME or numba.config.CPU_FEATURES:
        return {}
    return llvmlite.binding.get_host_cpu_features()


HAS_WIDE_VECTORS = bool(_features().get("avx512f"))
HAS_BFLOAT16 = bool(_features().get("avx512bf16"))


class _BFloat(ir.Type):  # type: ignore[misc]  # llvmlite is untyped
    """LLVM's bfloat, which llvmlite does not name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


_PAIRS = ir.VectorType(_BFloat(), 2 * _LANES)


def _splat(b: Any, scalar: Any) -> Any:
    kind = ir.VectorType(scalar.type, _LANES)
    nothing = ir.Constant(kind, ir.Undefined)
    zeros = ir.Constant(_INTS, [0] * _LANES)
    return b.shuffle_vector(b.insert_element(nothing, scalar, _INT32(0)), nothing, zeros)


def _load(b: Any, address: Any, kind: Any, align: int) -> Any:
    return b.load(b.inttoptr(address, kind.as_pointer()), align=align)


def _multiply_add(b: Any, is_bfloat16: bool, weights: Any, x: Any, total: Any) -> Any:
    """total + weights · x: of 16 floats, or of 16 pairs of bfloat16 as integers, the first in the low half."""
    if is_bfloat16 and HAS_BFLOAT16:
        kind = ir.FunctionType(_FLOATS, [_FLOATS, _PAIRS, _PAIRS])
        dot = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512bf16.dpbf16ps.512")
        return b.call(dot, [total, b.bitcast(x, _PAIRS), b.bitcast(weights, _PAIRS)])
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    add = cgutils.get_or_insert_function(b.module, kind, "llvm.fma.v16f32")
    if not is_bfloat16:
        return b.call(add, [weights, x, total])
    high, shift = ir.Constant(_INTS, [0xFFFF0000] * _LANES), ir.Constant(_INTS, [16] * _LANES)
    first = b.call(add, [b.bitcast(b.shl(weights, shift), _FLOATS), b.bitcast(b.shl(x, shift), _FLOATS), total])
    return b.call(add, [b.bitcast(b.and_(weights, high), _FLOATS), b.bitcast(b.and_(x, high), _FLOATS), first])


def _make_tile(n_rows: int, is_bfloat16: bool) -> Any:
    """The intrinsic tile(x, x_stride, weights, n, out, out_stride): one panel times so many rows of x.

    Addresses, strides in bytes; `n` >= 1 counts inputs, or pairs of them in bfloat16; out is float32.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def tile(_: Any, x: Any, x_stride: Any, weights: Any, n: Any, out: Any, out_stride: Any) -> Any:
        def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            x, x_stride, weights, n, out, out_stride = arguments
            before, loop, after = b.block, b.append_basic_block("inputs"), b.append_basic_block("done")
            rows, vectors = range(n_rows), range(_VECTORS)
            b.branch(loop)
            b.position_at_end(loop)
            i = b.phi(_INT)
            i.add_incoming(_INT(0), before)
            sums = [[b.phi(_FLOATS) for _ in vectors] for _ in rows]
            base = b.add(weights, b.mul(i, _INT(4 * PANEL)))
            kind = _INTS if is_bfloat16 else _FLOATS
            panel = [_load(b, b.add(base, _INT(64 * v)), kind, 64) for v in vectors]
            for r in rows:
                address = b.add(b.add(x, b.mul(x_stride, _INT(r))), b.mul(i, _INT(4)))
                one = _splat(b, _load(b, address, _INT32 if is_bfloat16 else _FLOAT, 4))
                for v in vectors:
                    sums[r][v].add_incoming(ir.Constant(_FLOATS, [0.0] * _LANES), before)
                    sums[r][v].add_incoming(_multiply_add(b, is_bfloat16, panel[v], one, sums[r][v]), loop)
            following = b.add(i, _INT(1))
            i.add_incoming(following, loop)
            b.cbranch(b.icmp_signed("<", following, n), loop, after)
            b.position_at_end(after)
            for r in rows:
                for v in vectors:
                    address = b.add(b.add(out, b.mul(out_stride, _INT(r))), _INT(64 * v))
                    b.store(sums[r][v].incomings[1][0], b.inttoptr(address, _FLOATS.as_pointer()), align=4)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), generate

    return tile


one, two, four = (_make_tile(n, False) for n in (1, 2, 4))
one_half, two_half, four_half = (_make_tile(n, True) for n in (1, 2, 4))


@intrinsic  # type: ignore[untyped-decorator]
def count(_: Any, address: Any, step: Any) -> Any:
    """Add `step` to the int64 at `address` for all threads to see, and return what it was."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        address, step = arguments
        return b.atomic_rmw("add", b.inttoptr(address, _INT.as_pointer()), step, "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def as_float(_: Any, bits: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return b.bitcast(arguments[0], _FLOAT)

    return types.float32(types.int32), generate


@intrinsic  # type: ignore[untyped-decorator]
def bits_of(_: Any, number: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return b.bitcast(arguments[0], _INT32)

    return types.uint32(types.float32), generate
