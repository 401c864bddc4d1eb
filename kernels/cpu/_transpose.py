"""Transposing columns of Lanes in registers: from [feature][sample] to [sample][feature]."""

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._simd import LANES, TILE_ROWS, Lanes, _pointer

__all__ = ["features_to_lanes", "features_to_panels", "split_lanes", "transpose_panel"]


def _store_pieces(
    builder: ir.IRBuilder, lanes: Lanes, value: ir.Value, width: int, place: ir.Value, step: ir.Value
) -> None:
    """Store Lanes in pieces of `width` numbers, `step` numbers apart."""
    piece = ir.VectorType(lanes.llvm_type.element, width).as_pointer()
    for part in range(LANES // width):
        index = ir.VectorType(ir.IntType(32), width)
        chosen = ir.Constant(index, list(range(part * width, (part + 1) * width)))
        at = builder.gep(place, [builder.mul(step, ir.Constant(ir.IntType(64), part))])
        shuffled = builder.shuffle_vector(value, value, chosen)
        builder.store(shuffled, builder.bitcast(at, piece), align=lanes.dtype.bitwidth // 8)


def _make_transpose(width: int) -> Callable:
    """Build the transposition of LANES × LANES numbers whose rows are written in pieces of `width`."""

    def transpose(typingctx, source, s_at, target, t_at, t_step):
        lanes = Lanes(source.dtype)

        def build(context, builder, sig, args):
            source, s_at, target, t_at, t_step = args
            i64, size = ir.IntType(64), lanes.dtype.bitwidth // 8
            base = _pointer(context, builder, sig.args[0], source, s_at)
            rows = []
            for j in range(LANES):
                at = builder.gep(base, [ir.Constant(i64, j * LANES)])
                rows.append(builder.load(builder.bitcast(at, lanes.llvm_type.as_pointer()), align=size))
            rows = _transposed(builder, rows)
            place = _pointer(context, builder, sig.args[2], target, t_at)
            for s in range(LANES):
                here = builder.gep(place, [ir.Constant(i64, s * width)])
                _store_pieces(builder, lanes, rows[s], width, here, t_step)
            return context.get_dummy_value()

        at = types.intp
        return types.void(source, at, target, at, at), build

    transpose.__doc__ = f"""Write row s of the transposed block source[s_at + j·LANES + s] in pieces of {width}.

    Piece q of row s goes to target[t_at + q·t_step + s·{width}:].
    """
    return intrinsic(transpose)


def _transposed(builder: ir.IRBuilder, rows: list) -> list:
    """Transpose by halves: in each round rows i and i + distance swap the blocks off their diagonal."""
    width = len(rows)
    index = ir.VectorType(ir.IntType(32), width)
    distance = width // 2
    while distance:
        low = [j if not j & distance else width + j - distance for j in range(width)]
        high = [j + distance if not j & distance else width + j for j in range(width)]
        updated = list(rows)
        for i in range(width):
            if not i & distance:
                pair = rows[i], rows[i + distance]
                updated[i] = builder.shuffle_vector(*pair, ir.Constant(index, low))
                updated[i + distance] = builder.shuffle_vector(*pair, ir.Constant(index, high))
        rows, distance = updated, distance // 2
    return rows


@intrinsic
def transpose_panel(typingctx, source, s_at, target, t_at):
    """target[t_at + r·TILE_ROWS + i] = source[s_at + i·TILE_ROWS + r] for a square of TILE_ROWS."""

    def build(context, builder, sig, args):
        i64, size = ir.IntType(64), sig.args[0].dtype.bitwidth // 8
        vector = ir.VectorType(Lanes(sig.args[0].dtype).llvm_type.element, TILE_ROWS).as_pointer()
        base, place = (_pointer(context, builder, sig.args[i], args[i], args[i + 1]) for i in (0, 2))
        steps = [ir.Constant(i64, i * TILE_ROWS) for i in range(TILE_ROWS)]
        rows = [builder.load(builder.bitcast(builder.gep(base, [at]), vector), align=size) for at in steps]
        for at, row in zip(steps, _transposed(builder, rows), strict=True):
            builder.store(row, builder.bitcast(builder.gep(place, [at]), vector), align=size)
        return context.get_dummy_value()

    at = types.intp
    return types.void(source, at, target, at), build


@intrinsic
def split_lanes(typingctx, source, s_at, target, t_at, t_step):
    """Copy LANES numbers in pieces of TILE_ROWS: piece q to target[t_at + q·t_step:]."""
    lanes = Lanes(source.dtype)

    def build(context, builder, sig, args):
        source, s_at, target, t_at, t_step = args
        base = _pointer(context, builder, sig.args[0], source, s_at)
        value = builder.load(builder.bitcast(base, lanes.llvm_type.as_pointer()), align=lanes.dtype.bitwidth // 8)
        _store_pieces(
            builder, lanes, value, TILE_ROWS, _pointer(context, builder, sig.args[2], target, t_at), t_step
        )
        return context.get_dummy_value()

    at = types.intp
    return types.void(source, at, target, at, at), build


_to_lanes, _to_panels = _make_transpose(LANES), _make_transpose(TILE_ROWS)


@njit
def features_to_lanes(features, columns, source, step, target, t_step):
    """target[f//LANES][sample][f%LANES] from columns source[c][f][sample%LANES]."""
    for c in range(columns):
        for f in range(0, features, LANES):
            _to_lanes(source, c * step + f * LANES, target, f // LANES * t_step + c * LANES * LANES, 0)


@njit
def features_to_panels(features, columns, source, step, target, t_step):
    """target[f//TILE_ROWS][sample][f%TILE_ROWS] from columns source[c][f][sample%LANES]."""
    for c in range(columns):
        for f in range(0, features, LANES):
            at = f // TILE_ROWS * t_step + c * LANES * TILE_ROWS
            _to_panels(source, c * step + f * LANES, target, at, t_step)
