"""The pictures of the worked derivations are what `examples/figures.py` draws."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
sys.path.append(str(EXAMPLES))

from figures import PICTURES  # noqa: E402


@pytest.mark.parametrize("name", PICTURES)
def test_committed_picture_is_what_the_script_draws(name):
    committed = (EXAMPLES / "figures" / f"{name}.svg").read_text(encoding="utf-8")
    assert committed == PICTURES[name]()


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_small_and_well_formed(name):
    path = EXAMPLES / "figures" / f"{name}.svg"
    assert path.stat().st_size < 60_000
    assert ET.parse(path).getroot().tag.endswith("svg")


def test_there_is_no_other_picture():
    assert {path.stem for path in (EXAMPLES / "figures").iterdir()} == set(PICTURES)


def test_every_picture_is_shown_on_a_page():
    pages = "".join(page.read_text(encoding="utf-8") for page in EXAMPLES.glob("*.md"))
    assert all(f"](figures/{name}.svg)" in pages for name in PICTURES)
