"""The pages on the phase-field engine: their programs run, one after the other as they stand, and their links lead somewhere."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "phasefield").glob("*.md"))


def programs(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [page for page in PAGES if programs(page)], ids=lambda page: page.stem)
def test_the_programs_of_a_page_run(page, tmp_path, monkeypatch):
    for library in ("matplotlib",) if "draw_" in page.read_text() else ():
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    known: dict[str, object] = {}
    for program in programs(page):
        exec(compile(program, page.name, "exec"), known)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^):]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        other = page.parent / file if file else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


def test_every_page_is_in_the_navigation():
    listed = re.findall(r": (phasefield/[\w-]+\.md)$", (DOCS.parent / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    assert sorted(listed) == [f"phasefield/{page.name}" for page in PAGES]


def test_the_flow_in_twenty_lines_has_not_many_more():
    first = programs(DOCS / "phasefield/own-flow.md")[0]
    code = [line for line in first.splitlines() if line.strip() and not line.startswith(("from ", "import "))]
    assert len(code) <= 20


def test_what_the_engine_does_not_do_is_said():
    page = (DOCS / "phasefield/choosing.md").read_text()
    for words in ("not L-stable", "no maximum principle", "Plain extrapolation with sweeps", "about 1e-8"):
        assert words in page
