"""What each way of computing a convolution costs, and so which one is taken.

Every product can be had in several ways, which differ in how many numbers they copy, add and
multiply. The counts follow from the geometry; the prices were measured once, in float32, with
NumPy 2.4 and OpenBLAS on one core of x86-64. Their unit is the time to go through a number once, to
read it, write it or both: 0.15 ns. They need not be exact: where two ways cost about the same,
either will do. What is said of a price is how long the families of `tests/benchmark.py --wide` take
without it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from convinsights._geometry import Geometry
from convinsights._passes import CALL, PASS
from convinsights._strips import strip_geometry

__all__ = [
    "COPIED",
    "NARROW",
    "PIECE",
    "WORKSPACE",
    "Scatter",
    "Way",
    "by_channel",
    "by_channel_twice",
    "collects",
    "collects_by_channel",
    "in_boxes",
    "neighbours",
    "piece",
    "way_to_gather",
    "way_to_scatter",
]

# The prices, in numbers gone through.

# To start on the next run of numbers that lie side by side: a run that is copied, or one that is
# added. With 40 for both, few channels take 1.1 times as long, with 20, 3-D 1.06 times.
COPY_RUN, ADD_RUN = 20, 80

# To set up one more convolution, of a phase of the strides, of a box or of strips: some calls. With
# a single one, small images take 1.3 times as long, and large kernels 1.7 times.
SETUP = 16 * CALL

# To multiply and add once in a product: what all copying is weighed against.
MULTIPLY = 1 / 8

# The surcharge for storing a number, or adding to one, that does not lie beside the one before: the
# channels of a pixel in an image that is stored channel by channel, every s-th pixel with strides,
# a kernel that is rearranged. Without it, 1-D takes 1.15 times as long, the gradients of 8 images
# of 4×4×256 1.6.
STORE = 4

# Strips and boxes must be expected to be this many times faster: they also copy what is not priced.
# Without it, small images take 1.1 times as long, and elongated ones 1.2 times.
GAIN = 1.15

# Bytes of the columns gathered at a time or, channel by channel, of a box's pixels and sums
# together: as much as four blocks of a pass. With a quarter of it small images take 1.1 times as
# long, with all columns at once up to 2 times (they leave the cache).
WORKSPACE = 4 * PASS

# Copies of the kernel, rearranged for collecting, may take so many WORKSPACEs together, or each as
# much as dy: what the promise on memory leaves.
COPIED = 4

# Multiplications up to which OpenBLAS keeps a product on one core and does not pack its factors
# (with AVX-512, 100³): cut into such pieces, narrow 3-D layers take 0.75 of the time.
PIECE = 990_000

# Columns or inner entries up to which a product is cut into such pieces. Two cores have to wait for
# each other and to fetch what the first has gathered: with 16 columns they take 1.0 to 2.5 times as
# long, and up to 50 times beside another process; with 32, and no other process, 0.75 times. (On
# one core, a NARROW of 64 would be better.)
NARROW = 16


class Way(NamedTuple):
    """How windows are gathered: plainly, planar, or by rows, `high` of them at a time."""

    cost: float  # for each window of a group
    planar: bool = False
    high: int = 0


def piece(inner: int, columns: int) -> int:
    """Return how long the pieces of a narrow product are, or 0: no pieces.

    inner, columns: its two other sizes. What is cut is the rows in `write_product`, and what is
    summed over in `add_product`. At least NARROW at a time make it worth starting a piece.
    """
    count = PIECE // (inner * columns)
    return count if min(inner, columns) <= NARROW <= count else 0


@lru_cache(1024)
def way_to_gather(geometry: Geometry, groups: int, inputs: int, outputs: int, numbers: int) -> Way:
    """Choose how the windows of images are gathered, `numbers` of their entries at a time.

    plainly: a run that is copied is what lies together in a window: a row of taps with all its
    channels, or, where taps lie apart, the channels of one tap.

    planar: the image is stored channel by channel first. A run then goes along the pixels.

    by rows: windows that lie one below the other read mostly the same rows of pixels. So only the
    windows of one row of taps are gathered, over every row of pixels. Row u of the kernel is
    multiplied by those from row u d on, and the products (outputs) are added up: about
    1 / kernel_size[0] of the copying, or none where windows of one row are the pixels, for some
    more adding.
    """
    geometry = geometry.folded
    kernel_rows, kernel_width = geometry.kernel_size[0], geometry.kernel_size[-1]
    halo = geometry.halo
    entries = math.prod(geometry.kernel_size) * inputs
    run = inputs if geometry.dilation_rate[-1] > 1 else inputs * kernel_width
    # Every block reads the kernel, or reads its gradient and adds, and is multiplied in a call for
    # each group.
    kernel = entries * outputs * 2
    block = max(1, numbers // entries)
    share = (kernel + CALL) / block
    ways = [Way(entries * _copying(run) + share)]
    if geometry.strides[-1] == 1 and entries > inputs:
        stored = STORE * inputs * math.prod(geometry.input_size) / math.prod(geometry.output_size)
        copies = entries * _copying(min(block, geometry.output_size[-1]))
        ways.append(Way(copies + stored + share, planar=True))
    line = math.prod(geometry.output_size[1:])
    fitting = numbers * kernel_rows // (line * entries) - halo, numbers // (line * outputs)
    high = min(geometry.output_size[0], *fitting)
    if geometry.strides[0] == 1 and kernel_rows > 1 and high > 0:
        in_place = all(geometry.same_axes[1:])  # windows of one tap are the pixels
        copies = 0 if in_place else entries / kernel_rows * (1 + halo / high) * _copying(run)
        adds = (kernel_rows - 1) * (outputs + 2 * COPY_RUN)  # runs read and written
        calls = (kernel + CALL + (kernel_rows - 1) * CALL / groups) / (high * line)
        ways.append(Way(copies + adds + calls, high=high))
    return min(ways)


def neighbours(
    geometry: Geometry, groups: int, inputs: int, outputs: int, batch: int, scatters: bool
) -> int:
    """Choose how many windows to take as one strip (see `_strips`), 1 for none.

    scatters: whether the windows are scattered, or gathered.
    """
    return _in_strips(geometry, groups, inputs, outputs, batch, scatters)[1]


@lru_cache(1024)
def in_boxes(geometry: Geometry, groups: int, inputs: int, outputs: int, batch: int) -> bool:
    """Tell whether windows are taken box by box, each with the taps alone that read pixels.

    That saves products with the zeros around the image, most of them where taps lie far apart
    (rate 12 on 28×28 pixels: half) or the image is small beside the kernel. Every box is a
    convolution of its own, and copies its part of the kernel.
    """
    if not geometry.is_padded:
        return False
    ranges, taps = geometry.ranges, math.prod(geometry.kernel_size)
    live = math.prod(
        sum((at.stop - at.start) * (tap.stop - tap.start) for at, tap, _ in axis) for axis in ranges
    )
    part = math.prod(
        max([tap.stop - tap.start for _, tap, _ in axis], default=0) for axis in ranges
    )
    weights = part * inputs * outputs * groups
    if weights > _workspace():
        return False
    each = batch * groups * inputs * outputs * _multiplying(outputs)
    boxes = live * each + (SETUP + weights) * math.prod(map(len, ranges))
    whole = math.prod(geometry.output_size) * taps * each
    return bool(boxes * GAIN < whole)


@lru_cache(1024)
def by_channel(geometry: Geometry, groups: int, outputs: int, batch: int) -> bool:
    """Tell whether to go without matrix products where every group is one channel.

    For each output of a channel, and each phase of the strides, that is a convolution of its own.
    To multiply and add is priced there as one number gone through. It takes more than that, but
    products of a single channel take more than their price, too.
    """
    taps, windows = math.prod(geometry.kernel_size), math.prod(geometry.output_size)
    products, _ = _in_strips(geometry, groups, 1, outputs, batch, False)
    once = SETUP * outputs * geometry.phase_count
    return once < groups * (products - batch * windows * taps * outputs)


def by_channel_twice(geometry: Geometry, groups: int, outputs: int, batch: int) -> bool:
    """Tell the same of y and dkernel together.

    Plainly, one gathering serves both; by channel, each reads the pixels anew, once for every
    output of a channel. So only with one output, and where the columns do not fit the workspace.
    """
    windows = batch * math.prod(geometry.output_size)
    columns = windows * math.prod(geometry.kernel_size) * groups
    return outputs == 1 and columns > _workspace()


def collects_by_channel(geometry: Geometry) -> bool:
    """Tell whether pixels collect their gradients channel by channel, or windows scatter them.

    Per tap, collecting goes through a number for every pixel of a phase of the strides; scattering,
    for every window, through four: it writes dy k, reads it, reads the pixel and writes it.
    """
    phase = math.prod(geometry.input_size) / math.prod(geometry.strides)
    return phase < 4 * math.prod(geometry.output_size)


@lru_cache(1024)
def collects(geometry: Geometry, groups: int, inputs: int, outputs: int, batch: int) -> bool:
    """Tell whether pixels collect their gradients from windows of dy, or windows scatter them.

    Collecting copies and multiplies, scattering multiplies and adds. For each tap and group, a
    pixel collects `outputs` numbers, and a window adds `inputs` numbers to its pixel. Collecting
    visits every pixel, scattering every window, of which there are few where the kernel is nearly
    as large as the image. Collecting rearranges the kernel, and every phase of the strides is a
    convolution of its own.
    """
    if geometry.disjoint:
        return False  # windows that lie apart are written, without adding
    weights = math.prod(geometry.kernel_size) * inputs * outputs * groups
    once = SETUP * (geometry.phase_count - 1) + weights * (1 + STORE)
    scattering = groups * _in_strips(geometry, groups, inputs, outputs, batch, True)[0]
    if once >= scattering:
        return False  # before thousands of phases are laid
    parts = [phase.geometry for phase in geometry.phases_to_pixels]
    collecting = sum(_in_strips(part, groups, outputs, inputs, batch, False)[0] for part in parts)
    return once + groups * collecting < scattering


class Scatter(NamedTuple):
    """How windows are scattered: tap by tap, one channel at a time (planar), or one by one."""

    cost: float  # for each number
    planar: bool = False
    one_by_one: bool = False


@lru_cache(1024)
def way_to_scatter(geometry: Geometry, inputs: int, batch: int) -> Scatter:
    """Choose how the windows of a batch are added to their pixels.

    Tap by tap, adding runs along the channels of a pixel.

    planar: one channel at a time too, in an image that is stored channel by channel. Adding then
    runs along the pixels.

    one by one: adding runs along a row of taps (where these lie apart, along the channels of one),
    and there is a call for each window of a block, not for each tap.
    """
    if geometry.disjoint:
        return Scatter(0)
    taps, windows = math.prod(geometry.kernel_size), math.prod(geometry.output_size)
    entries, kernel_width = taps * inputs, geometry.kernel_size[-1]
    block = max(1, min(batch * windows, _workspace() // entries))  # of one image or several
    call = CALL / (block * entries)
    pixel = _adding(geometry.output_size[-1]) + (STORE if geometry.strides[-1] > 1 else 0)
    row = inputs * (1 if geometry.dilation_rate[-1] > 1 else kernel_width)
    return min(
        Scatter(_adding(inputs) + taps * call),
        Scatter(pixel + entries * call, planar=True),
        Scatter(_adding(row) + min(windows, block) * call, one_by_one=True),
    )


@lru_cache(1024)
def _in_strips(
    geometry: Geometry, groups: int, inputs: int, outputs: int, batch: int, scatters: bool
) -> tuple[float, int]:
    # What all windows of a batch and a group cost at least, and with how many to a strip (1: no
    # strips)
    output_width, scattered = geometry.output_size[-1], batch if scatters else 0
    windows = batch * math.prod(geometry.output_size)
    best = windows * _price(geometry, groups, inputs, outputs, scattered), 1
    if math.prod(geometry.kernel_size) == 1:
        return best
    count = 2
    while count <= output_width:
        strip = strip_geometry(geometry, count)
        entries, columns = math.prod(strip.kernel_size) * inputs, count * outputs
        if groups * entries * columns > _workspace():
            break
        price = _price(strip, groups, inputs, columns, scattered)
        price *= batch * math.prod(strip.output_size)
        price += SETUP / groups + entries * columns * (1 + STORE)  # to lay out the kernel
        if groups > 1 or output_width % count:  # outputs are put in order
            price += windows * 2 * outputs * _copying(outputs)  # read and written
        best = min(best, (price * GAIN, count))
        count *= 2
    return best


def _price(geometry: Geometry, groups: int, inputs: int, outputs: int, scattered: int) -> float:
    # What one window of one group costs: to gather and multiply it (scattered = 0), or to multiply
    # it and scatter it in a batch of `scattered` images
    entries = math.prod(geometry.kernel_size) * inputs
    if scattered:
        added = way_to_scatter(geometry, inputs, scattered).cost
        added += 2  # the product, written and read
        return entries * (outputs * _multiplying(entries) + added)
    gathered = way_to_gather(geometry, groups, inputs, outputs, _workspace() // groups).cost
    return gathered + entries * outputs * _multiplying(outputs)


def _workspace() -> int:
    # Numbers in the workspace, as float32, in which the prices were measured
    return WORKSPACE // 4


def _adding(run: int) -> float:
    return 1 + ADD_RUN / run


def _copying(run: int) -> float:
    return 1 + COPY_RUN / run


def _multiplying(columns: int) -> float:
    # The other factor is read, too: as if there were two more columns
    return MULTIPLY * (1 + 2 / columns)
