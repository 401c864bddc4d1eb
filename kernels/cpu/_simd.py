"""Lanes: one sample a lane, as a Numba type that is an LLVM vector.

The kernels keep samples side by side (structure of arrays): lane s of every value belongs to sample s
alone, so a row cannot feel its batch mates, whatever the tile, block or thread that it lands in. Numba
leaves such loops to LLVM's vectoriser, which gives up at the first doubt about aliasing; a vector type
settles the matter. Nothing is reassociated and no multiply-add is fused unless `fma` says so, so results
do not depend on the width of the machine's registers either.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.imputils import lower_builtin, lower_cast
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._target import target

__all__ = [
    "LANES",
    "PAIR_ROWS",
    "PAIR_SLOTS",
    "TILE_ROWS",
    "Lanes",
    "constant_of",
    "exponent_of",
    "fma",
    "lane_sum",
    "load",
    "mantissa_of",
    "narrow_like",
    "polynomial",
    "power_of_two",
    "select",
    "slot_sum",
    "splat",
    "sqrt",
    "store",
    "tile_columns",
    "tile_product_1",
    "tile_product_2",
    "tile_product_3",
    "tile_squares",
    "vabs",
    "widen",
]

LANES = 16 if target().register_bytes == 64 else 8
"""Samples a tile: one register of float32 and two of float64 (AVX-512: 64 bytes, AVX2: 32), or twice as many."""

TILE_ROWS = 8 if target().registers == 32 else 4
"""Rows of a weight matrix that one register tile covers: 8 × 3 accumulators of 32 registers, 4 × 3 of 16."""

PAIR_ROWS = 8
"""Rows that a tile of pairs sets against LANES others; also how many float32 terms are summed before float64."""

PAIR_SLOTS = 16
"""Partial sums of a sum over pairs: row j adds to number j mod 16, however many LANES there are, so that the order
of the additions, and with it the sum, is the same on every processor. A multiple of LANES."""

_MANTISSA_BITS = {types.float32: 23, types.float64: 52}
_EXPONENT_BIAS = {types.float32: 127, types.float64: 1023}


class Lanes(types.Type):
    """The Numba type of LANES numbers of one dtype (float32, float64, or boolean for a mask)."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype}x{LANES})")

    @property
    def llvm_type(self) -> ir.VectorType:
        """The vector type, ``<16 x float>`` for example."""
        return ir.VectorType(_LLVM_SCALAR[self.dtype], LANES)

    @property
    def suffix(self) -> str:
        """What LLVM appends to the names of its intrinsics for this type."""
        return f"v{LANES}f{64 if self.dtype == types.float64 else 32}"


_LLVM_SCALAR = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.boolean: ir.IntType(1)}


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Lanes) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm_type)


def _splat(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    vector = ir.VectorType(scalar.type, LANES)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


@lower_cast(types.Float, Lanes)
@lower_cast(types.Integer, Lanes)
def _scalar_to_lanes(context, builder, fromty, toty, val):
    return _splat(builder, context.cast(builder, val, fromty, toty.dtype))


# ---------------------------------------------------------------------------------------------- operators
def _lanes_among(args: tuple) -> Lanes | None:
    found = [a for a in args if isinstance(a, Lanes)]
    ok = all(isinstance(a, (Lanes, types.Float, types.Integer)) for a in args)
    return found[0] if found and ok and all(a == found[0] for a in found) else None


def _binary_operator(op: Callable, build: Callable, *, mask: bool = False) -> None:
    """Give `op` a meaning for two Lanes, or for Lanes and a scalar, which is copied to every lane."""

    @infer_global(op)
    class _Template(AbstractTemplate):
        def generic(self, args: tuple, kws: dict) -> Any:
            lanes = _lanes_among(args)
            if lanes is None or len(args) != 2:
                return None
            return signature(Lanes(types.boolean) if mask else lanes, lanes, lanes)

    @lower_builtin(op, Lanes, Lanes)
    def _lower(context, builder, sig, args):
        return build(builder, *args)


for _op, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _binary_operator(_op, lambda b, x, y, name=_name: getattr(b, name)(x, y))
for _op, _name in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
):
    _binary_operator(_op, lambda b, x, y, name=_name: b.fcmp_ordered(name, x, y), mask=True)


@infer_global(operator.neg)
class _Negate(AbstractTemplate):
    def generic(self, args: tuple, kws: dict) -> Any:
        return signature(args[0], args[0]) if isinstance(args[0], Lanes) else None


@lower_builtin(operator.neg, Lanes)
def _negate(context, builder, sig, args):
    return builder.fneg(args[0])


# ---------------------------------------------------------------------------------------------- functions
def _call(builder: ir.IRBuilder, name: str, result: ir.Type, args: list) -> ir.Value:
    function_type = ir.FunctionType(result, [a.type for a in args])
    module = builder.module
    found = module.globals.get(name)
    return builder.call(found or ir.Function(module, function_type, name), args)


@intrinsic
def fma(typingctx, a, b, c):
    """a·b + c with one rounding; scalars among the arguments are copied to every lane."""
    lanes = _lanes_among((a, b, c))

    def build(context, builder, sig, args):
        return _call(builder, f"llvm.fma.{lanes.suffix}", lanes.llvm_type, list(args))

    return lanes(lanes, lanes, lanes), build


def _unary_intrinsic(llvm_name: str, doc: str) -> Callable:
    def declare(typingctx, v):
        def build(context, builder, sig, args):
            return _call(builder, f"llvm.{llvm_name}.{v.suffix}", v.llvm_type, list(args))

        return v(v), build

    declare.__doc__ = doc
    return intrinsic(declare)


sqrt = _unary_intrinsic("sqrt", "Square root of each lane, correctly rounded.")
vabs = _unary_intrinsic("fabs", "Absolute value of each lane.")


@intrinsic
def select(typingctx, mask, a, b):
    """``a if mask else b``, lane by lane. A comparison with NaN is false: put what NaN must give into b."""
    lanes = _lanes_among((a, b))

    def build(context, builder, sig, args):
        return builder.select(*args)

    return lanes(mask, lanes, lanes), build


@intrinsic
def splat(typingctx, scalar, like):
    """Copy a scalar to every lane, in the dtype of the Lanes or the array `like`."""
    lanes = Lanes(like.dtype)

    def build(context, builder, sig, args):
        return args[0]

    return lanes(lanes, like), build


@intrinsic
def widen(typingctx, v):
    """Convert Lanes to float64."""
    lanes = Lanes(types.float64)

    def build(context, builder, sig, args):
        return args[0] if v == lanes else builder.fpext(args[0], lanes.llvm_type)

    return lanes(v), build


@intrinsic
def narrow_like(typingctx, v, like):
    """Round float64 Lanes to the dtype of `like`, Lanes or array."""
    lanes = Lanes(like.dtype)

    def build(context, builder, sig, args):
        return args[0] if v == lanes else builder.fptrunc(args[0], lanes.llvm_type)

    return lanes(v, like), build


def polynomial(coefficients: dict[types.Type, tuple[float, ...]]) -> Callable:
    """Return p(v) = c₀ + v(c₁ + v(c₂ + …)) as a function of Lanes, with the coefficients of v's dtype."""

    def declare(typingctx, v):
        terms = coefficients[v.dtype]

        def build(context, builder, sig, args):
            constants = [ir.Constant(v.llvm_type, [c] * LANES) for c in terms]
            total = constants[-1]
            for constant in reversed(constants[:-1]):
                total = _call(builder, f"llvm.fma.{v.suffix}", v.llvm_type, [total, args[0], constant])
            return total

        return v(v), build

    return intrinsic(declare)


def constant_of(values: dict[types.Type, float]) -> Callable:
    """Return c(v), Lanes of the number that `values` holds for v's dtype."""

    def declare(typingctx, v):
        def build(context, builder, sig, args):
            return ir.Constant(v.llvm_type, [values[v.dtype]] * LANES)

        return v(v), build

    return intrinsic(declare)


# ------------------------------------------------------------------------------------------ bits of floats
def _bits(builder: ir.IRBuilder, v: Lanes, value: ir.Value) -> tuple[ir.Value, Callable]:
    integer = ir.IntType(64 if v.dtype == types.float64 else 32)
    vector = ir.VectorType(integer, LANES)
    return builder.bitcast(value, vector), lambda number: ir.Constant(vector, [number] * LANES)


@intrinsic
def power_of_two(typingctx, shifted):
    """2ⁿ of `shifted` = n + 1.5·2^(mantissa bits), a sum whose low bits are the integer n.

    Unlike a conversion to integers this is defined for NaN (some number, which NaN then absorbs).
    """

    def build(context, builder, sig, args):
        bits, constant = _bits(builder, shifted, args[0])
        bits = builder.add(bits, constant(_EXPONENT_BIAS[shifted.dtype]))
        bits = builder.shl(bits, constant(_MANTISSA_BITS[shifted.dtype]))
        return builder.bitcast(bits, shifted.llvm_type)

    return shifted(shifted), build


@intrinsic
def exponent_of(typingctx, v):
    """e of v = m·2^e, 1 ≤ m < 2, for positive normal v."""

    def build(context, builder, sig, args):
        bits, constant = _bits(builder, v, args[0])
        bits = builder.lshr(bits, constant(_MANTISSA_BITS[v.dtype]))
        return builder.sitofp(builder.sub(bits, constant(_EXPONENT_BIAS[v.dtype])), v.llvm_type)

    return v(v), build


@intrinsic
def mantissa_of(typingctx, v):
    """m of v = m·2^e, 1 ≤ m < 2, for positive normal v."""

    def build(context, builder, sig, args):
        bits, constant = _bits(builder, v, args[0])
        width = _MANTISSA_BITS[v.dtype]
        bits = builder.and_(bits, constant((1 << width) - 1))
        bits = builder.or_(bits, constant(_EXPONENT_BIAS[v.dtype] << width))
        return builder.bitcast(bits, v.llvm_type)

    return v(v), build


# ------------------------------------------------------------------------------------------------- memory
def _pointer(
    context: Any, builder: ir.IRBuilder, array_type: types.Array, array: ir.Value, at: ir.Value
) -> ir.Value:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [at])


@intrinsic
def load(typingctx, array, at):
    """The LANES numbers array[at : at+LANES] of a flat array."""
    lanes = Lanes(array.dtype)

    def build(context, builder, sig, args):
        pointer = _pointer(context, builder, array, *args)
        return builder.load(
            builder.bitcast(pointer, lanes.llvm_type.as_pointer()), align=array.dtype.bitwidth // 8
        )

    return lanes(array, types.intp), build


@intrinsic
def store(typingctx, array, at, v):
    """Write LANES numbers to array[at : at+LANES] of a flat array."""

    def build(context, builder, sig, args):
        pointer = _pointer(context, builder, array, *args[:2])
        pointer = builder.bitcast(pointer, v.llvm_type.as_pointer())
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, v), build


@intrinsic
def lane_sum(typingctx, v):
    """Sum of the lanes, halving: (0+8)+(4+12)+…, always in this order."""

    def build(context, builder, sig, args):
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            index = ir.VectorType(ir.IntType(32), width)
            low = builder.shuffle_vector(value, value, ir.Constant(index, list(range(width))))
            high = builder.shuffle_vector(value, value, ir.Constant(index, list(range(width, 2 * width))))
            value = builder.fadd(low, high)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return v.dtype(v), build


@njit
def slot_sum(sums, at):
    """Sum of PAIR_SLOTS numbers from sums[at], halving: (0+8)+(4+12)+…, always in this order."""
    total = load(sums, at)
    for part in range(LANES, PAIR_SLOTS, LANES):
        total = total + load(sums, at + part)
    return lane_sum(total)


# ------------------------------------------------------------------------------------------ register tile
@intrinsic
def tile_columns(typingctx, array):
    """Columns of lanes that a register tile of this dtype has: 3, or 1 where a column takes two registers."""
    columns = 3 if array.dtype == types.float32 else 1

    def build(context, builder, sig, args):
        return context.get_constant(types.intp, columns)

    return types.intp(array), build


def _make_tile_product(columns: int) -> Callable:
    """Build the product of one panel of TILE_ROWS rows of weights with `columns` columns of lanes."""

    def tile_product(typingctx, weights, w_at, depth, source, s_at, s_step, target, t_at, t_step):
        lanes = Lanes(source.dtype)

        def build(context, builder, sig, args):
            _emit_tile(context, builder, sig, args, lanes, columns)
            return context.get_dummy_value()

        at = types.intp
        return types.void(weights, at, at, source, at, at, target, at, at), build

    tile_product.__doc__ = f"""target[c, r] = Σ_p weights[p, r]·source[c, p] for r < TILE_ROWS, c < {columns}.

    weights[w_at + p·TILE_ROWS + r] is a scalar; source[s_at + c·s_step + p·LANES] and
    target[t_at + c·t_step + r·LANES] are Lanes. p ascends from 0 with one fma a step, so a number never
    depends on the shape of the tile that it was computed in.
    """
    return intrinsic(tile_product)


def _emit_tile(context, builder, sig, args, lanes, columns):
    w_type, _, _, s_type, _, _, t_type, _, _ = sig.args
    weights, w_at, depth, source, s_at, s_step, target, t_at, t_step = args
    i64, size = ir.IntType(64), lanes.dtype.bitwidth // 8
    constant = lambda number: ir.Constant(i64, number)  # noqa: E731
    vector_pointer = lanes.llvm_type.as_pointer()

    panel = _pointer(context, builder, w_type, weights, w_at)
    step = [builder.mul(s_step, constant(c)) for c in range(columns)]
    inputs = [_pointer(context, builder, s_type, source, builder.add(s_at, s)) for s in step]

    before, loop, after = builder.block, builder.append_basic_block("tile"), builder.append_basic_block("tile.end")
    builder.branch(loop)
    builder.position_at_end(loop)
    p = builder.phi(i64)
    p.add_incoming(constant(0), before)
    sums = [[builder.phi(lanes.llvm_type) for _ in range(columns)] for _ in range(TILE_ROWS)]
    zero = ir.Constant(lanes.llvm_type, None)
    p_lanes, p_rows = builder.mul(p, constant(LANES)), builder.mul(p, constant(TILE_ROWS))
    values = [
        builder.load(builder.bitcast(builder.gep(base, [p_lanes]), vector_pointer), align=size) for base in inputs
    ]
    updated = []
    for r in range(TILE_ROWS):
        weight = _splat(builder, builder.load(builder.gep(panel, [builder.add(p_rows, constant(r))])))
        updated.append(
            [
                _call(builder, f"llvm.fma.{lanes.suffix}", lanes.llvm_type, [weight, values[c], sums[r][c]])
                for c in range(columns)
            ]
        )
    following = builder.add(p, constant(1))
    p.add_incoming(following, loop)
    for r in range(TILE_ROWS):
        for c in range(columns):
            sums[r][c].add_incoming(zero, before)
            sums[r][c].add_incoming(updated[r][c], loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)

    builder.position_at_end(after)
    for c in range(columns):
        base = builder.add(t_at, builder.mul(t_step, constant(c)))
        for r in range(TILE_ROWS):
            pointer = _pointer(context, builder, t_type, target, builder.add(base, constant(r * LANES)))
            builder.store(updated[r][c], builder.bitcast(pointer, vector_pointer), align=size)


tile_product_1, tile_product_2, tile_product_3 = map(_make_tile_product, (1, 2, 3))


@intrinsic
def tile_squares(typingctx, panel, p_at, shift, x_at, lanes_of, l_at, other_shift, o_at, k, target):
    """target[r] = shift[r] + other_shift + Σ_i (y[i] − x[i, r])² for PAIR_ROWS rows x and LANES rows y.

    panel[p_at + i·PAIR_ROWS + r] and shift[x_at + r] are scalars; lanes_of[l_at + i·LANES] and
    other_shift[o_at] are Lanes; i ascends with one fma a step.
    """
    lanes = Lanes(target.dtype)

    def build(context, builder, sig, args):
        _emit_squares(context, builder, sig, args, lanes)
        return context.get_dummy_value()

    at = types.intp
    return types.void(panel, at, shift, at, lanes_of, at, other_shift, at, at, target), build


def _emit_squares(context, builder, sig, args, lanes):
    panel, p_at, shift, x_at, lanes_of, l_at, other, o_at, k, target = args
    types_of = dict(
        zip(("panel", "shift", "lanes", "other", "target"), (sig.args[i] for i in (0, 2, 4, 6, 9)), strict=True)
    )
    i64, size = ir.IntType(64), lanes.dtype.bitwidth // 8
    constant = lambda number: ir.Constant(i64, number)  # noqa: E731
    vector = lanes.llvm_type.as_pointer()

    def scalar(base: ir.Value, offset: ir.Value) -> ir.Value:
        return _splat(builder, builder.load(builder.gep(base, [offset])))

    x = _pointer(context, builder, types_of["panel"], panel, p_at)
    y = _pointer(context, builder, types_of["lanes"], lanes_of, l_at)
    x_shift = _pointer(context, builder, types_of["shift"], shift, x_at)
    y_shift = builder.bitcast(_pointer(context, builder, types_of["other"], other, o_at), vector)
    y_shift = builder.load(y_shift, align=size)
    starts = [builder.fadd(y_shift, scalar(x_shift, constant(r))) for r in range(PAIR_ROWS)]

    before, loop, after = (
        builder.block,
        builder.append_basic_block("pairs"),
        builder.append_basic_block("pairs.end"),
    )
    builder.branch(loop)
    builder.position_at_end(loop)
    i = builder.phi(i64)
    i.add_incoming(constant(0), before)
    sums = [builder.phi(lanes.llvm_type) for _ in range(PAIR_ROWS)]
    here = builder.bitcast(builder.gep(y, [builder.mul(i, constant(LANES))]), vector)
    value = builder.load(here, align=size)
    updated = []
    for r in range(PAIR_ROWS):
        difference = builder.fsub(value, scalar(x, builder.add(builder.mul(i, constant(PAIR_ROWS)), constant(r))))
        square = [difference, difference, sums[r]]
        updated.append(_call(builder, f"llvm.fma.{lanes.suffix}", lanes.llvm_type, square))
    following = builder.add(i, constant(1))
    i.add_incoming(following, loop)
    for r in range(PAIR_ROWS):
        sums[r].add_incoming(starts[r], before)
        sums[r].add_incoming(updated[r], loop)
    builder.cbranch(builder.icmp_signed("<", following, k), loop, after)

    builder.position_at_end(after)
    for r in range(PAIR_ROWS):
        pointer = _pointer(context, builder, types_of["target"], target, constant(r * LANES))
        builder.store(updated[r], builder.bitcast(pointer, vector), align=size)
