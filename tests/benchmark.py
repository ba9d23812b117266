"""How fast is it? Run by hand; pytest does not collect this file.

    python tests/benchmark.py                   against the bare matrix products (NumPy only)
    python tests/benchmark.py --against torch   against PyTorch too, where it is installed
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
    kernel_size: int
    filters: int
    strides: int = 1
    dilation_rate: int = 1

    def __str__(self):
        k, size = self.kernel_size, "×".join(map(str, self.x))
        extras = f", stride {self.strides}" * (self.strides > 1)
        extras += f", rate {self.dilation_rate}" * (self.dilation_rate > 1)
        return f"{k}×{k}, {size} → {self.filters}{extras}" if k else size


LAYERS = [
    Layer("convolution, wide", "conv", (8, 56, 56, 64), 3, 64),
    Layer("convolution, wide", "conv", (8, 28, 28, 128), 3, 128),
    Layer("convolution, wide", "conv", (8, 14, 14, 256), 3, 256),
    Layer("convolution, wide", "conv", (8, 7, 7, 512), 3, 512),
    Layer("convolution, wide", "conv", (8, 56, 56, 64), 3, 128, 2),
    Layer("convolution, wide", "conv", (8, 28, 28, 128), 3, 256, 2),
    Layer("convolution, narrow", "conv", (8, 112, 112, 3), 3, 32),
    Layer("convolution, narrow", "conv", (8, 56, 56, 32), 3, 32),
    Layer("convolution, narrow", "conv", (8, 56, 56, 16), 5, 16),
    Layer("convolution, narrow", "conv", (8, 112, 112, 3), 7, 64, 2),
    Layer("dilated", "conv", (8, 56, 56, 64), 3, 64, 1, 2),
    Layer("dilated", "conv", (8, 28, 28, 128), 3, 128, 1, 4),
    Layer("transposed", "transposed", (8, 28, 28, 128), 2, 64, 2),
    Layer("transposed", "transposed", (8, 28, 28, 64), 3, 64, 2),
    Layer("transposed", "transposed", (8, 14, 14, 128), 4, 64, 2),
    Layer("unary", "conv", (8, 56, 56, 64), 1, 256),
    Layer("unary", "conv", (8, 28, 28, 512), 1, 128),
    Layer("depthwise separable", "depthwise_separable", (8, 112, 112, 32), 3, 64),
    Layer("depthwise separable", "depthwise_separable", (8, 56, 56, 128), 3, 128),
    Layer("depthwise separable", "depthwise_separable", (8, 14, 14, 512), 3, 512),
    Layer("depthwise separable", "depthwise_separable", (8, 28, 28, 96), 7, 96),
    Layer("batch normalization", "batchnorm", (8, 112, 112, 32), 0, 0),
    Layer("batch normalization", "batchnorm", (8, 28, 28, 256), 0, 0),
]


def arrays(layer):
    """Draw x and the weights of a layer, in this library's layout."""
    rng = np.random.default_rng(0)
    size, channels = (layer.kernel_size,) * 2, layer.x[-1]
    shapes = {
        "conv": [(*size, channels, layer.filters)],
        "transposed": [(*size, layer.filters, channels)],
        "depthwise_separable": [(*size, channels, 1), (channels, layer.filters)],
        "batchnorm": [(channels,), (channels,)],
    }[layer.module]
    return [rng.standard_normal(shape, dtype=np.float32) for shape in (layer.x, *shapes)]


# -- a step of each library ----------------------------------------------------------------------


def convinsights_step(layer):
    import convinsights

    module, given = getattr(convinsights, layer.module), arrays(layer)
    options = {}
    if layer.module != "batchnorm":
        options = {"strides": layer.strides, "padding": "same"}
        options["dilation_rate"] = layer.dilation_rate
    y, _ = module.forward(*given, **options)
    dy = np.random.default_rng(1).standard_normal(y.shape, dtype=np.float32)

    def step():
        _, cache = module.forward(*given, **options)
        module.backward(dy, cache)

    return step


def matmul_step(layer):
    """Multiply matrices as large as the columns, the kernel and the output of the layer."""
    if layer.module == "batchnorm":
        return None
    batch, height, width, channels = layer.x
    taps, filters = layer.kernel_size**2, layer.filters
    stride = layer.strides if layer.module == "conv" else 1
    rows = batch * -(-height // stride) * -(-width // stride)
    rng = np.random.default_rng(0)

    def triple(*shapes):
        columns, kernel = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
        dy = columns @ kernel
        return lambda: (
            columns @ kernel,
            dy @ kernel.swapaxes(-1, -2),
            columns.swapaxes(-1, -2) @ dy,
        )

    if layer.module == "conv":
        return triple((rows, taps * channels), (taps * channels, filters))
    if layer.module == "transposed":
        return triple((rows, channels), (channels, taps * filters))
    each = triple((channels, rows, taps), (channels, taps, 1))
    mixed = triple((rows, channels), (channels, filters))
    return lambda: (each(), mixed())


def torch_step(layer):
    import torch
    from torch.nn import functional

    first = [
        a.transpose(0, 3, 1, 2) if a.ndim == 4 and a.shape == layer.x else a for a in arrays(layer)
    ]
    if layer.module == "depthwise_separable":
        first[1], first[2] = first[1].transpose(2, 3, 0, 1), first[2].T[:, :, None, None]
    elif layer.module != "batchnorm":
        first[1] = first[1].transpose(3, 2, 0, 1)
    leaves = [torch.from_numpy(np.ascontiguousarray(a)).requires_grad_() for a in first]
    k, rate = layer.kernel_size, layer.dilation_rate
    zeros = (k - 1) * rate // 2

    def forward():
        if layer.module == "conv":
            return functional.conv2d(*leaves, stride=layer.strides, padding=zeros, dilation=rate)
        if layer.module == "transposed":
            return functional.conv_transpose2d(
                *leaves, stride=2, padding=zeros, output_padding=k % 2
            )
        if layer.module == "batchnorm":
            return functional.batch_norm(leaves[0], None, None, *leaves[1:], training=True)
        between = functional.conv2d(leaves[0], leaves[1], padding=zeros, groups=layer.x[-1])
        return functional.conv2d(between, leaves[2])

    dy = torch.randn_like(forward())
    return lambda: torch.autograd.grad(forward(), leaves, dy)


STEPS = {"convinsights": convinsights_step, "matmul": matmul_step, "torch": torch_step}

# -- taking turns --------------------------------------------------------------------------------


def milliseconds(step, repetitions):
    """Return how long a step takes, once for each repetition after a first one."""
    step()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def work(library):
    """Time layers on request: a layer's number on standard input, its times on standard output."""
    for line in sys.stdin:
        step = STEPS[library](LAYERS[int(line)])
        time.sleep(0.2)  # idle threads of the library before go on spinning for a while
        print(json.dumps(milliseconds(step, 5) if step else None), flush=True)


class Worker:
    """A library in a process of its own."""

    def __init__(self, library):
        command = [sys.executable, __file__, "--worker", library]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes)

    def times(self, number):
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def geometric_mean(ratios):
    return math.exp(statistics.fmean(map(math.log, ratios)))


def compare(libraries, turns):
    workers = {library: Worker(library) for library in ("convinsights", *libraries)}
    print(f"{platform.processor() or platform.machine()}, NumPy {np.__version__}; float32,")
    print("forward and backward together, time of convinsights over that of")
    print(f"{'':60}{'ms':>8}" + "".join(f"{library:>10}" for library in libraries))
    ratios = {library: {} for library in libraries}
    for number, layer in enumerate(LAYERS):
        times = {library: [] for library in workers}
        for _ in range(turns):
            for library, worker in workers.items():
                times[library] += worker.times(number) or []
        ours = statistics.median(times["convinsights"])
        line = f"{layer.family:21}{str(layer)[:38]:39}{ours:8.1f}"
        for library in libraries:
            if times[library]:
                ratio = ours / statistics.median(times[library])
                ratios[library].setdefault(layer.family, []).append(ratio)
                line += f"{ratio:10.2f}"
            else:
                line += f"{'–':>10}"
        print(line, flush=True)
    print("geometric means")
    for family in dict.fromkeys(layer.family for layer in LAYERS):
        means = [ratios[library].get(family) for library in libraries]
        shown = "".join(f"{geometric_mean(m):10.2f}" if m else f"{'–':>10}" for m in means)
        print(f"{family:68}{shown}")
    every = [[*chain.from_iterable(ratios[library].values())] for library in libraries]
    print(f"{'all':68}" + "".join(f"{geometric_mean(m):10.2f}" for m in every))
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
            step = convinsights_step(Layer("", "conv", x, 3, at["C_out"]))
            times.append(statistics.median(milliseconds(step, 15)))
        growth = [after / before for before, after in pairwise(times)]
        print(f"{name:8}" + "".join(f"{t:9.2f}" for t in times) + " ms")
        print(f"{'':17}" + "".join(f"{g:9.2f}" for g in growth) + " times per doubling")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", choices=["torch"], help="a library to compare with")
    parser.add_argument("--scaling", action="store_true", help="show how cost grows")
    parser.add_argument("--turns", type=int, default=3, help="turns of five steps (default 3)")
    parser.add_argument("--worker", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
    elif options.scaling:
        scaling()
    else:
        compare(["matmul", *filter(None, [options.against])], options.turns)


if __name__ == "__main__":
    main()
