"""``lk.descent``: what a notebook shows and saves, what a file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lmkit as lk
from lmkit.surfaces.catalogue import SURFACES


def test_without_widgets_a_picture_and_a_text_are_displayed(
    outputs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMKIT_WIDGETS", "off")
    lk.descent("bowl", steps=5)._ipython_display_()
    (picture,) = [message["data"] for message in outputs]
    assert set(picture) == {"image/png", "text/plain"}
    assert len(picture["image/png"]) < 30_000
    assert picture["text/plain"] == "Gradient descent: Round bowl\nSGD: J 4.16 → 1.451, all 5 steps taken"


def test_with_widgets_the_picture_lies_behind_the_player(
    outputs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMKIT_WIDGETS", "on")
    shown = lk.descent("saddle", steps=5)
    shown._ipython_display_()
    player, picture = [message["data"] for message in outputs]
    assert player["application/vnd.jupyter.widget-view+json"]["model_id"] == shown.widget.view_id
    assert set(picture) == {"image/png", "text/plain"}
    assert [s["name"] for s in shown.widget.settings["surfaces"]] == list(SURFACES)
    json.dumps(shown.widget.settings, allow_nan=False)


def test_files(tmp_path: Path) -> None:
    shown = lk.descent("plateau", steps=5)
    assert shown.save(tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    page = shown.save(str(tmp_path / "p.html")).read_text(encoding="utf-8")
    assert "http" not in page.replace("http://www.w3.org", "")
    assert '"surface": "plateau"' in page
    with pytest.raises(lk.ConfigError, match=r"output: given 'p.gif', expected a file that ends in \.html or \.png"):
        shown.save("p.gif")
