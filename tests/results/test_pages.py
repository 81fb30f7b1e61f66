"""Pages, of which people write a part."""

import pytest

from ernest.results.pages import check_page, write_page


def test_words_of_people_on_a_page_stay(tmp_path):
    page = tmp_path / "page.md"
    write_page(page, "Title", "Words.", "ernest results a", "| 1 |")
    page.write_text(page.read_text().replace("Words.", "Better words.") + "\nMore.\n")
    write_page(page, "Title", "Words.", "ernest results a", r"| \2 |")
    text = page.read_text()
    assert "Better words." in text
    assert text.endswith("More.\n")
    assert r"| \2 |" in text
    assert "| 1 |" not in text
    write_page(page, "Another title", "", "ernest results b", "second")
    write_page(page, "Title", "Words.", "ernest results a", "first")
    text = page.read_text()
    assert text.index("first") < text.index("More.") < text.index("second")
    assert text.count("# Title") == 1
    assert "Another title" not in text
    check_page(page, "ernest results c")
    check_page(tmp_path / "new/page.md", "ernest results c")
    page.write_text("nothing")
    with pytest.raises(ValueError, match=r"page\.md: expected one '<!-- results: begin"):
        check_page(page, "ernest results a")
    with pytest.raises(ValueError, match=r"page\.md: expected one '<!-- results: begin"):
        write_page(page, "Title", "Words.", "ernest results a", "")
