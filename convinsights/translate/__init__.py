"""Say the same operation in the language of PyTorch, Keras, JAX or ONNX.

Each function writes a Python expression, as a string, over the names of the arguments of `forward`:
evaluated where these are arrays in the layout of this library, all of one dtype, it computes what
`module.forward` computes, again in this layout. No framework is imported here. The one name that
an expression needs besides is `torch`, `keras`, `jax` or `onnx`, imported as such.

The operations become

    here             PyTorch           Keras                JAX                   ONNX
    conv, …, unary   conv1d            conv                 conv_general_dilated  Conv
    transposed       conv_transpose1d  conv_transpose       the same              ConvTranspose
    batchnorm        batch_norm        batch_normalization  the law               BatchNormalization
    relu             relu              relu                 relu                  Relu
    max_pooling      max_pool1d        max_pool             reduce_window         MaxPool
    average_pooling  avg_pool1d        average_pool         the same              AveragePool

(1d of PyTorch is 2d or 3d where there are as many axes; in ONNX batchnorm in training is the law,
too; in Keras a dilated maximum is that of the taps).
What the frameworks do differently is written out:

    here                     PyTorch         Keras           JAX             ONNX
    (N, *spatial, C)         permuted        the same        the same        permuted
    kernel                   permuted        the same        the same        permuted
    kernel of transposed     permuted        the same        flipped         permuted
    zeros before and after   pad or conv     pad             of the conv     of the node
    cut off, of transposed   sliced          sliced          of the conv     of the node
    groups, of transposed    the same        split, joined   regrouped       the same
    depthwise                C groups        C groups        C groups        C groups
    padding of pooling       pad or pool     pad             of the pool     of the node
    pixels in an average     of the pool     divided by      divided by      of the node

"same" and "causal" become the numbers of zeros that they stand for with the size of x: an
expression is for images of that size, in batches of any. Sums are rounded as the framework does by
default, which on GPUs and TPUs can be to fewer digits than float32 has.

All four take the same arguments:

    module                  conv, unary, depthwise, depthwise_separable, transposed, dilated,
                            max_pooling, average_pooling, batchnorm or relu
    x_shape                 (N, *spatial, C_in); for batchnorm (N, …, C), for relu any
    kernel_shape            as the module's `output_shape` takes it, of depthwise_separable the
                            depthwise kernel's; left out where there is no kernel
    pointwise_kernel_shape  for depthwise_separable alone
    **hyperparameters       those of `module.forward`, and one that says which arrays there are

which is

    use_bias    of every convolution. False (the default): no bias; True: `bias` is added.
    training    of batchnorm. False (the default): normalize by `statistics`, a
                `batchnorm.Statistics`; True: by the batch's own. gamma and beta are always there.

and, for max_pooling and average_pooling, `pool_size`. What `module.forward` refuses is refused here
too. Where maxima are equal, each framework sends the gradient where it likes.

References
----------
PyTorch documentation, `torch.nn.functional`.
Keras documentation, `keras.ops.conv`, `keras.ops.conv_transpose` and the poolings.
JAX documentation, `jax.lax.conv_general_dilated` and `jax.lax.reduce_window`.
ONNX documentation, "ONNX Operators", opset 17.
"""

from convinsights.translate._jax import to_jax
from convinsights.translate._keras import to_keras
from convinsights.translate._onnx import to_onnx
from convinsights.translate._torch import to_torch

__all__ = ["to_jax", "to_keras", "to_onnx", "to_torch"]


def __dir__() -> list[str]:
    return __all__
