"""Measure what the pages say about training, and write it to `results.json`.

    python examples/measure.py
    python examples/measure.py depth separable

    normalization   the network of `digits.py`, with and without batch normalization
    depth           plain and residual networks of several depths
    checkerboard    the decoder of `autoencoder.py`, with kernels of 3×3 and of 4×4
    separable       weights, multiply-adds and time of separable and classic layers

Each kind is measured with several seeds, a few minutes in all; a kind that is not named keeps the
results it has. `figures.py` draws the curves from the file, and the pages print numbers from it.
Training enlarges what rounding differs by: another machine gives slightly other numbers.
"""

import json
import math
import os
import statistics
import sys
import time
from pathlib import Path

# The matrix products are small: several threads would spend their time waiting for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import autoencoder
import digits
import numpy as np

from convinsights import batchnorm, conv, depthwise_separable, residual, unary
from convinsights.parameters import mapped

RESULTS = Path(__file__).parent / "results.json"
SEEDS = range(5)
EPOCHS = 12
BATCH = 64
CHANNELS = 16
DEPTHS = (0, 2, 8, 32)
RATES = (0.05, 0.2, 0.8)


def batches(count, size, epochs, rng):
    """Yield the epoch, the digits of the next batch, and the share of the training that is done."""
    parts = -(-count // size)
    for epoch in range(epochs):
        for i, batch in enumerate(np.array_split(rng.permutation(count), parts)):
            yield epoch, batch, (epoch + i / parts) / epochs


def cosine(rate, done):
    # From the full rate down to 0, along half a wave.
    return rate * (1 + math.cos(math.pi * done)) / 2


def training_curve(seed, rate, p, moving, forward, backward, update):
    """Train on the digits; return the accuracy after every epoch, on test and on training digits.

    A network whose numbers overflow reads every digit as 0: that is what it would answer.
    """
    rng = np.random.default_rng(seed)
    (x, labels), (test_x, test_labels) = digits.load()
    velocities = mapped(np.zeros_like, p)
    curve, last = [], 0

    def accuracies():
        pairs = (test_x, test_labels), (x, labels)
        read = [np.nan_to_num(forward(images, p, moving)[0]).argmax(axis=1) for images, _ in pairs]
        return [round(float((a == b).mean()), 4) for a, (_, b) in zip(read, pairs, strict=True)]

    with np.errstate(all="ignore"):
        for epoch, batch, done in batches(len(x), BATCH, EPOCHS, rng):
            if epoch > last:
                curve.append(accuracies())
                last = epoch
            scores, used, caches = forward(digits.moved(x[batch], rng), p, None)
            _, dscores = digits.cross_entropy(scores, labels[batch])
            gradients = backward(dscores, caches)
            p, velocities = digits.step(p, gradients, velocities, cosine(rate, done))
            moving = update(moving, used)
        return [*curve, accuracies()]


# -- with and without batch normalization ---------------------------------------------------------


def normalization():
    """Train `digits.py`'s network; without normalization every mean stays 0, every variance 1."""
    results = {}
    for rate in RATES:
        for name, normalize in (("normalized", True), ("not normalized", False)):
            curves = []
            for seed in SEEDS:
                p = digits.initialize(np.random.default_rng(seed))
                fixed = digits.initial_statistics(p)

                def forward(x, p, moving, fixed=fixed, normalize=normalize):
                    if not normalize:
                        return digits.forward(x, p, fixed)
                    return digits.forward(x, p, moving) if moving else digits.forward(x, p)

                def update(moving, used, normalize=normalize):
                    return digits.update(moving, used) if normalize else moving

                ways = forward, digits.backward, update
                curve = training_curve(seed, rate, p, fixed, *ways)
                curves.append([test for test, _ in curve])
            results[f"{name}, rate {rate}"] = curves
            report(f"{name}, rate {rate}", curves)
    return results


# -- with and without short cuts ------------------------------------------------------------------


def depth():
    """Train stacks of normalization, ReLU and 3×3 convolution on 4×4 pixels."""
    results = {}  # accuracies on test and on training digits
    for layers in DEPTHS:
        for name, shortcut in (("plain", False), ("residual", True)):
            curves = [stack_curve(seed, layers, shortcut) for seed in SEEDS]
            results[f"{name}, {layers} layers"] = curves
            report(f"{name}, {layers} layers", [[test for test, _ in curve] for curve in curves])
    return results


def stack_curve(seed, layers, shortcut):
    p, moving = initialize_stack(np.random.default_rng(seed), layers)

    def forward(x, p, moving):
        return stack_forward(x, p, moving or [None] * (layers + 1), shortcut)

    def backward(dscores, caches):
        return stack_backward(dscores, caches, shortcut)

    return training_curve(seed, RATES[0], p, moving, forward, backward, update_stack)


def initialize_stack(rng, layers, dtype=np.float32):
    block = {"kernel_sizes": [(3, 3)], "in_channels": CHANNELS, "filters": CHANNELS}
    block |= {"variant": "preactivation", "dtype": dtype}
    stem = conv.initialize(rng, (3, 3), 1, CHANNELS, dtype=dtype)
    blocks = [residual.initialize(rng, **block) for _ in range(layers)]
    norm = batchnorm.initialize(CHANNELS, dtype=dtype)
    classifier = unary.initialize(rng, CHANNELS, 10, dtype=dtype)
    statistics = [*map(residual.initial_statistics, blocks), batchnorm.initial_statistics(CHANNELS)]
    return (stem, blocks, norm, classifier), statistics


def stack_forward(x, p, moving, shortcut):
    stem, blocks, norm, classifier = p
    y, first = conv.forward(x, stem, strides=2, padding="same")  # (N, 4, 4, CHANNELS)
    caches = []
    for block, known in zip(blocks, moving[:-1], strict=True):
        z, cache = residual.forward(y, block, known, variant="preactivation")
        # A plain layer is what is left of a block when its short cut is taken away.
        y = z if shortcut else z - y
        caches.append(cache)
    y, last = batchnorm.forward(y, *norm, moving[-1])
    y, reading = unary.forward(y, classifier)
    used = [*(cache.statistics for cache in caches), last.statistics]
    return y.mean(axis=(1, 2)), used, (first, caches, last, reading)


def stack_backward(dscores, caches, shortcut):
    first, caches, last, reading = caches
    dy = np.broadcast_to(dscores[:, None, None] / 16, (len(dscores), 4, 4, 10))
    dy, dclassifier, _ = unary.backward(dy, reading)
    dy, *dnorm, _ = batchnorm.backward(dy, last)
    dblocks = []
    for cache in reversed(caches):
        dx, dblock = residual.backward(dy, cache)
        dy = dx if shortcut else dx - dy
        dblocks.insert(0, dblock)
    _, dstem, _ = conv.backward(dy, first)
    return dstem, dblocks, dnorm, dclassifier


def update_stack(moving, used):
    *blocks, last = zip(moving, used, strict=True)
    updated = [residual.update(*both, momentum=0.9) for both in blocks]
    return [*updated, batchnorm.update(*last, momentum=0.9)]


# -- checkerboards --------------------------------------------------------------------------------


def period_two(error):
    """Return how large the patterns of period 2 are that the errors of many images have in common.

    The patterns are vertical stripes, horizontal stripes and the checkerboard, +1 and -1 in turns.
    What is found is their root mean square, per pixel. The mean over the images comes first: each
    has such parts of its own, as its details do, with either sign.
    """
    sign = (-1) ** np.arange(8)
    patterns = [np.ones(8)[:, None] * sign, sign[:, None] * np.ones(8), sign[:, None] * sign]
    common = error[..., 0].mean(axis=0)
    return float(np.sqrt(sum((common * pattern).mean() ** 2 for pattern in patterns)))


def checkerboard():
    """Train the autoencoder with both kernels; return errors after every epoch, 0 the first."""
    results = {}
    x, test_x = autoencoder.load()
    # Both make 4 pixels of 2 and 8 of 4; with 3 taps the last pixel is cut off, and none in front.
    ways = {3: {"strides": 2, "padding": ((0, 1), (0, 1))}, 4: autoencoder.HALVE}
    for taps, double in ways.items():
        curves = []
        for seed in SEEDS:
            rng = np.random.default_rng(seed)
            p = autoencoder.initialize(rng, taps=taps)
            moments = mapped(np.zeros_like, (p, p))
            curve, last = [], -1

            def errors(p, double=double):
                # By the test batch's own statistics, so that an untrained network has some.
                y = autoencoder.forward(test_x, p, double=double)[0]
                total = float(np.sqrt(np.square(y - test_x).mean()))
                return [round(total, 4), round(period_two(y - test_x), 4)]

            steps = batches(len(x), autoencoder.BATCH, EPOCHS, rng)
            for t, (epoch, batch, done) in enumerate(steps, start=1):
                if epoch > last:
                    curve.append(errors(p))
                    last = epoch
                y, _, caches = autoencoder.forward(x[batch], p, double=double)
                _, dy = autoencoder.squared_error(y, x[batch])
                gradients = autoencoder.backward(dy, caches)
                rate = cosine(autoencoder.RATE, done)
                p, moments = autoencoder.step(p, gradients, moments, rate, t)
            curves.append([*curve, errors(p)])
        results[f"kernel {taps}"] = curves
        report(f"kernel {taps}", [[part for _, part in curve] for curve in curves])
    return results


# -- separable and classic ------------------------------------------------------------------------


def separable():
    """Count weights and multiply-adds, and time a training step, in turns, of both kinds."""
    results, rng = {}, np.random.default_rng(0)
    for size, taps, channels in ((56, 3, 64), (28, 3, 128), (14, 3, 256), (14, 5, 256)):
        x = rng.standard_normal((4, size, size, channels), dtype=np.float32)
        kernel = conv.initialize(rng, (taps, taps), channels, channels, dtype=np.float32)
        pair = depthwise_separable.initialize(
            rng, (taps, taps), channels, channels, dtype=np.float32
        )
        times = [], []
        for _ in range(9):
            for kept, module, kernels in zip(
                times, (conv, depthwise_separable), ((kernel,), pair), strict=True
            ):
                start = time.perf_counter()
                y, cache = module.forward(x, *kernels, padding="same")
                module.backward(y, cache)
                kept.append(time.perf_counter() - start)
        classic, both = map(statistics.median, times)
        name = f"{taps}x{taps}, {channels} channels, {size}x{size} pixels"
        image, shapes = (1, *x.shape[1:]), [k.shape for k in pair]
        results[name] = {
            "weights": [kernel.size, sum(k.size for k in pair)],
            "multiply_adds": [
                conv.multiply_adds(image, kernel.shape, padding="same"),
                depthwise_separable.multiply_adds(image, *shapes, padding="same"),
            ],
            "milliseconds": [round(1000 * classic, 1), round(1000 * both, 1)],
        }
        print(name, results[name], flush=True)
    return results


def report(name, curves):
    last = sorted(curve[-1] for curve in curves)
    print(f"{name}: {last[0]:.4f} … {last[-1]:.4f}", flush=True)


KINDS = {f.__name__: f for f in (normalization, depth, checkerboard, separable)}


def main(names):
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for name in names or KINDS:
        results[name] = KINDS[name]()
        RESULTS.write_text(json.dumps(results, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
