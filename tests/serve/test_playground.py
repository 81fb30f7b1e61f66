"""The page: what it asks of the server, and how it behaves in a browser, on a phone's screen and a desk's, by keys and by ear."""

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import numpy as np
import pytest

from ernest.config.media import MediaSpec
from ernest.serve.scored import measured_sizes
from tests.serve.openai_client import wav
from tests.serve.running import running, write_checkpoint
from tests.serve.test_fuzz import png

FOLDER = Path(__file__).parents[2] / "ernest/serve/playground"
BROWSER = os.environ.get("ERNEST_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None
)


def told(server, **form) -> list[dict]:
    """All news of an answer."""
    files = [("files", one) for one in form.pop("files", [])]
    answer = httpx2.post(f"{server.url}/playground/answer", data={"seed": "1"} | form, files=files or None, timeout=60)
    assert answer.status_code == 200, answer.text
    lines = [part.removeprefix("data: ") for part in answer.text.strip().split("\n\n")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


# ------------------------------------------------------------------ what the page is told


def test_a_picture_comes_scale_by_scale(server):
    accepted, *news, end = told(server, to="image", text="a red seven")
    assert accepted["positions"] > 1
    assert [(one["what"], one["scale"]) for one in news] == [("picture", 0), ("picture", 1), ("picture", 2)]
    assert end["made"] == [{"kind": "image", "png": news[-1]["png"]}]
    assert [len(ran) for ran in news[0]["experts"]] == [2] * 6, "two experts of each layer for one cell"
    assert max(len(ran) for ran in news[2]["experts"]) > 2
    assert end["choices"] == 3


def test_a_film_has_its_energy(server):
    *news, end = told(server, to="video", text="a disk shrinking")
    (film,) = end["made"]
    assert len(film["energy"]) == len(film["frames"])
    assert [one["frame"] for one in news[1:] if one["scale"] == 2] == list(range(len(film["frames"])))
    assert [one["png"] for one in news[1:] if one["scale"] == 2] == film["frames"]


def test_a_sound_comes_frame_by_frame(server):
    *news, end = told(server, to="audio", text="seven")
    (sound,) = end["made"]
    assert [one["frame"] for one in news[1:]] == list(range(len(news) - 1))
    assert {len(one["peaks"]) for one in news[1:]} == {8}
    assert len(sound["peaks"]) == 8 * (len(news) - 1)


def test_files_are_read_by_what_they_hold(server):
    for file in (png(), wav()):
        *_, end = told(server, to="text", files=[("x.bin", file)])
        assert end["made"][0]["kind"] == "text"
    answer = httpx2.post(f"{server.url}/playground/answer", data={"to": "text"}, timeout=60)
    assert answer.json()["error"]["message"] == "text: write something, or give a picture or a sound"


def test_the_cost_is_that_of_the_part(server):
    cost = lambda name: httpx2.get(f"{server.url}/playground/cost", params={"model": name}).json()
    assert cost("demo:layers=4")["flops"] < cost("demo")["flops"]
    assert cost("demo:experts=4")["parameters"] < cost("demo")["parameters"]
    (model,) = httpx2.get(f"{server.url}/playground/models").json()["models"]
    assert (model["layers"], model["experts"], model["top_k"], model["scales"]) == ([4, 6], [1, 8], [1, 2], 3)


def test_what_the_run_has_measured_is_shown(tmp_path):
    model = write_checkpoint(tmp_path / "scored" / "model")
    (tmp_path / "scored/report.html").write_text("<h1>scores</h1>")
    (tmp_path / "scored/findings").mkdir()
    row = {"name": "half", "layers": 4, "experts": 4, "top_k": 1, "scores": {"image→text": 0.12345}}
    findings = tmp_path / "scored/findings/findings.json"
    findings.write_text(json.dumps({"submodels": [row]}))
    assert measured_sizes(model) == [{"layers": 4, "experts": 4, "top_k": 1, "scores": {"image→text": 0.123}}]
    with running(model) as server:
        (shown,) = httpx2.get(f"{server.url}/playground/models").json()["models"]
        assert (shown["measured"], shown["has_report"]) == (measured_sizes(model), True)
        report = httpx2.get(f"{server.url}/playground/report/scored")
        assert report.text == "<h1>scores</h1>"
        assert "sandbox" in report.headers["content-security-policy"]
        for name in ("other", "..", "scored%2F..%2Fscored"):
            assert httpx2.get(f"{server.url}/playground/report/{name}").status_code == 404
    for torn in ("", "[]", '{"submodels": [{"layers": "x"}]}', '{"submodels": 3}'):
        findings.write_text(torn)
        assert measured_sizes(model) == []


# ------------------------------------------------------------------ the files of the page


def test_the_page_reaches_no_other_host(server):
    """Neither by its links nor, since browsers are told so, by anything else."""
    page = httpx2.get(f"{server.url}/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    for file in FOLDER.iterdir():
        if file.name != "index.html":
            served = httpx2.get(f"{server.url}/static/{file.name}")
            assert served.status_code == 200, f"{file.name} is not served"
            assert served.content == file.read_bytes()
        assert set(re.findall(r"https?://[\w./]+", file.read_text())) <= {"http://www.w3.org/2000/svg"}
    for name in ("index.html", "..%2Fapp.py", "nothing.js"):
        assert httpx2.get(f"{server.url}/static/{name}").status_code == 404


# ------------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which drives a browser")
    if BROWSER is None:
        pytest.skip("found no Chromium: install one, or name it in ERNEST_CHROMIUM")
    with playwright.sync_playwright() as driver:
        microphone = "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"  # beeps once a second
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", *microphone])
        yield browser
        browser.close()


@pytest.fixture(params=[(390, "light"), (1280, "dark")], ids=["phone", "desk"])
def page(browser, server, request):
    """Fails where the page logs an error, or asks another host."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((server.url, "data:", "blob:")) else faults.append(asked.url))
    page.goto(server.url)
    page.wait_for_selector("#model option", state="attached")
    yield page
    context.close()
    assert faults == []


def shown(page, name: str) -> None:
    """Keeps a picture of the page where ERNEST_SCREENSHOTS names a folder."""
    folder = os.environ.get("ERNEST_SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/{name}-{page.viewport_size['width']}.png", full_page=True)


def until(page, is_so: Callable[[], bool]) -> None:
    """The page's rules forbid what playwright would evaluate in it again and again."""
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end, page.text_content("#status")
        page.wait_for_timeout(30)


def done(page, runs: int = 1) -> None:
    until(page, lambda: page.locator("#runs tr").count() == runs)
    assert page.text_content("#status").startswith("Done")


def test_every_kind_is_shown_in_a_browser(page):
    page.fill("#text", "a red seven")
    looks = {"image": "#stage img.picture", "video": "#stage svg .curve", "audio": "#stage audio", "text": "#stage .said"}
    for number, (kind, what) in enumerate(looks.items(), start=1):
        page.check(f"[name=to][value={kind}]")
        page.click("#go")
        done(page, number)
        assert page.locator(what).count() == 1
        shown(page, kind)
    assert page.locator("#maps canvas").count() >= 1
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"], "nothing sticks out at the side"


def test_the_page_is_used_by_keys_alone(page):
    """From the top: every part is reached by the tabulator, and a picture is asked for and described without a pointer."""
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    page.keyboard.type("a red seven")
    page.keyboard.press("Control+Enter")
    done(page)
    page.focus("#draw")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "canvas"
    for key in (" ", "ArrowLeft", "ArrowUp", " "):
        page.keyboard.press(key)
    page.focus("#use")
    page.keyboard.press("Enter")
    page.wait_for_selector("#given li")
    page.fill("#text", "")
    page.focus("[name=to]:checked")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.value") == "text"
    page.keyboard.press("Enter")
    done(page, 2)
    shown(page, "drawn")


def test_what_the_microphone_heard_is_understood(page, server, monkeypatch):
    """Recorded in the browser's own format, which the server reads as a sound; the device of the tests beeps once a second."""
    reader, heard = server.app.state.service.reader, []
    read = reader.read

    async def note(*asked):
        heard.append(await read(*asked))
        return heard[-1]

    monkeypatch.setattr(reader, "read", note)
    page.click("#record")
    until(page, lambda: page.text_content("#record") == "End the recording")
    page.wait_for_timeout(2200)
    page.click("#record")
    page.wait_for_selector("#given li")
    assert (page.text_content("#given li span"), page.text_content("#record")) == ("recording", "Record")
    page.check("[name=to][value=text]")
    page.click("#go")
    done(page)
    (sound,) = heard
    assert sound.kind == "audio"
    assert 1.0 < len(sound.data) / MediaSpec.sample_rate < 8.0
    assert np.abs(sound.data).max() > 0.01, "silence"
    shown(page, "recorded")


def test_every_control_has_a_name(page):
    """What a screen reader would say of a control that has none is nothing."""
    page.click("#draw")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea, canvas, audio, [role=img]')]
        .filter((one) => one.checkVisibility() || one.type === 'file')
        .filter((one) => !(one.labels?.length || one.getAttribute('aria-label') || one.textContent.trim()))
        .map((one) => one.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("[role=status]").count() == 2
    assert page.evaluate("document.documentElement.lang") == "en"


def luminance(colour: list[float]) -> float:
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_colours_can_be_read(page):
    """Contrast of at least 4.5 to 1 between words and their ground (WCAG 2, AA)."""
    names = page.evaluate(
        """() => Object.fromEntries(['ground', 'card', 'ink', 'soft', 'accent', 'on-accent', 'warn'].map((name) =>
        [name, getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()]))"""
    )
    values = {name: luminance([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]) for name, text in names.items()}
    pairs = "ink ground", "ink card", "soft card", "soft ground", "on-accent accent", "warn card"
    for ink, ground in map(str.split, pairs):
        dark, bright = sorted((values[ink], values[ground]))
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def test_sliders_choose_the_part_and_tell_its_cost(page):
    whole = page.text_content("#cost")
    page.focus("#layers")
    page.keyboard.press("Home")
    until(page, lambda: page.text_content("#cost") != whole)
    assert page.text_content("#layers + output") == "4"
    page.fill("#text", "seven")
    page.click("#go")
    done(page)
    assert page.text_content("#runs tr td").startswith("demo:layers=4")


def test_an_answer_can_be_stopped(page, server, monkeypatch):
    engine = server.app.state.service.scheduler.models["demo"].engine
    step = engine.step
    monkeypatch.setattr(engine, "step", lambda: time.sleep(0.3) or step())
    page.fill("#text", "a disk shrinking")
    page.check("[name=to][value=text]")
    page.click("#go")
    page.click("#stop")
    until(page, lambda: page.text_content("#status").startswith("Stopped"))
    server.wait_until_idle(5)


def test_a_page_without_a_key_asks_for_one(browser, checkpoint):
    from ernest.serve.guard import Access

    with running(checkpoint, access=Access(keys=("secret",))) as server:
        page = browser.new_page()
        page.goto(server.url)
        page.wait_for_selector("#key", state="visible")
        page.fill("#key", "secret")
        page.keyboard.press("Tab")
        page.wait_for_selector("#model option", state="attached")
        page.close()
