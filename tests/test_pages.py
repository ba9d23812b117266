"""The pages: what they show is computed, their links lead somewhere, and each has its parts."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "README.md", *sorted(EXAMPLES.glob("*.md"))]
COURSE = [
    EXAMPLES / f"{name}.md"
    for name in (
        "convolution",
        "im2col",
        "unary",
        "depthwise_separable",
        "batchnorm",
        "residual",
        "pooling",
        "transposed",
        "dilated",
        "gradients",
    )
]


def named(page):
    return f"{page.parent.name}/{page.name}"


EACH = pytest.mark.parametrize("page", PAGES, ids=named)
EACH_OF_THE_COURSE = pytest.mark.parametrize("page", COURSE, ids=lambda page: page.stem)


def read(page):
    return page.read_text(encoding="utf-8")


def session(page):
    """Blank all lines but those of `pycon` blocks, so that line numbers stay true."""
    lines, inside = [], False
    for line in read(page).splitlines():
        fence = line.startswith("```")
        lines.append(line if inside and not fence else "")
        inside = line == "```pycon" if fence else inside
    return "\n".join(lines) + "\n"


def shown(text, page, monkeypatch):
    """Run the examples in a text, in the folder of the pages; return what came out otherwise."""
    monkeypatch.chdir(EXAMPLES)
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    failures = []
    doctest.DocTestRunner().run(test, out=failures.append)
    return "".join(failures)


def anchors(page):
    """Return the anchors of the headings, as code-hosting sites make them."""
    headings = re.findall(r"^#+ (.+)$", read(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def without(pattern, text):
    return re.sub(pattern, "", text, flags=re.DOTALL | re.MULTILINE)


def other(page, monkeypatch):
    # The pages of the course pass `python -m doctest` as they are: a blank line ends each output.
    return shown(read(page) if page in COURSE else session(page), page, monkeypatch)


# It shows how many cases there are, and what only large ones tell.
OF_ALL_CASES = EXAMPLES / "gradients.md"


@pytest.mark.usefixtures("few_cases")
@pytest.mark.parametrize("page", [page for page in PAGES if page != OF_ALL_CASES], ids=named)
def test_every_shown_number_is_computed(page, monkeypatch):
    assert not other(page, monkeypatch)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=() if page == OF_ALL_CASES else pytest.mark.thorough)
        for page in PAGES
        if "verify.verify(" in read(page)
    ],
    ids=named,
)
def test_every_shown_number_is_that_of_all_cases(page, monkeypatch):
    assert not other(page, monkeypatch)


@EACH
def test_every_link_leads_to_a_file_and_its_heading(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if target.startswith("https://"):
            continue
        file, _, heading = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), target
        assert not heading or heading in anchors(path), target


@EACH_OF_THE_COURSE
def test_a_page_begins_with_a_moving_picture_and_has_its_parts_in_order(page):
    opening, *sections = re.split(r"^## ", read(page), flags=re.MULTILINE)
    picture = re.search(r"\]\((figures/.*?)\)", opening)
    assert "animat" in read(EXAMPLES / picture[1])
    names = [section.partition("\n")[0] for section in sections]
    first, last = ["Question", "By hand", "The law", "By machine"], ["What to remember"]
    assert [name.partition(",")[0] for name in names[:4]] == first
    assert names[-4:] == [*last, "Exercises", "For the careful", "Sources"]
    assert "digits.npz" in read(page)


@EACH_OF_THE_COURSE
def test_every_question_has_a_folded_answer_that_runs(page):
    exercises = read(page).partition("\n## Exercises\n")[2].partition("\n## For the careful\n")[0]
    questions = re.findall(r"^\*\*(\d)\. ", exercises, flags=re.MULTILINE)
    answers = re.findall(
        r"<details><summary>Answer</summary>\n\n(.*?)\n\n</details>\n", exercises, flags=re.DOTALL
    )
    assert questions == list("12345")[: len(questions)]
    assert 3 <= len(questions) == len(answers)
    assert all(">>> " in answer for answer in answers)
    assert "Find the fault" in exercises


@EACH_OF_THE_COURSE
def test_a_page_is_short_before_what_is_for_the_careful(page):
    text = read(page).partition("\n## For the careful\n")[0]
    text = without(r"<details>.*?</details>", text)  # folded
    text = without(r"^```.*?^```", text)  # code and formulas
    text = without(r"^\|.*?$", text)  # tables
    assert len(text.split()) <= 1000


@EACH
def test_no_line_of_code_is_cut_off(page):
    assert [line for line in session(page).splitlines() if len(line) > 88] == []


@EACH
def test_no_line_of_a_paragraph_is_taken_for_a_quotation_or_a_list(page):
    text = without(r"^```.*?^```", read(page))
    paragraphs = [part.splitlines() for part in re.split(r"\n\s*\n", text)]
    mark = re.compile(r"([>*+-]|\d+[.)])\s")
    broken = [
        line
        for first, *others in filter(None, paragraphs)
        if not mark.match(first)
        for line in others
        if mark.match(line)
    ]
    assert broken == []


def test_readme_shows_a_session():
    assert ">>> " in session(ROOT / "README.md")
