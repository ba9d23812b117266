"""Every `pycon` block of the README and of the derivations runs, and shows what it prints."""

import doctest
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md"))]


def session(page):
    """Blank all lines but those of `pycon` blocks, so that line numbers stay true."""
    lines, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = line.startswith("```")
        lines.append(line if inside and not fence else "")
        inside = line == "```pycon" if fence else inside
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_shown_number_is_computed(page):
    test = doctest.DocTestParser().get_doctest(session(page), {}, page.name, str(page), 0)
    failures = []
    doctest.DocTestRunner().run(test, out=failures.append)
    assert not failures, "".join(failures)


def test_readme_shows_a_session():
    assert ">>> " in session(ROOT / "README.md")
