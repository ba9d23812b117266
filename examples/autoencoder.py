"""Squeeze handwritten digits through eight numbers, and draw them again from these.

    python examples/autoencoder.py
    python examples/autoencoder.py --epochs 5 --seed 1 --save autoencoder.npz
    python examples/autoencoder.py --load autoencoder.npz

Convolutions with strides of 2 make the image smaller, 8×8, 4×4, 2×2, 1×1; transposed convolutions
with the same kernel sizes and strides make it larger again, through the same shapes. All that they
are given is the code, eight numbers for 64 pixels. Principal component analysis (PCA) is the best
that linear maps can do with eight numbers on the digits it is computed from. The network is not
linear, and is better, also on 360 digits that neither of them has seen.

Ctrl-C ends the training early and goes on with what has been learnt.
"""

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

# The matrix products are small: several threads would spend their time waiting for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import terminal

from convinsights import batchnorm, conv, relu, transposed
from convinsights.parameters import mapped

TRAINING = 1437  # digits; the others are the test
CODE = 8  # numbers
EPOCHS, BATCH = 40, 32
RATE, DECAY = 0.005, 0.2  # of `step`
HALVE = {"strides": 2, "padding": 1}  # with a kernel of 4×4: 8 pixels to 4, and transposed 4 to 8


def load():
    with np.load(Path(__file__).parent / "data" / "digits.npz") as data:
        x = (data["images"][..., None] / 16).astype(np.float32)  # (1797, 8, 8, 1), from 0 to 1
    return x[:TRAINING], x[TRAINING:]


class Parameters(NamedTuple):
    """What the network learns; also the form of its gradients. A norm is a pair (gamma, beta)."""

    down1: Any
    down1_norm: Any
    down2: Any
    down2_norm: Any
    encode: Any
    decode: Any
    decode_norm: Any
    up2: Any
    up2_norm: Any
    up1: Any
    bias: Any


def initialize(rng, dtype=np.float32, taps=4):
    # The kernel of a transposed convolution has the shape of the convolution's that it leads back.
    return Parameters(
        down1=conv.initialize(rng, (4, 4), 1, 32, dtype=dtype),
        down1_norm=batchnorm.initialize(32, dtype=dtype),
        down2=conv.initialize(rng, (4, 4), 32, 64, dtype=dtype),
        down2_norm=batchnorm.initialize(64, dtype=dtype),
        encode=conv.initialize(rng, (2, 2), 64, CODE, dtype=dtype),
        decode=transposed.initialize(rng, (2, 2), CODE, 64, dtype=dtype),
        decode_norm=batchnorm.initialize(64, dtype=dtype),
        up2=transposed.initialize(rng, (taps, taps), 64, 32, dtype=dtype),
        up2_norm=batchnorm.initialize(32, dtype=dtype),
        up1=transposed.initialize(rng, (taps, taps), 32, 1, dtype=dtype),
        bias=np.zeros(1, dtype),
    )


def initial_statistics():
    return tuple(batchnorm.initial_statistics(channels) for channels in (32, 64, 64, 32))


def forward(x, p, moving=(None,) * 4, double=HALVE):
    """Encode and decode: the reconstruction, the statistics used, caches for `backward`."""
    y, c1 = conv.forward(x, p.down1, **HALVE)  # (N, 4, 4, 32)
    y, c2 = batchnorm.forward(y, *p.down1_norm, moving[0])
    y, c3 = relu.forward(y)
    y, c4 = conv.forward(y, p.down2, **HALVE)  # (N, 2, 2, 64)
    y, c5 = batchnorm.forward(y, *p.down2_norm, moving[1])
    y, c6 = relu.forward(y)
    code, c7 = conv.forward(y, p.encode)  # (N, 1, 1, 8)
    y, c8 = transposed.forward(code, p.decode)  # (N, 2, 2, 64)
    y, c9 = batchnorm.forward(y, *p.decode_norm, moving[2])
    y, c10 = relu.forward(y)
    y, c11 = transposed.forward(y, p.up2, **double)  # (N, 4, 4, 32)
    y, c12 = batchnorm.forward(y, *p.up2_norm, moving[3])
    y, c13 = relu.forward(y)
    y, c14 = transposed.forward(y, p.up1, p.bias, **double)  # (N, 8, 8, 1)
    y = (1 + np.tanh(y / 2)) / 2  # the sigmoid 1 / (1 + exp(-y)), without its overflow
    used = tuple(cache.statistics for cache in (c2, c5, c9, c12))
    return y, used, (c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, y)


def backward(dy, caches):
    """Send the gradient back through the same lines from the last to the first."""
    c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, y = caches
    dy = dy * y * (1 - y)
    dy, dup1, dbias = transposed.backward(dy, c14)
    (dy,) = relu.backward(dy, c13)
    dy, *dup2_norm, _ = batchnorm.backward(dy, c12)
    dy, dup2, _ = transposed.backward(dy, c11)
    (dy,) = relu.backward(dy, c10)
    dy, *ddecode_norm, _ = batchnorm.backward(dy, c9)
    dcode, ddecode, _ = transposed.backward(dy, c8)
    dy, dencode, _ = conv.backward(dcode, c7)
    (dy,) = relu.backward(dy, c6)
    dy, *ddown2_norm, _ = batchnorm.backward(dy, c5)
    dy, ddown2, _ = conv.backward(dy, c4)
    (dy,) = relu.backward(dy, c3)
    dy, *ddown1_norm, _ = batchnorm.backward(dy, c2)
    _, ddown1, _ = conv.backward(dy, c1)
    encoder = ddown1, ddown1_norm, ddown2, ddown2_norm, dencode
    return Parameters(*encoder, ddecode, ddecode_norm, dup2, dup2_norm, dup1, dbias)


def squared_error(y, x):
    """Return the mean over all pixels of the squared error, and its gradient."""
    return np.square(y - x).mean(), 2 * (y - x) / x.size


def step(p, gradients, moments, rate, t):
    """Go downhill by Adam (Kingma and Ba, 2015); weight decay pulls the kernels towards 0.

    m and v are moving averages of the gradient and of its square. Their quotient moves every number
    by about the rate, however small its gradient. Both start at 0, which the divisors make up for.
    """
    m = mapped(lambda m, da: m + 0.1 * (da - m), moments[0], gradients)
    v = mapped(lambda v, da: v + 0.001 * (da * da - v), moments[1], gradients)

    def stepped(a, m, v):
        kept = a - rate * DECAY * a if a.ndim > 1 else a
        return kept - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

    return mapped(stepped, p, m, v), (m, v)


def train(x, epochs, rng):
    p, moving = initialize(rng), initial_statistics()
    moments = mapped(np.zeros_like, (p, p))
    batches = -(-len(x) // BATCH)
    t = 0
    try:
        for epoch in range(epochs):
            error = 0
            for batch in np.array_split(rng.permutation(len(x)), batches):
                y, used, caches = forward(x[batch], p)
                batch_error, dy = squared_error(y, x[batch])
                # From the full rate down to 0, along half a wave of the cosine.
                rate = RATE * (1 + math.cos(math.pi * t / (epochs * batches))) / 2
                t += 1
                p, moments = step(p, backward(dy, caches), moments, rate, t)
                moving = tuple(
                    batchnorm.update(old, new, momentum=0.9)
                    for old, new in zip(moving, used, strict=True)
                )
                error += batch_error * len(batch) / len(x)
            terminal.progress(epoch + 1, epochs, f"error {error:.4f}")
    except KeyboardInterrupt:
        print("\nstopped early; what has been learnt so far:")
    return p, moving


def principal_components(x, test_x):
    """Reconstruct test digits from their CODE largest components, by the axes of the others."""
    rows, test_rows = x.reshape(len(x), -1), test_x.reshape(len(test_x), -1)
    mean = rows.mean(axis=0)
    axes = np.linalg.svd(rows - mean, full_matrices=False)[2][:CODE]  # (CODE, 64), orthonormal
    return ((test_rows - mean) @ axes.T @ axes + mean).reshape(test_x.shape)


def layers(p):
    """List name, output, weights and multiply-adds for one digit, layer by layer."""
    rows, shape = [], (1, 8, 8, 1)
    for name, module, kernel, how in [
        ("convolution", conv, p.down1, HALVE),
        ("convolution", conv, p.down2, HALVE),
        ("convolution, the code", conv, p.encode, {}),
        ("transposed", transposed, p.decode, {}),
        ("transposed", transposed, p.up2, HALVE),
        ("transposed", transposed, p.up1, HALVE),
    ]:
        price = module.multiply_adds(shape, kernel.shape, **how)
        shape = module.output_shape(shape, kernel.shape, **how)
        rows.append((name, "x".join(map(str, shape[1:])), kernel.size, price))
    return rows


def main(arguments=None):
    options = terminal.options("Squeeze digits through eight numbers.", EPOCHS, arguments)
    x, test_x = load()
    rng = np.random.default_rng(options.seed)
    if options.load:
        p, moving = terminal.load(options.load, (initialize(rng), initial_statistics()))
    else:
        p, moving = train(x, options.epochs, rng)
    if options.save:
        terminal.save(options.save, (p, moving))

    y, _, _ = forward(test_x, p, moving)
    pca = principal_components(x, test_x)
    print(f"\nerror per pixel (squared, mean) of {len(test_x)} test digits, {CODE} numbers each\n")
    print(f"autoencoder           {squared_error(y, test_x)[0]:.4f}")
    print(f"PCA                   {squared_error(pca, test_x)[0]:.4f}")
    # The sigmoid keeps the autoencoder between no ink and full ink; allow PCA the same.
    print(f"PCA, cut off at 0, 1  {squared_error(np.clip(pca, 0, 1), test_x)[0]:.4f}\n")
    terminal.table(("layer", "output", "weights", "multiply-adds"), layers(p))
    print("\ntest digits, and below them what their codes give:\n")
    terminal.draw(test_x[:4, :, :, 0])
    terminal.draw(y[:4, :, :, 0])


if __name__ == "__main__":
    terminal.run(main)
