"""The page at / in a real browser."""

import re
import shutil
import subprocess

import pytest
from playwright.sync_api import expect, sync_playwright

from conftest import ROOT, Server

SCREENSHOTS = None  # a folder, to look at what the tests see


@pytest.fixture(scope="module")
def server(tmp_path_factory, smollm2):
    mini = subprocess.run([ROOT / "tools" / "fetch", "minilm"], capture_output=True, text=True, check=True).stdout.strip()
    s = Server(tmp_path_factory.mktemp("server"), f"  smol: {{ file: {smollm2}, system_prompt: You are a helpful assistant, "
               f"load: eager }}\n  mini: {{ file: {mini}, load: eager }}")
    yield s
    assert s.stop() == 0


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, server):
    """The page, on which nothing may go wrong that the console tells of."""
    complaints = []
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" and
            "the server responded with" not in message.text else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"http://127.0.0.1:{server.port}/")
    expect(page.get_by_role("combobox", name="Model")).to_have_value("smol")
    yield page
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/{id(page)}.png")
    context.close()
    assert complaints == []


def ask(page, words):
    page.get_by_label("Your message").fill(words)
    page.get_by_label("Your message").press("Enter")


def last(page):
    return page.locator("#turns li").last


def done(page):
    expect(page.locator("#turns")).to_have_attribute("aria-busy", "false", timeout=60000)


def test_a_conversation(page):
    page.get_by_label("Temperature").fill("0")
    ask(page, "What is the capital of France?")
    expect(last(page)).to_contain_text("The capital of France is Paris.", timeout=60000)
    done(page)
    expect(page.locator("#speed")).to_have_text(re.compile(r"\d+ \+ \d+ tokens, first after \d+ ms"))
    page.get_by_role("button", name="Regenerate").click()
    done(page)
    expect(page.locator("#turns li")).to_have_count(2)
    expect(last(page)).to_contain_text("Paris")


def test_editing_goes_back(page):
    page.get_by_label("Longest answer").fill("4")
    ask(page, "First")
    done(page)
    ask(page, "Second")
    done(page)
    expect(page.locator("#turns li")).to_have_count(4)
    page.get_by_role("button", name="Edit").first.click()
    expect(page.locator("#turns li")).to_have_count(0)
    expect(page.get_by_label("Your message")).to_have_value("First")


@pytest.mark.parametrize("how", ["button", "key"])
def test_stopping(page, how):
    page.get_by_label("System message").fill("You write very long stories.")
    ask(page, "Write a story of a thousand words.")
    expect(last(page).locator("> span")).to_have_text(re.compile(r".{10}", re.DOTALL), timeout=60000)
    page.get_by_role("button", name="Stop").click() if how == "button" else page.keyboard.press("Escape")
    done(page)
    length = len(last(page).inner_text())
    page.wait_for_timeout(300)
    assert len(last(page).inner_text()) == length > 10


def test_probabilities(page):
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Token probabilities").check()
    ask(page, "What is the capital of France?")
    done(page)
    tokens = last(page).locator(".token")
    expect(tokens.first).to_have_text("The")
    tokens.first.hover()
    expect(page.get_by_role("tooltip")).to_contain_text(re.compile(r'▸ +\d+\.\d %  "The"'))
    tokens.nth(1).focus()
    expect(page.get_by_role("tooltip")).to_contain_text(" capital")


def test_words_of_models_are_never_markup(page):
    page.get_by_label("Longest answer").fill("8")
    ask(page, "<img src=x onerror=alert(1)><b>bold</b>")
    done(page)
    assert page.locator("#turns img, #turns b").count() == 0
    expect(page.locator("#turns li").first).to_contain_text("<b>bold</b>")


def test_tabs_by_keyboard(page):
    page.get_by_role("tab", name="Chat").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Embeddings")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Models")).to_be_focused()
    expect(page.get_by_role("cell", name="smol", exact=True)).to_be_visible()
    expect(page.get_by_role("tabpanel")).to_have_count(1)


def test_a_similarity_matrix(page):
    page.get_by_role("tab", name="Embeddings").click()
    page.get_by_role("button", name="Compare").click()
    cells = page.locator("#matrix tbody td")
    expect(cells).to_have_count(9)
    values = [float(text) for text in cells.all_inner_texts()]
    assert values[0] == values[4] == values[8] == 1 and values[1] == values[3] > values[2]


def test_models_are_loaded_and_unloaded(page):
    page.get_by_role("tab", name="Models").click()
    page.get_by_role("button", name="Unload smol").click()
    expect(page.get_by_role("row", name="smol")).to_contain_text("unloaded")
    page.get_by_role("button", name="Load smol", exact=True).click()
    expect(page.get_by_role("row", name="smol")).to_contain_text("ready")


def test_themes(page):
    colour = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(colour)
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate(colour) != before
    page.reload()
    assert page.evaluate(colour) != before


def test_errors_are_told(page):
    page.get_by_label("Temperature").fill("3")
    ask(page, "Hi")
    expect(page.get_by_role("alert")).to_contain_text("temperature is not a number from 0 to 2")


def test_a_narrow_window(page):
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_nothing_is_loaded_from_elsewhere(server):
    reply = server.get("/")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert not re.search(rb"https?://", reply.body + server.get("/page.js").body + server.get("/page.css").body)
