"""What is built and cited is what is in the repository: the files of a source archive, and one version everywhere."""

import re
import tomllib
from pathlib import Path

import ernest

ROOT = Path(__file__).parents[1]
SHIPPED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]


def test_a_source_archive_holds_every_page_and_every_folder_of_code():
    """So tests, docs, benchmarks and examples run from it."""
    assert [name for name in SHIPPED if not (ROOT / name).exists()] == []
    pages = {path.name for path in ROOT.iterdir() if path.suffix in (".md", ".cff")}
    code = {path.parent.name for path in ROOT.glob("[!.]*/*.py")} - {"build", "dist", "site"}
    assert pages | code <= set(SHIPPED)


def test_the_version_that_is_cited_is_the_one_that_runs():
    (cited,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    assert cited == ernest.__version__


def test_the_changelog_knows_the_version():
    """As a section of its own once it is released, before that in what is said of the next release."""
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert ernest.__version__ in headings or f"first release, {ernest.__version__}," in (ROOT / "CHANGELOG.md").read_text()
