"""The public face: every name, every signature, every docstring, and the examples in them."""

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys

import numpy as np
import pytest

import convinsights
from convinsights import batchnorm, receptive_field, residual

GEOMETRY = "strides=1, padding='valid', dilation_rate=1"
POOL = "strides=None, padding='valid'"
SIGNATURES = {
    "im2col": {
        "im2col": f"(x, kernel_size, *, {GEOMETRY})",
        "col2im": f"(columns, input_shape, kernel_size, *, {GEOMETRY})",
        "resolve_padding": f"(input_size, kernel_size, *, {GEOMETRY})",
    },
    "conv": {
        "forward": f"(x, kernel, bias=None, *, {GEOMETRY}, groups=1)",
        "backward": "(dy, cache)",
        "output_shape": f"(input_shape, kernel_shape, *, {GEOMETRY}, groups=1)",
        "parameter_count": "(kernel_size, in_channels, filters, *, groups=1, use_bias=False)",
        "multiply_adds": f"(input_shape, kernel_shape, *, {GEOMETRY}, groups=1)",
        "initialize": "(rng, kernel_size, in_channels, filters, *, groups=1, dtype=np.float64)",
        "matrix": f"(kernel, input_shape, *, {GEOMETRY}, groups=1)",
    },
    "unary": {
        "forward": "(x, kernel, bias=None, *, strides=1)",
        "backward": "(dy, cache)",
        "output_shape": "(input_shape, kernel_shape, *, strides=1)",
        "parameter_count": "(in_channels, filters, *, use_bias=False)",
        "multiply_adds": "(input_shape, kernel_shape, *, strides=1)",
        "initialize": "(rng, in_channels, filters, *, dtype=np.float64)",
    },
    "depthwise": {
        "forward": f"(x, kernel, bias=None, *, {GEOMETRY})",
        "backward": "(dy, cache)",
        "output_shape": f"(input_shape, kernel_shape, *, {GEOMETRY})",
        "parameter_count": "(kernel_size, in_channels, *, depth_multiplier=1, use_bias=False)",
        "multiply_adds": f"(input_shape, kernel_shape, *, {GEOMETRY})",
        "initialize": "(rng, kernel_size, in_channels, *, depth_multiplier=1, dtype=np.float64)",
    },
    "depthwise_separable": {
        "forward": f"(x, depthwise_kernel, pointwise_kernel, bias=None, *, {GEOMETRY})",
        "backward": "(dy, cache)",
        "output_shape": (
            f"(input_shape, depthwise_kernel_shape, pointwise_kernel_shape, *, {GEOMETRY})"
        ),
        "parameter_count": (
            "(kernel_size, in_channels, filters, *, depth_multiplier=1, use_bias=False)"
        ),
        "multiply_adds": (
            f"(input_shape, depthwise_kernel_shape, pointwise_kernel_shape, *, {GEOMETRY})"
        ),
        "initialize": (
            "(rng, kernel_size, in_channels, filters, *, depth_multiplier=1, dtype=np.float64)"
        ),
        "as_conv_kernel": "(depthwise_kernel, pointwise_kernel)",
        "from_conv_kernel": "(kernel, *, depth_multiplier=1)",
    },
    "batchnorm": {
        "forward": "(x, gamma=None, beta=None, statistics=None, *, epsilon=0.001)",
        "backward": "(dy, cache)",
        "update": "(moving, batch, *, momentum=0.99, sample_size=None)",
        "initial_statistics": "(channels)",
        "parameter_count": "(channels)",
        "fold": "(kernel, bias, gamma, beta, statistics, *, epsilon=0.001)",
        "initialize": "(channels, *, dtype=np.float64)",
    },
    "relu": {"forward": "(x)", "backward": "(dy, cache)"},
    "residual": {
        "forward": (
            "(x, parameters, statistics=None, *, strides=1, padding='same', variant='original', "
            "epsilon=0.001)"
        ),
        "backward": "(dy, cache)",
        "update": "(moving, batch, *, momentum=0.99, sample_sizes=None)",
        "initialize": (
            "(rng, kernel_sizes, in_channels, filters, *, strides=1, variant='original', "
            "dtype=np.float64)"
        ),
        "initial_statistics": "(parameters)",
        "parameter_count": "(parameters)",
    },
    "transposed": {
        "forward": (
            "(x, kernel, bias=None, *, strides=1, padding='valid', output_padding=None, "
            "output_size=None, dilation_rate=1, groups=1)"
        ),
        "backward": "(dy, cache)",
        "output_shape": (
            "(input_shape, kernel_shape, *, strides=1, padding='valid', output_padding=None, "
            "output_size=None, dilation_rate=1, groups=1)"
        ),
        "parameter_count": "(kernel_size, in_channels, filters, *, groups=1, use_bias=False)",
        "multiply_adds": (
            "(input_shape, kernel_shape, *, strides=1, padding='valid', output_padding=None, "
            "output_size=None, dilation_rate=1, groups=1)"
        ),
        "initialize": "(rng, kernel_size, in_channels, filters, *, groups=1, dtype=np.float64)",
        "inflate": "(x, strides)",
    },
    "dilated": {
        "forward": (
            "(x, kernel, bias=None, *, dilation_rate=2, strides=1, padding='same', groups=1)"
        ),
        "backward": "(dy, cache)",
        "output_shape": (
            "(input_shape, kernel_shape, *, dilation_rate=2, strides=1, padding='same', groups=1)"
        ),
        "parameter_count": "(kernel_size, in_channels, filters, *, groups=1, use_bias=False)",
        "multiply_adds": (
            "(input_shape, kernel_shape, *, dilation_rate=2, strides=1, padding='same', groups=1)"
        ),
        "initialize": "(rng, kernel_size, in_channels, filters, *, groups=1, dtype=np.float64)",
        "effective_kernel_size": "(kernel_size, dilation_rate)",
        "inflate": "(kernel, dilation_rate)",
    },
    "normalization": {
        "forward": "(x, gamma=None, beta=None, *, groups, epsilon=0.001)",
        "backward": "(dy, cache)",
        "parameter_count": "(channels)",
        "initialize": "(channels, *, dtype=np.float64)",
    },
    "parameters": {
        "named": "(tree)",
        "restore": "(named, like)",
        "mapped": "(function, tree, *trees)",
    },
    "max_pooling": {
        "forward": f"(x, pool_size, *, {POOL}, dilation_rate=1)",
        "backward": "(dy, cache)",
        "output_shape": f"(input_shape, pool_size, *, {POOL}, dilation_rate=1)",
    },
    "average_pooling": {
        "forward": f"(x, pool_size, *, {POOL}, count_padding=False)",
        "backward": "(dy, cache)",
        "output_shape": f"(input_shape, pool_size, *, {POOL}, count_padding=False)",
    },
    "receptive_field": {
        "receptive_field": "(layers)",
        "has_gaps": "(layers)",
        "dependencies": "(layers, output_pixel, input_size)",
        "overlaps": "(layers, input_size)",
    },
    "layouts": {
        "to_channels_first": "(x)",
        "to_channels_last": "(x)",
        "kernel_to_torch": "(kernel)",
        "kernel_from_torch": "(weight)",
        "depthwise_kernel_to_torch": "(kernel)",
        "depthwise_kernel_from_torch": "(weight, *, depth_multiplier=1)",
        "transposed_kernel_to_torch": "(kernel)",
        "transposed_kernel_from_torch": "(weight)",
    },
}
GRADIENTS = {
    "conv": "(x, kernel, bias)",
    "unary": "(x, kernel, bias)",
    "depthwise": "(x, kernel, bias)",
    "depthwise_separable": "(x, depthwise_kernel, pointwise_kernel, bias)",
    "batchnorm": "(x, gamma, beta, statistics)",
    "normalization": "(x, gamma, beta)",
    "relu": "(x)",
    "max_pooling": "(x)",
    "average_pooling": "(x)",
    "residual": "(x, parameters)",
    "transposed": "(x, kernel, bias)",
    "dilated": "(x, kernel, bias)",
}
TUPLES = [
    *((module, "Gradients", fields) for module, fields in GRADIENTS.items()),
    ("batchnorm", "Statistics", "(mean, variance)"),
    ("batchnorm", "ParameterCount", "(trainable, non_trainable)"),
    ("normalization", "ParameterCount", "(trainable, non_trainable)"),
    ("residual", "ParameterCount", "(trainable, non_trainable)"),
    ("residual", "Parameters", "(kernels, norms, projection=None, projection_norm=None)"),
    (
        "receptive_field",
        "Layer",
        "(kernel_size, strides=1, dilation_rate=1, padding=0, transposed=False, output_padding=0)",
    ),
    ("receptive_field", "Residual", "(branch, shortcut=())"),
    ("receptive_field", "ReceptiveField", "(size, stride, start)"),
]
FUNCTIONS = [(module, name) for module, table in SIGNATURES.items() for name in table]
SECTIONS = ("Parameters", "Returns", "Raises", "Examples")  # references: in the module's docstring


def module_of(name):
    """A public module; `convinsights.im2col` is one too, not the function."""
    return importlib.import_module(f"convinsights.{name}")


def as_string(function):
    """The names, order, kinds and defaults of the arguments, without their types."""
    signature = inspect.signature(function)
    bare = [
        parameter.replace(
            annotation=inspect.Parameter.empty,
            default=_Named("np.float64") if parameter.default is np.float64 else parameter.default,
        )
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    return str(inspect.Signature(bare))


class _Named(str):
    """A default that is shown without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def test_the_package_hands_on_every_module_and_nothing_else():
    public = [module.name for module in pkgutil.iter_modules(convinsights.__path__)]
    assert convinsights.__all__ == sorted(name for name in public if not name.startswith("_"))
    assert set(SIGNATURES) <= set(convinsights.__all__)
    for name in convinsights.__all__:
        assert inspect.ismodule(getattr(convinsights, name))
    assert re.fullmatch(r"\d+\.\d+\.\d+", convinsights.__version__)


def test_the_tools_are_loaded_when_first_asked_for():
    code = (
        "import sys, convinsights as c;"
        "tools = ['convinsights.' + name for name in ('draw', 'translate', 'verify')];"
        "print(*(tool in sys.modules for tool in tools), c.verify.verify.__name__, c.translate)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("False False False verify <module 'convinsights.translate'")


def test_a_tab_shows_what_is_public_and_nothing_else():
    assert dir(convinsights) == sorted([*convinsights.__all__, "__version__"])
    for name in convinsights.__all__:
        assert dir(module_of(name)) == sorted(module_of(name).__all__)


def test_an_unknown_module_is_no_attribute():
    with pytest.raises(AttributeError, match=r"^module 'convinsights' has no attribute 'pooling'$"):
        convinsights.__getattr__("pooling")


@pytest.mark.parametrize(("module", "name"), FUNCTIONS)
def test_every_function_has_exactly_its_signature(module, name):
    assert as_string(getattr(module_of(module), name)) == SIGNATURES[module][name]


@pytest.mark.parametrize(("module", "name", "fields"), TUPLES)
def test_every_named_tuple_has_exactly_its_fields(module, name, fields):
    kind = getattr(module_of(module), name)
    assert issubclass(kind, tuple)
    assert as_string(kind) == fields


@pytest.mark.parametrize("module", SIGNATURES)
def test_all_names_what_is_public_and_nothing_else(module):
    tuples = {name for owner, name, _ in TUPLES if owner == module}
    caches = {"Cache"} if "forward" in SIGNATURES[module] else set()
    exported = module_of(module).__all__
    assert sorted(exported) == sorted({*SIGNATURES[module], *tuples, *caches})
    assert len(set(exported)) == len(exported)


@pytest.mark.parametrize("module", GRADIENTS)
def test_caches_are_frozen_dataclasses(module):
    cache = module_of(module).Cache
    assert dataclasses.is_dataclass(cache)
    assert cache.__dataclass_params__.frozen
    assert "__dict__" not in dir(cache), "a misspelt field would be taken"


@pytest.mark.parametrize("module", GRADIENTS)
def test_caches_equal_themselves_alone(module):
    kind = module_of(module).Cache
    assert kind.__eq__ is object.__eq__
    assert kind.__hash__ is object.__hash__


def test_every_dataclass_is_frozen_but_those_that_verify_fills_in():
    filled = {"Answer", "Shrinker", "Trial", "_Run", "_Second"}
    found = set()
    for info in pkgutil.walk_packages(convinsights.__path__, "convinsights."):
        for kind in vars(importlib.import_module(info.name)).values():
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                found.add(kind)
                assert kind.__dataclass_params__.frozen == (kind.__name__ not in filled), kind
    assert len(found) > len(GRADIENTS)


def test_what_counts_parameters_is_one_type():
    assert batchnorm.ParameterCount is residual.ParameterCount
    assert isinstance(batchnorm.parameter_count(3), batchnorm.ParameterCount)
    block = residual.initialize(np.random.default_rng(0), [3], 1, 1)
    assert isinstance(residual.parameter_count(block), residual.ParameterCount)


def test_named_tuples_come_back():
    assert isinstance(batchnorm.initial_statistics(3), batchnorm.Statistics)
    assert isinstance(receptive_field.receptive_field([]), receptive_field.ReceptiveField)
    block = residual.initialize(np.random.default_rng(0), [3], 1, 1)
    assert isinstance(block, residual.Parameters)


@pytest.mark.parametrize(("module", "name"), FUNCTIONS)
def test_every_function_says_what_it_does_and_shows_it(module, name):
    text = inspect.getdoc(getattr(module_of(module), name))
    first, blank, *_ = text.split("\n")
    assert first.endswith(".")
    assert not blank
    titles = re.findall(r"^(\w+)\n-+$", text, flags=re.MULTILINE)
    assert titles == [title for title in SECTIONS if title in titles]
    assert titles[-1] == "Examples"
    if name in ("forward", "backward"):
        assert {"Parameters", "Returns"} <= set(titles)


@pytest.mark.parametrize(("module", "name"), FUNCTIONS)
def test_every_argument_is_described_where_it_first_appears(module, name):
    owner, first = module_of(module), next(iter(SIGNATURES[module]))  # `forward`, if there is one
    known = set() if name == first else set(inspect.signature(getattr(owner, first)).parameters)
    function = getattr(owner, name)
    described = set(re.findall(r"\w+", inspect.getdoc(function).split("Examples\n---")[0]))
    assert set(inspect.signature(function).parameters) - known <= described


@pytest.mark.parametrize("module", SIGNATURES)
def test_every_module_and_type_is_described(module):
    owner = module_of(module)
    assert re.search(r"^References\n-+$", owner.__doc__, flags=re.MULTILINE)
    for name in owner.__all__:
        assert getattr(owner, name).__doc__


@pytest.mark.parametrize("module", SIGNATURES)
def test_the_examples_in_the_docstrings_run(module):
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    examples = {test.name: test for test in finder.find(module_of(module)) if test.examples}
    for name in SIGNATURES[module]:
        assert f"convinsights.{module}.{name}" in examples
    report = []
    for test in examples.values():
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
