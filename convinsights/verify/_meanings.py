"""What the names of the slips mean. What follows a name says which of a kind."""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["SLIPS", "meaning"]

SLIPS: Mapping[str, str] = MappingProxyType(
    {
        # Windows
        "axes_swapped": "one axis has the settings of another",
        "dilation_applied_twice": "taps lie the square of the dilation rate apart",
        "dilation_ignored": 'taps lie side by side, or "same" counts zeros as if they did',
        "dilation_off_by_one": "taps lie one pixel further or less far apart than they must",
        "first_axis_for_all": "one number is taken for all axes, or for both sides of an axis",
        "last_axis_for_all": "the last axis' setting is taken for all axes",
        "last_tap_ignored": "the last tap of the kernel along an axis is left out",
        "output_padding_ignored": "the output padding is left out",
        "padding_before": "the odd zero of same padding is put in front, not behind",
        "padding_always_1": "one zero is put around the image, whatever the padding",
        "padding_ignored": "no zeros are put around the image",
        "padding_by_sides": "zeros are read as all those in front, then all those behind",
        "padding_reversed": "the zeros in front and those behind are exchanged",
        "padding_symmetric": "as many zeros are put behind as in front",
        "reads_outside": "what lies beyond the image is read from its memory, not as zeros",
        "shifted": "the right numbers, displaced by so many pixels",
        "size_by_whole_rates": "the output's size is that of a kernel of taps times rate pixels",
        "size_from_other_axis": "an axis is padded by another axis' numbers",
        "strides_and_dilation_exchanged": "strides are taken for dilation rates, and vice versa",
        "strides_ignored": 'windows begin at every pixel, or "same" counts zeros as if they did',
        # Kernels and channels
        "batch_mixed": "an image's result depends on the other images of the batch",
        "bias_ignored": "the bias is not added",
        "bias_of_first_group": "every group gets the bias of the first",
        "bias_per_group": "one bias serves a whole group, or every group adds the bias again",
        "groups_interleaved": "channels are dealt out to the groups in turn, not in blocks",
        "kernel_flipped": "the taps are read from the last to the first",
        "layout_ignored": "memory is read as if it were packed, whatever its strides",
        "multiplier_major": "the outputs of a channel lie apart, not side by side",
        # Gradients
        "bias_gradient_missing_batch": "the bias' gradient is not summed over the images",
        "gamma_gradient_not_normalized": "gamma's gradient is made of x, not of x normalized",
        "gradient_averaged": "a gradient is a mean where it must be a sum",
        "kernel_gradient_flipped": "the kernel's gradient lies from the last tap to the first",
        "overlaps_overwritten": "what must be added up, where windows or images meet, is replaced",
        "statistics_constant": "mean and variance are differentiated as if x did not move them",
        "training_gradient_in_inference": "given statistics are differentiated as if x moved them",
        # Normalization
        "batch_statistics_in_inference": "the batch's own statistics are used where some are given",
        "epsilon_ignored": "what is added to the variance is not the epsilon that was given",
        "epsilon_outside_root": "epsilon is added to the deviation, not to the variance",
        "moving_statistics_in_training": "mean 0 and variance 1, as at the start, not the batch's",
        "gamma_per_group": "gamma and beta are read as one number for each group",
        "groups_ignored": "all channels are taken for one group",
        "one_pass_variance": "mean of squares less square of mean: digits cancel far from 0",
        "unbiased_variance": "the sum of squares is divided by n - 1, not by n",
        # Numbers
        "activation_left_on": "the result went through an activation",
        "clamped": "results are cut off at these limits",
        "dtype_changed": "a result has another type than the arguments",
        "low_precision": "operands or sums seem to have so many significant bits",
        "non_finite_spread": "a result is nan or inf that reads no such element",
        "non_finite_swallowed": "a result is finite that reads a nan or inf",
        "saturated": "sums stop at the largest integer of so many bits",
        "unwritten": "some results were never written: the memory's old content shows",
        "wrapped": "sums, or operands, wrap around as integers of so many bits",
        # State
        "argument_modified": "an argument was changed",
        "first_call_differs": "the first call gives other results than later ones",
        "not_deterministic": "the same call gives other results from time to time",
        "output_reused": "a later call changes results that were handed out before",
        "stale_argument": "an earlier call's argument, or its hyperparameters, were used",
    }
)


def meaning(slip: str) -> str:
    """Say what a slip is, by its name, with or without what follows."""
    return SLIPS[slip.partition(" ")[0]]
