"""The pages: every `pycon` block runs and shows what it prints, and every link leads somewhere."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md"))]
EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name + "/" + page.name)


def session(page):
    """Blank all lines but those of `pycon` blocks, so that line numbers stay true."""
    lines, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = line.startswith("```")
        lines.append(line if inside and not fence else "")
        inside = line == "```pycon" if fence else inside
    return "\n".join(lines) + "\n"


def anchors(page):
    """Return the anchors of the headings, as code-hosting sites make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EACH
def test_every_shown_number_is_computed(page, monkeypatch):
    monkeypatch.chdir(ROOT / "examples")
    test = doctest.DocTestParser().get_doctest(session(page), {}, page.name, str(page), 0)
    failures = []
    doctest.DocTestRunner().run(test, out=failures.append)
    assert not failures, "".join(failures)


@EACH
def test_every_link_leads_to_a_file_and_its_heading(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        file, _, heading = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), target
        assert not heading or heading in anchors(path), target


def test_readme_shows_a_session():
    assert ">>> " in session(ROOT / "README.md")
