"""The player of gradient descent in a real browser: its paths are Python's, and it plays, with a kernel and without."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmkit as lk
from lmkit.surfaces.base import SurfaceInfo
from lmkit.surfaces.catalogue import SURFACES
from lmkit.surfaces.grid import GridSurface
from lmkit.surfaces.path import TITLES, largest_stable_rate
from lmkit.widgets.descent import Descent
from lmkit.widgets.style import script

PLAYER = ".lmkit-descent"
COMPUTE = """async ({source, settings}) => {
  const {descend, largestStableRate, makeSurface} = await import("data:text/javascript;base64," + source)
  const {state, surfaces, constants} = settings
  const surface = makeSurface(surfaces.find((s) => s.name === state.surface), {condition: state.condition})
  return Object.fromEntries(state.optimizers.map((name) => [name, {...descend(surface, name, state, constants),
    curvature: surface.largestCurvature, limit: largestStableRate(name, surface.largestCurvature, state.momentum)}]))
}"""


@pytest.fixture(scope="module")
def page(chromium: Any) -> Any:
    opened = chromium.new_page()
    yield opened
    opened.close()


def in_the_page(page: Any, shown: Descent) -> Any:
    """The paths that the page's script computes."""
    source = base64.b64encode(script("surfaces").encode()).decode()
    return page.evaluate(COMPUTE, {"source": source, "settings": shown.page_settings()})


@pytest.mark.parametrize("name", SURFACES)
def test_its_paths_are_those_of_python(page: Any, name: str) -> None:
    noise: dict[str, Any] = {"batch": 8} if name == "regression" else {"noise": 0.05}
    beyond = [{"lr": 5.0}] if name in ("bowl", "ravine", "regression") else []  # elsewhere it is chaos
    for changes in ({}, noise, *beyond):
        shown = lk.descent(name, optimizers=list(TITLES), steps=60, momentum=0.8, seed=7, **changes)
        computed = in_the_page(page, shown)
        for optimizer, path in shown.paths.items():
            other = computed[optimizer]
            assert (other["state"], other["reason"]) == (path.state, path.reason)
            np.testing.assert_allclose(other["points"], path.points, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(other["losses"], path.losses, rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(other["norms"], path.gradient_norms, rtol=1e-10, atol=1e-12)
            assert other["curvature"] == pytest.approx(shown.surface.largest_curvature, rel=1e-12)
            limit = largest_stable_rate(optimizer, shown.surface.largest_curvature, 0.8)
            assert other["limit"] == (None if limit is None else pytest.approx(limit, rel=1e-12))


def test_its_interpolation_is_that_of_python(page: Any) -> None:
    info = SurfaceInfo("landscape", "Loss", "", ((-2, 2), (-1, 3)), (-1.5, 2.5), 0.02, steps=60, escape=1.0)
    losses = np.random.default_rng(0).uniform(size=(6, 11))
    shown = lk.descent(GridSurface(info, losses), optimizers=list(TITLES), momentum=0.5)
    computed = in_the_page(page, shown)
    for optimizer, path in shown.paths.items():
        assert computed[optimizer]["reason"] == path.reason
        np.testing.assert_allclose(computed[optimizer]["points"], path.points, rtol=1e-9, atol=1e-9)
        assert computed[optimizer]["curvature"] == pytest.approx(shown.surface.largest_curvature, rel=1e-9)


def ends(shown: Any) -> list[str]:
    """The stopping rules that are shown."""
    return [text for text in shown.locator(f"{PLAYER} .lmkit-end").all_inner_texts() if text]


def test_a_page_without_a_kernel_plays(page: Any, tmp_path: Path) -> None:
    page.goto(lk.descent("ravine", lr=0.07, steps=40).save(tmp_path / "p.html").as_uri())
    page.set_viewport_size({"width": 1200, "height": 1000})
    position, code = page.locator(f"{PLAYER} .lmkit-position"), page.locator(f"{PLAYER} code")
    page.wait_for_function(f"() => document.querySelector('{PLAYER} .lmkit-position').innerText === 'step 40 of 40'")
    assert ends(page) == ["all 40 steps taken"]
    # steps, and playing to the end
    page.get_by_role("button", name="reset to step 0").click()
    page.get_by_role("button", name="one step forward").click()
    page.get_by_role("button", name="one step forward").click()
    page.get_by_role("button", name="one step back").click()
    expect(page, position, "step 1 of 40")
    assert ends(page) == []
    page.get_by_label("speed").select_option("100")
    page.get_by_role("button", name="play").click()
    expect(page, position, "step 40 of 40")
    expect(page, page.get_by_role("button", name="play"), "Play")
    # α beyond 2/L = 0.08
    page.get_by_label("learning rate α, as a number").fill("0.1")
    page.keyboard.press("Enter")
    page.wait_for_function(f"() => document.querySelector('{PLAYER} .lmkit-end').dataset.state === 'diverged'")
    assert page.locator(f"{PLAYER} .lmkit-mark.lmkit-over").inner_text().endswith("2/L = 0.080")
    page.get_by_label("learning rate α, as a number").fill("-1")
    page.keyboard.press("Enter")
    expect(page, page.locator(f"{PLAYER} .lmkit-message"), "α: -1 is not in its range.")
    # κ moves the mark; the slider redraws at once
    page.get_by_label("condition κ", exact=True).fill("0")
    page.wait_for_function(f"() => document.querySelector('{PLAYER} .lmkit-mark').innerText.includes('2/L = 2.0')")
    # a start dropped on the map and dragged
    box = page.locator(f"{PLAYER} .lmkit-map canvas").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    dropped = re.search(r"start=\(([^)]+)\)", code.inner_text())
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.3 * box["height"], steps=3)
    page.mouse.up()
    dragged = re.search(r"start=\(([^)]+)\)", code.inner_text())
    assert dropped
    assert dragged
    (x0, y0), (x1, y1) = (map(float, match[1].split(",")) for match in (dropped, dragged))
    assert x0 < 0 < x1
    assert y0 == y1 > 0
    # a second optimizer; the call is that of the page
    page.get_by_role("checkbox", name="Adam", exact=True).check()
    call = code.inner_text()
    assert 'optimizers=["sgd", "adam"]' in call
    assert "steps=40" in call
    again = eval(call, {"lk": lk})
    assert (again.settings.start, again.settings.lr, again.surface.condition) == ((x1, y1), 0.1, 1.0)


def test_a_row_of_the_regression_is_removed(page: Any, tmp_path: Path) -> None:
    page.goto(lk.descent("regression", data=([0, 1, 2], [0, 1, 5])).save(tmp_path / "r.html").as_uri())
    scatter, code = page.locator(f"{PLAYER} .lmkit-scatter canvas"), page.locator(f"{PLAYER} code")
    box = scatter.bounding_box()
    corner = {"x": 44 + (box["width"] - 60) * 1.06 / 1.12 * 2 / 2 - 2, "y": 8 + (box["height"] - 40) * 0.06 / 1.12}
    scatter.click(position=corner)
    expect(page, page.locator(f"{PLAYER} .lmkit-message"), "Row removed; click it again to put it back.")
    assert code.inner_text().endswith("# without rows 2")
    assert page.evaluate("() => 1") == 1
    # two rows remain and lie on y = x; a third cannot go
    scatter.click(position={"x": 44 + (box["width"] - 60) * 0.06 / 1.12, "y": 8 + (box["height"] - 40) * 1.06 / 1.12})
    expect(
        page, page.locator(f"{PLAYER} .lmkit-message"), "The row stays: the remaining rows would not determine a line."
    )
    scatter.click(position=corner)
    expect(page, page.locator(f"{PLAYER} .lmkit-message"), "Row put back.")


def expect(page: Any, locator: Any, text: str) -> None:
    """Wait until an element has this text."""
    page.wait_for_timeout(50)
    for _ in range(100):
        if locator.inner_text() == text:
            return
        page.wait_for_timeout(50)
    assert locator.inner_text() == text


def test_in_jupyterlab(notebook: Any) -> None:
    shown = notebook(
        "import lmkit as lk\nlk.descent('saddle', optimizers=['sgd', 'momentum'])", width=1600, height=1300
    )
    shown.run(0)
    shown.page.locator(PLAYER).wait_for()
    # the picture lies behind the player, and in the saved notebook
    shown.wait_until(lambda: shown.output(0).locator("img").count() == 1, "there is a picture")
    shown.wait_until(lambda: not shown.output(0).locator("img").is_visible(), "it lies behind the player")
    player, picture = (o.data for o in shown.save().cells[0].outputs)
    assert "SGD: J 2.25" in player["text/plain"]
    assert set(picture) == {"image/png", "text/plain"}
    # the player works without its kernel
    shown.page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    shown.page.locator(f"{PLAYER} .lmkit-chip", has_text="Ravine").click()
    shown.page.get_by_role("button", name="reset to step 0").click()
    shown.page.get_by_role("button", name="play").click()
    shown.wait_until(lambda: "step 0" not in shown.page.locator(".lmkit-position").inner_text(), "it plays")
    for width in (1600, 700):
        shown.page.set_viewport_size({"width": width, "height": 1300})
        for theme in ("Light", "Dark"):
            shown.theme(f"JupyterLab {theme}")
            shown.page.locator(PLAYER).scroll_into_view_if_needed()
            if folder := os.environ.get("LMKIT_SHOTS"):
                shown.page.wait_for_timeout(500)
                shown.page.screenshot(path=Path(folder) / f"descent-{theme.lower()}-{width}.png")
            assert shown.page.locator(PLAYER).evaluate("d => d.scrollWidth - d.clientWidth") <= 0
    shown.theme("JupyterLab Light")
