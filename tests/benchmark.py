"""How fast is it? Run by hand; pytest does not collect this file.

    python tests/benchmark.py                   against the bare matrix products (NumPy only)
    python tests/benchmark.py --against torch   against PyTorch too, where it is installed
    python tests/benchmark.py --wide            a hundred geometries, most of them unusual
    python tests/benchmark.py --scaling         how cost grows with the batch, pixels and channels

Every library runs in a process of its own, for two thread pools in one process fight over the
cores; they take turns, and medians are compared.
"""

import argparse
import json
import math
import platform
import statistics
import subprocess
import sys
import time
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np


class Layer(NamedTuple):
    """A float32 layer; forward and backward of a training step are timed together."""

    family: str
    module: str
    x: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    strides: int = 1
    dilation_rate: int = 1
    groups: int = 1
    padding: str = "same"

    def __str__(self):
        shapes = ("×".join(map(str, shape)) for shape in (self.x, self.kernel) if shape)
        extras = {"stride": self.strides, "rate": self.dilation_rate, "groups": self.groups}
        shown = [" ∗ ".join(shapes), *(f"{name} {n}" for name, n in extras.items() if n > 1)]
        return ", ".join([*shown, *["valid"] * (self.padding == "valid")])

    @property
    def size(self):
        """The taps along each axis."""
        return self.kernel[: len(self.x) - 2]

    @property
    def options(self):
        """What the library's forward is given beside the arrays."""
        given = {"strides": self.strides, "padding": self.padding}
        given["dilation_rate"] = self.dilation_rate
        if self.module == "normalization":
            return {"groups": self.groups}
        if self.module in ("conv", "transposed"):
            given["groups"] = self.groups
        return given if self.kernel else {}


def group(family, module, *layers):
    return [Layer(family, module, *layer) for layer in layers]


LAYERS = [
    *group(
        "convolution, wide",
        "conv",
        ((8, 56, 56, 64), (3, 3, 64, 64)),
        ((8, 28, 28, 128), (3, 3, 128, 128)),
        ((8, 14, 14, 256), (3, 3, 256, 256)),
        ((8, 7, 7, 512), (3, 3, 512, 512)),
        ((8, 56, 56, 64), (3, 3, 64, 128), 2),
        ((8, 28, 28, 128), (3, 3, 128, 256), 2),
    ),
    *group(
        "convolution, narrow",
        "conv",
        ((8, 112, 112, 3), (3, 3, 3, 32)),
        ((8, 56, 56, 32), (3, 3, 32, 32)),
        ((8, 56, 56, 16), (5, 5, 16, 16)),
        ((8, 112, 112, 3), (7, 7, 3, 64), 2),
    ),
    *group(
        "dilated",
        "conv",
        ((8, 56, 56, 64), (3, 3, 64, 64), 1, 2),
        ((8, 28, 28, 128), (3, 3, 128, 128), 1, 4),
    ),
    *group(
        "transposed",
        "transposed",
        ((8, 28, 28, 128), (2, 2, 64, 128), 2),
        ((8, 28, 28, 64), (3, 3, 64, 64), 2),
        ((8, 14, 14, 128), (4, 4, 64, 128), 2),
    ),
    *group(
        "unary",
        "conv",
        ((8, 56, 56, 64), (1, 1, 64, 256)),
        ((8, 28, 28, 512), (1, 1, 512, 128)),
    ),
    *group(
        "depthwise separable",
        "depthwise_separable",
        ((8, 112, 112, 32), (3, 3, 32, 64)),
        ((8, 56, 56, 128), (3, 3, 128, 128)),
        ((8, 14, 14, 512), (3, 3, 512, 512)),
        ((8, 28, 28, 96), (7, 7, 96, 96)),
    ),
    *group("batch normalization", "batchnorm", ((8, 112, 112, 32),), ((8, 28, 28, 256),)),
]

# Ranks 1 to 3, kernels of 1 to 63, strides, rates, groups, multipliers, few and many channels, tiny
# and elongated images, batches of 1 to 4096, primes.
WIDE = [
    *group(
        "ordinary",
        "conv",
        ((8, 56, 56, 64), (3, 3, 64, 64)),
        ((8, 28, 28, 128), (3, 3, 128, 128)),
        ((8, 14, 14, 256), (3, 3, 256, 256)),
        ((8, 7, 7, 512), (3, 3, 512, 512)),
        ((1, 56, 56, 64), (3, 3, 64, 64)),
        ((1, 112, 112, 32), (5, 5, 32, 32)),
        ((8, 56, 56, 32), (3, 3, 32, 32)),
        ((8, 112, 112, 3), (3, 3, 3, 32)),
        ((8, 53, 97, 13), (3, 3, 13, 17)),
        ((32, 14, 14, 32), (5, 5, 32, 64)),
    ),
    *group(
        "1×1",
        "conv",
        ((8, 56, 56, 64), (1, 1, 64, 256)),
        ((8, 56, 56, 256), (1, 1, 256, 64)),
        ((8, 28, 28, 512), (1, 1, 512, 128)),
        ((8, 56, 56, 64), (1, 1, 64, 128), 2),
        ((1, 7, 7, 512), (1, 1, 512, 2048)),
        ((8, 112, 112, 3), (1, 1, 3, 16)),
    ),
    *group(
        "strides",
        "conv",
        ((8, 56, 56, 64), (3, 3, 64, 128), 2),
        ((8, 28, 28, 128), (3, 3, 128, 256), 2),
        ((8, 112, 112, 16), (3, 3, 16, 32), 2),
        ((8, 56, 56, 32), (3, 3, 32, 32), 3),
        ((8, 112, 112, 3), (7, 7, 3, 64), 2),
        ((4, 224, 224, 3), (11, 11, 3, 64), 4),
        ((8, 224, 224, 3), (16, 16, 3, 96), 16, 1, 1, "valid"),
        ((8, 56, 56, 32), (2, 2, 32, 64), 2, 1, 1, "valid"),
        ((8, 56, 56, 32), (4, 4, 32, 64), 2),
    ),
    *group(
        "dilated",
        "conv",
        ((8, 56, 56, 64), (3, 3, 64, 64), 1, 2),
        ((8, 28, 28, 128), (3, 3, 128, 128), 1, 4),
        ((8, 28, 28, 32), (3, 3, 32, 32), 1, 16),
        ((8, 28, 28, 64), (3, 3, 64, 64), 1, 12),
        ((4, 14, 14, 128), (3, 3, 128, 128), 1, 18),
        ((8, 56, 56, 32), (3, 3, 32, 32), 2, 2),
        ((8, 56, 56, 32), (3, 3, 32, 32), 2, 3),
        ((4, 4096, 32), (2, 32, 32), 1, 256),
    ),
    *group(
        "large kernels",
        "conv",
        ((1, 128, 128, 3), (63, 63, 3, 8)),
        ((8, 28, 28, 16), (13, 13, 16, 16), 1, 1, 1, "valid"),
        ((1, 112, 112, 3), (31, 31, 3, 64)),
        ((4, 112, 112, 8), (63, 1, 8, 8)),
        ((4, 112, 112, 8), (1, 63, 8, 8)),
        ((2, 56, 56, 16), (21, 21, 16, 16)),
        ((1, 64, 64, 4), (61, 61, 4, 4), 1, 1, 1, "valid"),
        ((2, 12, 12, 12, 8), (7, 7, 7, 8, 8), 1, 1, 1, "valid"),
        ((8, 14, 14, 64), (7, 7, 64, 64)),
        ((8, 56, 56, 8), (11, 11, 8, 8)),
    ),
    *group(
        "groups",
        "conv",
        ((8, 7, 7, 512), (3, 3, 1, 512), 1, 1, 512),
        ((8, 28, 28, 128), (3, 3, 1, 128), 1, 1, 128),
        ((8, 28, 28, 64), (3, 3, 2, 64), 1, 1, 32),
        ((8, 56, 56, 128), (3, 3, 4, 128), 1, 1, 32),
        ((8, 28, 28, 256), (3, 3, 8, 256), 1, 1, 32),
        ((8, 14, 14, 512), (3, 3, 16, 512), 1, 1, 32),
        ((8, 28, 28, 256), (3, 3, 8, 256), 2, 1, 32),
        ((8, 28, 28, 192), (1, 1, 64, 192), 1, 1, 3),
        ((8, 28, 28, 240), (1, 1, 30, 240), 1, 1, 8),
        ((8, 28, 28, 96), (5, 5, 48, 128), 1, 1, 2),
        ((8, 2048, 64), (3, 8, 64), 1, 1, 8),
    ),
    *group(
        "depthwise",
        "depthwise",
        ((8, 112, 112, 16), (3, 3, 16, 1)),
        ((8, 113, 113, 16), (3, 3, 16, 1)),
        ((8, 112, 112, 32), (3, 3, 32, 1)),
        ((8, 56, 56, 128), (3, 3, 128, 1)),
        ((8, 7, 7, 512), (3, 3, 512, 1)),
        ((8, 14, 14, 512), (5, 5, 512, 1)),
        ((8, 28, 28, 96), (7, 7, 96, 1)),
        ((4, 56, 56, 32), (31, 31, 32, 1)),
        ((8, 112, 112, 32), (3, 3, 32, 1), 2),
        ((8, 56, 56, 64), (3, 3, 64, 1), 1, 4),
        ((8, 56, 56, 8), (3, 3, 8, 16)),
        ((8, 56, 56, 32), (3, 3, 32, 2)),
        ((8, 61, 59, 24), (5, 5, 24, 1), 2),
        ((8, 251, 251, 1), (3, 3, 1, 1)),
        ((8, 4096, 64), (15, 64, 1)),
        ((1, 65536, 1), (1001, 1, 1)),
        ((2, 16, 28, 28, 32), (3, 3, 3, 32, 1)),
    ),
    *group(
        "few channels",
        "conv",
        ((8, 256, 256, 1), (3, 3, 1, 1)),
        ((8, 112, 112, 1), (5, 5, 1, 8)),
        ((8, 112, 112, 3), (3, 3, 3, 3)),
        ((8, 112, 112, 8), (3, 3, 8, 1)),
        ((8, 112, 112, 4), (3, 3, 4, 8)),
        ((1, 512, 512, 1), (31, 31, 1, 1)),
        ((8, 56, 56, 2), (7, 7, 2, 2)),
    ),
    *group(
        "small images",
        "conv",
        ((1024, 8, 8, 16), (3, 3, 16, 16)),
        ((4096, 4, 4, 8), (3, 3, 8, 8)),
        ((256, 7, 7, 64), (3, 3, 64, 64)),
        ((4096, 16, 4), (3, 4, 8)),
        ((512, 5, 5, 32), (5, 5, 32, 32), 1, 1, 1, "valid"),
        ((1024, 8, 8, 16), (3, 3, 16, 32), 2),
    ),
    *group(
        "elongated images",
        "conv",
        ((1, 4, 20000, 8), (3, 3, 8, 8)),
        ((1, 20000, 4, 8), (3, 3, 8, 8)),
        ((8, 1, 4096, 16), (1, 9, 16, 16)),
        ((4, 3000, 2, 32), (5, 2, 32, 32)),
    ),
    *group(
        "1-D",
        "conv",
        ((8, 4096, 64), (3, 64, 64)),
        ((8, 4096, 16), (63, 16, 16)),
        ((1, 65536, 1), (255, 1, 16)),
        ((16, 1000, 40), (5, 40, 128), 2),
        ((8, 997, 7), (11, 7, 13)),
    ),
    *group(
        "3-D",
        "conv",
        ((2, 32, 32, 32, 16), (3, 3, 3, 16, 16)),
        ((1, 16, 56, 56, 3), (3, 7, 7, 3, 32), 2),
        ((2, 8, 28, 28, 64), (1, 3, 3, 64, 64)),
        ((2, 8, 28, 28, 64), (3, 1, 1, 64, 64)),
        ((1, 31, 29, 23, 5), (3, 3, 3, 5, 7)),
    ),
    *group(
        "transposed",
        "transposed",
        ((8, 28, 28, 128), (2, 2, 64, 128), 2),
        ((8, 28, 28, 64), (3, 3, 64, 64), 2),
        ((8, 14, 14, 128), (4, 4, 64, 128), 2),
        ((8, 28, 28, 64), (3, 3, 8, 64), 1, 1, 8),
        ((8, 28, 28, 64), (4, 4, 8, 64), 2, 1, 8),
        ((8, 28, 28, 64), (4, 4, 1, 64), 2, 1, 64),
        ((8, 56, 56, 32), (4, 4, 3, 32), 2),
        ((8, 56, 56, 16), (3, 3, 16, 16)),
        ((8, 1024, 32), (8, 16, 32), 4),
        ((2, 8, 14, 14, 32), (2, 2, 2, 16, 32), 2),
        ((8, 19, 23, 16), (5, 5, 8, 16), 3),
    ),
    *group("batch normalization", "batchnorm", ((256, 1, 1024),), ((64, 7, 7, 512),)),
    *group(
        "other normalizations",
        "normalization",
        ((8, 56, 56, 64), (), 1, 1, 8),  # groups
        ((8, 28, 28, 256), (), 1, 1, 32),
        ((32, 14, 14, 256), (), 1, 1, 32),
        ((8, 28, 28, 256),),  # layers
        ((1024, 1, 512),),  # words
        ((6304, 1, 768),),
        ((4096, 1, 64),),
        ((8, 56, 56, 64), (), 1, 1, 64),  # instances
        ((256, 8, 8, 64), (), 1, 1, 64),
    ),
]


def arrays(layer):
    """Draw x and the weights of a layer, in this library's layout."""
    rng = np.random.default_rng(0)
    channels = layer.x[-1]
    shapes = [layer.kernel]
    if layer.module == "depthwise_separable":
        shapes = [(*layer.size, channels, 1), layer.kernel[-2:]]
    elif layer.module in ("batchnorm", "normalization"):
        shapes = [(channels,), (channels,)]
    return [rng.standard_normal(shape, dtype=np.float32) for shape in (layer.x, *shapes)]


# -- a step of each library ----------------------------------------------------------------------


def convinsights_step(layer):
    import convinsights

    module, given = getattr(convinsights, layer.module), arrays(layer)
    y, _ = module.forward(*given, **layer.options)
    dy = np.random.default_rng(1).standard_normal(y.shape, dtype=np.float32)

    def step():
        _, cache = module.forward(*given, **layer.options)
        module.backward(dy, cache)

    return step


def matmul_step(layer):
    """Multiply matrices as large as the columns, the kernel and the output of the layer."""
    if not layer.kernel:
        return None
    channels, taps, rng = layer.x[-1], math.prod(layer.size), np.random.default_rng(0)
    spans = [(k - 1) * layer.dilation_rate * (layer.padding == "valid") for k in layer.size]
    stride = 1 if layer.module == "transposed" else layer.strides
    lengths = [-(-(n - span) // stride) for n, span in zip(layer.x[1:-1], spans, strict=True)]
    rows = layer.x[0] * math.prod(lengths)

    def triple(*shapes):
        columns, kernel = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
        dy = columns @ kernel
        return lambda: (
            columns @ kernel,
            dy @ kernel.swapaxes(-1, -2),
            columns.swapaxes(-1, -2) @ dy,
        )

    g, inputs, filters = layer.groups, layer.kernel[-2], layer.kernel[-1]
    if layer.module == "conv":
        return triple((g, rows, taps * inputs), (g, taps * inputs, filters // g))
    if layer.module == "transposed":
        return triple((g, rows, filters // g), (g, filters // g, taps * inputs))
    if layer.module == "depthwise":
        return triple((channels, rows, taps), (channels, taps, filters))
    each = triple((channels, rows, taps), (channels, taps, 1))
    mixed = triple((rows, channels), (channels, filters))
    return lambda: (each(), mixed())


def torch_step(layer):
    import torch
    from torch.nn import functional

    rank, given = len(layer.x) - 2, arrays(layer)
    axes, channels = range(rank), layer.x[-1]
    given[0] = given[0].transpose(0, -1, *range(1, rank + 1))
    if layer.module == "depthwise_separable":
        given[1], given[2] = given[1].transpose(2, 3, 0, 1), given[2].T[:, :, None, None]
    elif layer.module == "depthwise":
        given[1] = given[1].reshape(*layer.size, 1, -1).transpose(-1, -2, *axes)
    elif layer.kernel:
        given[1] = given[1].transpose(-1, -2, *axes)
    leaves = [torch.from_numpy(np.ascontiguousarray(a)).requires_grad_() for a in given]
    stride, rate = layer.strides, layer.dilation_rate
    spans = [(k - 1) * rate for k in layer.size]
    zeros = [span // 2 * (layer.padding == "same") for span in spans]
    convolve = getattr(functional, f"conv{rank}d") if layer.kernel else None

    def forward():
        if layer.module == "batchnorm":
            return functional.batch_norm(leaves[0], None, None, *leaves[1:], training=True)
        if layer.module == "normalization" and layer.x[1:-1] == (1,) and layer.groups == 1:
            return functional.layer_norm(leaves[0][..., 0], layer.x[-1:], *leaves[1:])
        if layer.module == "normalization":
            return functional.group_norm(leaves[0], layer.groups, *leaves[1:])
        if layer.module == "transposed":
            cut = [max(0, (span + 2 - stride) // 2) for span in spans]
            more = [stride + 2 * p - span - 1 for p, span in zip(cut, spans, strict=True)]
            transposed = getattr(functional, f"conv_transpose{rank}d")
            return transposed(*leaves, None, stride, cut, more, layer.groups)
        if layer.module == "depthwise_separable":
            between = functional.conv2d(leaves[0], leaves[1], padding=zeros, groups=channels)
            return functional.conv2d(between, leaves[2])
        groups = channels if layer.module == "depthwise" else layer.groups
        return convolve(*leaves, None, stride, zeros, rate, groups)

    dy = torch.randn_like(forward())
    return lambda: torch.autograd.grad(forward(), leaves, dy)


STEPS = {"convinsights": convinsights_step, "matmul": matmul_step, "torch": torch_step}

# -- taking turns --------------------------------------------------------------------------------


def milliseconds(step, repetitions):
    """Return how long a step takes, once for each repetition after a first one.

    A step of more than a second is not repeated.
    """
    step()
    times = []
    while len(times) < repetitions and sum(times) < 1e3:
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def work(library, layers):
    """Time layers on request: a layer's number on standard input, its times on standard output."""
    for line in sys.stdin:
        step = STEPS[library](layers[int(line)])
        time.sleep(0.2)  # idle threads of the library before go on spinning for a while
        print(json.dumps(milliseconds(step, 5) if step else None), flush=True)


class Worker:
    """A library in a process of its own."""

    def __init__(self, library, wide):
        command = [sys.executable, __file__, "--worker", library, *["--wide"] * wide]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes)

    def times(self, number):
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def geometric_mean(ratios):
    return math.exp(statistics.fmean(map(math.log, ratios)))


def compare(libraries, turns, wide):
    layers = WIDE if wide else LAYERS
    workers = {library: Worker(library, wide) for library in ("convinsights", *libraries)}
    print(f"{platform.processor() or platform.machine()}, NumPy {np.__version__}; float32,")
    print("forward and backward together, time of convinsights over that of")
    print(f"{'':68}{'ms':>8}" + "".join(f"{library:>10}" for library in libraries))
    ratios = {library: {} for library in libraries}
    for number, layer in enumerate(layers):
        times = {library: [] for library in workers}
        for _ in range(turns):
            for library, worker in workers.items():
                times[library] += worker.times(number) or []
        ours = statistics.median(times["convinsights"])
        line = f"{layer.family:21}{str(layer)[:46]:47}{ours:8.1f}"
        for library in libraries:
            if times[library]:
                ratio = ours / statistics.median(times[library])
                ratios[library].setdefault(layer.family, []).append(ratio)
                line += f"{ratio:10.2f}"
            else:
                line += f"{'–':>10}"
        print(line, flush=True)
    print("geometric means")
    for family in dict.fromkeys(layer.family for layer in layers):
        means = [ratios[library].get(family) for library in libraries]
        shown = "".join(f"{geometric_mean(m):10.2f}" if m else f"{'–':>10}" for m in means)
        print(f"{family:76}{shown}")
    every = [[*chain.from_iterable(ratios[library].values())] for library in libraries]
    print(f"{'all':76}" + "".join(f"{geometric_mean(m):10.2f}" for m in every))
    for worker in workers.values():
        worker.process.stdin.close()
        worker.process.wait()


def scaling():
    """Double one extent of a 3×3 convolution six times, and say what each doubling costs."""
    smallest = {"batch": 1, "height": 16, "C_in": 4, "C_out": 4}
    others = {"batch": 4, "height": 32, "C_in": 32, "C_out": 32}
    for name in smallest:
        times = []
        for factor in (2**power for power in range(7)):
            at = others | {name: smallest[name] * factor}
            x = (at["batch"], at["height"], 32, at["C_in"])
            step = convinsights_step(Layer("", "conv", x, (3, 3, at["C_in"], at["C_out"])))
            times.append(statistics.median(milliseconds(step, 15)))
        growth = [after / before for before, after in pairwise(times)]
        print(f"{name:8}" + "".join(f"{t:9.2f}" for t in times) + " ms")
        print(f"{'':17}" + "".join(f"{g:9.2f}" for g in growth) + " times per doubling")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", choices=["torch"], help="a library to compare with")
    parser.add_argument("--wide", action="store_true", help="a hundred unusual geometries")
    parser.add_argument("--scaling", action="store_true", help="show how cost grows")
    parser.add_argument("--turns", type=int, default=3, help="turns of five steps (default 3)")
    parser.add_argument("--worker", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, WIDE if options.wide else LAYERS)
    elif options.scaling:
        scaling()
    else:
        compare(["matmul", *filter(None, [options.against])], options.turns, options.wide)


if __name__ == "__main__":
    main()
