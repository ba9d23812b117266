"""Teach a small convolutional network to read handwritten digits.

    python examples/digits.py
    python examples/digits.py --epochs 5 --seed 1 --save digits.npz
    python examples/digits.py --load digits.npz

The network is made of concepts of `convinsights`, one layer of each:

    convolution        8×8 pixels, from 1 channel to 16
    residual block     two more convolutions, around which the image also passes unchanged
    separable          every other pixel: 4×4, from 16 channels to 32
    dilated            3×3 weights that reach over 5×5 pixels, so over all of the digit
    unary              ten scores at each of the 16 pixels
    average pooling    ten scores for the digit

with batch normalization and ReLU after each but the last two. It learns from 1,437 digits and is
tested on 360 others. Ctrl-C ends the training early and goes on with what has been learnt.
"""

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

# The matrix products are small: several threads would spend their time waiting for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import terminal

from convinsights import (
    average_pooling,
    batchnorm,
    conv,
    depthwise_separable,
    dilated,
    relu,
    residual,
    unary,
)
from convinsights.parameters import mapped

TRAINING = 1437  # digits; the others are the test
EPOCHS, BATCH = 25, 32
RATE, MOMENTUM, DECAY = 0.05, 0.9, 0.002  # of `step`
SMOOTHING = 0.1  # of the labels, in `cross_entropy`


def load():
    with np.load(Path(__file__).parent / "data" / "digits.npz") as data:
        images, labels = data["images"], data["labels"].astype(int)
    x = (images[..., None] / 16).astype(np.float32)  # (1797, 8, 8, 1), from 0 to 1
    return (x[:TRAINING], labels[:TRAINING]), (x[TRAINING:], labels[TRAINING:])


def moved(x, rng):
    """Move every digit by a random part of a pixel: nobody writes in the same place twice.

    A part of a pixel is a mean of the digit as it is and the digit a whole pixel further.
    """
    n = len(x)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    top, left = rng.integers(0, 3, (2, n))  # 1 and 1: where it was
    rows, columns = top[:, None] + np.arange(8), left[:, None] + np.arange(8)
    further = padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return x + rng.random((n, 1, 1, 1), dtype=np.float32) * (further - x)


class Parameters(NamedTuple):
    """What the network learns, layer by layer; also the form of its gradients."""

    stem: Any
    stem_norm: Any  # a norm is a pair (gamma, beta)
    block: Any
    depthwise: Any
    pointwise: Any
    separable_norm: Any
    wide: Any
    wide_norm: Any
    classifier: Any


def initialize(rng, dtype=np.float32):
    kernels, pixels = depthwise_separable.initialize(rng, (3, 3), 16, 32, dtype=dtype)
    return Parameters(
        stem=conv.initialize(rng, (3, 3), 1, 16, dtype=dtype),
        stem_norm=batchnorm.initialize(16, dtype=dtype),
        block=residual.initialize(rng, [(3, 3), (3, 3)], 16, 16, dtype=dtype),
        depthwise=kernels,
        pointwise=pixels,
        separable_norm=batchnorm.initialize(32, dtype=dtype),
        wide=dilated.initialize(rng, (3, 3), 32, 32, dtype=dtype),
        wide_norm=batchnorm.initialize(32, dtype=dtype),
        classifier=unary.initialize(rng, 32, 10, dtype=dtype),
    )


def initial_statistics(p):
    stem, separable, wide = (batchnorm.initial_statistics(channels) for channels in (16, 32, 32))
    return stem, residual.initial_statistics(p.block), separable, wide


def forward(x, p, moving=(None,) * 4):
    """Score every digit as each of the ten: scores, statistics used, caches for `backward`.

    By moving statistics it infers; without them it normalizes by the batch's own, and trains.
    """
    stem, block, separable, wide = moving
    y, c1 = conv.forward(x, p.stem, padding="same")  # (N, 8, 8, 16)
    y, c2 = batchnorm.forward(y, *p.stem_norm, stem)
    y, c3 = relu.forward(y)
    y, c4 = residual.forward(y, p.block, block)
    y, c5 = depthwise_separable.forward(y, p.depthwise, p.pointwise, strides=2, padding="same")
    y, c6 = batchnorm.forward(y, *p.separable_norm, separable)  # (N, 4, 4, 32)
    y, c7 = relu.forward(y)
    y, c8 = dilated.forward(y, p.wide, dilation_rate=2)
    y, c9 = batchnorm.forward(y, *p.wide_norm, wide)
    y, c10 = relu.forward(y)
    y, c11 = unary.forward(y, p.classifier)  # (N, 4, 4, 10)
    y, c12 = average_pooling.forward(y, None)  # (N, 1, 1, 10)
    used = c2.statistics, c4.statistics, c6.statistics, c9.statistics
    return y[:, 0, 0], used, (c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12)


def backward(dscores, caches):
    """Send the gradient back through the same lines from the last to the first."""
    c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12 = caches
    (dy,) = average_pooling.backward(dscores[:, None, None], c12)
    dy, dclassifier, _ = unary.backward(dy, c11)
    (dy,) = relu.backward(dy, c10)
    dy, *dwide_norm, _ = batchnorm.backward(dy, c9)
    dy, dwide, _ = dilated.backward(dy, c8)
    (dy,) = relu.backward(dy, c7)
    dy, *dseparable_norm, _ = batchnorm.backward(dy, c6)
    dy, *dseparable, _ = depthwise_separable.backward(dy, c5)
    dy, dblock = residual.backward(dy, c4)
    (dy,) = relu.backward(dy, c3)
    dy, *dstem_norm, _ = batchnorm.backward(dy, c2)
    _, dstem, _ = conv.backward(dy, c1)
    return Parameters(
        dstem, dstem_norm, dblock, *dseparable, dseparable_norm, dwide, dwide_norm, dclassifier
    )


def cross_entropy(scores, labels):
    """Return the mean cross-entropy of the softmax and the labels, and its gradient.

    The labels are smoothed (Szegedy et al., 2016): asked for 0.91 for the right digit and 0.01 for
    every other, the network need not become ever more certain, and reads new digits better. The
    loss stays above 0.5.
    """
    scores = scores - scores.max(axis=1, keepdims=True)  # the same softmax, and no overflow
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    wanted = (1 - SMOOTHING) * np.eye(10, dtype=scores.dtype)[labels] + SMOOTHING / 10
    return -(wanted * logs).sum() / len(labels), (np.exp(logs) - wanted) / len(labels)


def step(p, gradients, velocities, rate):
    """Go downhill with momentum; weight decay pulls the kernels towards 0."""

    def pushed(a, da, v):
        return MOMENTUM * v + (da if a.ndim == 1 else da + DECAY * a)

    velocities = mapped(pushed, p, gradients, velocities)
    return mapped(lambda a, v: a - rate * v, p, velocities), velocities


def train(x, labels, epochs, rng):
    p = initialize(rng)
    moving = initial_statistics(p)
    velocities = mapped(np.zeros_like, p)
    batches = -(-len(x) // BATCH)
    try:
        for epoch in range(epochs):
            loss = correct = 0
            for i, batch in enumerate(np.array_split(rng.permutation(len(x)), batches)):
                scores, used, caches = forward(moved(x[batch], rng), p)
                batch_loss, dscores = cross_entropy(scores, labels[batch])
                # From the full rate down to 0, along half a wave of the cosine.
                done = (epoch + i / batches) / epochs
                rate = RATE * (1 + math.cos(math.pi * done)) / 2
                p, velocities = step(p, backward(dscores, caches), velocities, rate)
                moving = update(moving, used)
                loss += batch_loss * len(batch) / len(x)
                correct += (scores.argmax(axis=1) == labels[batch]).sum() / len(x)
            terminal.progress(epoch + 1, epochs, f"loss {loss:.4f}  accuracy {correct:6.1%}")
    except KeyboardInterrupt:
        print("\nstopped early; what has been learnt so far:")
    return p, moving


def update(moving, used):
    # 0.9 of the old rather than the usual 0.99: an epoch has only 45 batches.
    stem, block, separable, wide = zip(moving, used, strict=True)
    return (
        batchnorm.update(*stem, momentum=0.9),
        residual.update(*block, momentum=0.9),
        batchnorm.update(*separable, momentum=0.9),
        batchnorm.update(*wide, momentum=0.9),
    )


def layers(p):
    """List name, output, parameters and multiply-adds for one digit, layer by layer."""
    rows, shape = [], (1, 8, 8, 1)
    same, halve = {"padding": "same"}, {"padding": "same", "strides": 2}
    for name, module, kernels, norm, how in [
        ("convolution", conv, [p.stem], p.stem_norm, same),
        ("residual block, first", conv, p.block.kernels[:1], p.block.norms[0], same),
        ("residual block, second", conv, p.block.kernels[1:], p.block.norms[1], same),
        ("separable", depthwise_separable, [p.depthwise, p.pointwise], p.separable_norm, halve),
        ("dilated", dilated, [p.wide], p.wide_norm, {"dilation_rate": 2}),
        ("unary", unary, [p.classifier], (), {}),
    ]:
        shapes = [kernel.shape for kernel in kernels]
        price = module.multiply_adds(shape, *shapes, **how)
        shape = module.output_shape(shape, *shapes, **how)
        size = "x".join(map(str, shape[1:]))
        rows.append((name, size, sum(a.size for a in kernels), price))
        if norm:
            rows.append(("  normalization, ReLU", size, sum(a.size for a in norm), 0))
    return rows


def report(p):
    rows = layers(p)
    total = ("all", "", sum(row[2] for row in rows), sum(row[3] for row in rows))
    terminal.table(("layer", "output", "parameters", "multiply-adds"), [*rows, total])
    print("(Normalizations fold into the convolutions before them, at no multiply-adds.)\n")
    _, _, weights, price = next(row for row in rows if row[0] == "separable")
    print(f"The separable layer has {weights:,} parameters and takes {price:,} multiply-adds.")
    weights = conv.parameter_count((3, 3), 16, 32) / weights
    price = conv.multiply_adds((1, 8, 8, 16), (3, 3, 16, 32), strides=2, padding="same") / price
    print(f"A classic one has {weights:.1f} times as many, and takes {price:.1f} times as many.")


def main(arguments=None):
    options = terminal.options("Teach a small network to read digits.", EPOCHS, arguments)
    (x, labels), (test_x, test_labels) = load()
    rng = np.random.default_rng(options.seed)
    if options.load:
        p = initialize(rng)
        p, moving = terminal.load(options.load, (p, initial_statistics(p)))
    else:
        p, moving = train(x, labels, options.epochs, rng)
    if options.save:
        terminal.save(options.save, (p, moving))

    # By the moving statistics, so that no digit is read in the light of the others.
    read = forward(test_x, p, moving)[0].argmax(axis=1)
    wrong, n = np.flatnonzero(read != test_labels), len(test_labels)
    print(f"\ntest accuracy {1 - len(wrong) / n:.1%}: {n - len(wrong)} of {n} digits\n")
    report(p)
    if len(wrong):
        print("\nmisread, for example:\n")
        captions = [f"{test_labels[i]}, read as {read[i]}" for i in wrong[:4]]
        terminal.draw(test_x[wrong[:4], :, :, 0], captions)


if __name__ == "__main__":
    terminal.run(main)
