"""Draw what a geometry does, as a moving picture.

Every function returns an SVG as a value: `str(picture)` is its text, a notebook shows it, and
`picture.save(path)` writes it to a file. All that is drawn is computed by the library, whatever the
geometry. Pictures move without a script, also as an `<img>` on a page; where less motion is
preferred they stand still, and the still picture explains the same. They follow the reader's light
or dark scheme, are legible on 400 pixels, and at most 60,000 bytes: what is larger is refused.

From a terminal, with the SVG on standard output:

    python -m convinsights.draw windows conv --input 6 6 --kernel 3 3 --strides 2 --padding same

References
----------
Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016: `windows`, chapters
2 and 4; `matrix`, section 4.1.
Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document
Processing", 2006: `columns`.
Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill,
2019, doi:10.23915/distill.00021: `receptive_field`.
Odena, Dumoulin and Olah, "Deconvolution and Checkerboard Artifacts", Distill, 2016,
doi:10.23915/distill.00003: `overlaps`.
Tufte, "The Visual Display of Quantitative Information", 1983: `array`.
"""

from convinsights.draw._columns import columns
from convinsights.draw._paths import overlaps, receptive_field
from convinsights.draw._picture import Picture
from convinsights.draw._tables import array, matrix
from convinsights.draw._windows import windows

__all__ = ["Picture", "array", "columns", "matrix", "overlaps", "receptive_field", "windows"]


def __dir__() -> list[str]:
    return __all__
