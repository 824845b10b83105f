"""The configurator in a real JupyterLab: what a person does with it, and what she sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lmkit as lk
from lmkit import Experiment
from lmkit.runfolder.find import run_folders
from lmkit.runfolder.folder import RunFolder

OPEN = "import lmkit as lk\nform = lk.configure()\nform"
WIDE = {"width": 1600, "height": 1300}


IMPORTED = "import json, sys\nprint(json.dumps([m for m in ('torch', 'tensorflow') if m in sys.modules]))"
PROBLEMS = "import json\nprint(json.dumps([form.experiment.training.optimizer.lr, list(form.problems)]))"


@pytest.fixture(scope="module")
def shared_page(lasting_notebook: Any) -> Any:
    return lasting_notebook(OPEN, IMPORTED, PROBLEMS, **WIDE)


@pytest.fixture
def page(shared_page: Any) -> Any:
    """A notebook whose first cell shows a new form that has read its data."""
    shared_page.page.set_viewport_size(WIDE)
    shared_page.run(0)
    shared_page.wait_for("341 training")
    return shared_page


def said(notebook: Any, index: int) -> Any:
    """What the cell prints as JSON, once it has run."""
    notebook.run(index)
    return json.loads(notebook.output(index).inner_text().split("]:", 1)[-1])


def problem(form: Any, label: str) -> Any:
    """The problem that is told beside a field."""
    return form.locator(".lkc-row", has=form.page.get_by_label(label, exact=True)).locator(".lkc-problem")


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_fill_the_form_and_train(page: Any, framework: str) -> None:
    known = {f.path for f in run_folders(page.runs)}
    form = page.output(0)
    form.get_by_role("button", name=framework, exact=True).click()
    form.get_by_label("source").select_option("wine (178 × 13, multiclass)")
    form.get_by_label("hidden").fill("12, 6")
    form.get_by_label("epochs").fill("4")
    form.get_by_label("optimizer").select_option("adam")
    form.get_by_label("momentum").wait_for(state="detached")
    form.get_by_label("learning rate").fill("0.02")
    page.wait_for("classification into 3 classes")
    page.wait_for("Ready to train.")
    form.get_by_role("button", name="Train", exact=True).click()

    def mine() -> list[RunFolder]:
        return [f for f in run_folders(page.runs) if f.path not in known]

    page.wait_until(mine, "a run has begun")
    page.wait_until(lambda: mine()[0].status().state == "completed", "the run is complete", seconds=120)
    page.wait_for(mine()[0].name)
    assert len(mine()) == 1
    wanted = Experiment(
        framework=framework,
        data="wine",
        model={"hidden": [12, 6]},
        training={"epochs": 4, "optimizer": {"name": "adam", "lr": 0.02}},
    )
    assert mine()[0].experiment.to_dict() == wanted.to_dict()
    assert said(page, 1) == []  # the kernel needed no framework


@pytest.mark.usefixtures("ended")
def test_vary_a_field_and_sweep(page: Any) -> None:
    form = page.output(0)
    form.get_by_label("epochs").fill("2")
    form.get_by_role("button", name="Set up a sweep").click()
    path, values = form.get_by_placeholder("a field, e.g. lr"), form.get_by_placeholder("0.1,0.01 or")
    path.first.fill("lr")
    values.first.fill("0.1,-1")
    page.wait_for("given -1, expected a number greater than 0")
    values.first.fill("0.1,0.01")
    page.wait_for("2 trials, to minimize val_loss.")
    assert path.count() == 2, "there is room for another field"
    form.get_by_label("sweep name").fill("from-the-form")
    page.wait_for('name="from-the-form"')
    form.get_by_role("button", name="Sweep", exact=True).click()
    form.locator(".lmkit-sweep").wait_for()
    made = lk.attach_sweep("from-the-form", runs=page.runs)
    page.wait_until(lambda: made.state == "completed", "both trials have completed", seconds=120)
    assert [t.parameters for t in made.trials] == [{"lr": 0.1}, {"lr": 0.01}]


def test_errors_are_told_in_place_while_typing(page: Any) -> None:
    form, train = page.output(0), page.output(0).get_by_role("button", name="Train", exact=True)
    below = form.locator(".lkc-actions")
    place = below.bounding_box()

    form.get_by_label("learning rate").fill("")
    form.get_by_label("learning rate").press_sequentially("-0.5", delay=30)
    problem(form, "learning rate").get_by_text("given -0.5, expected a number greater than 0").wait_for()
    assert train.is_disabled()
    assert below.bounding_box() == place  # nothing has jumped
    assert said(page, 2) == [0.001, ["training.optimizer.lr: given -0.5, expected a number greater than 0"]]

    form.get_by_label("learning rate").fill("0.5")
    page.wait_until(lambda: not problem(form, "learning rate").count(), "the message is gone")
    page.wait_until(train.is_enabled, "it can be trained again")

    form.get_by_label("loss", exact=True).select_option("mean_squared_error")  # right in itself, but not for this data
    page.wait_until(lambda: problem(form, "loss").count(), "the message shows")
    assert "for a binary target" in problem(form, "loss").inner_text()
    form.get_by_label("loss", exact=True).select_option("auto")

    form.get_by_label("validation").fill("0.9")
    page.wait_for("validation (0.9) and test (0.2) leave nothing to train on")
    assert said(page, 2)[0] == 0.5


def test_parts_appear_and_vanish_and_are_explained(page: Any) -> None:
    form = page.output(0)
    assert not form.get_by_label("momentum").count()
    form.get_by_label("optimizer").select_option("sgd")
    form.get_by_label("momentum").wait_for()
    form.get_by_label("optimizer").select_option("adamw")
    form.get_by_label("momentum").wait_for(state="detached")
    assert form.get_by_label("weight decay").is_visible()
    assert form.get_by_label("patience").is_visible()
    form.get_by_label("early stopping").uncheck()
    form.get_by_label("patience").wait_for(state="detached")
    form.get_by_label("early stopping").check()
    form.get_by_label("patience").wait_for()
    form.get_by_label("target", exact=True).wait_for(state="hidden")
    form.get_by_label("source").select_option("file…")
    form.get_by_label("target", exact=True).wait_for(state="visible")
    page.wait_for("enter the path of a file that ends in .csv")
    form.get_by_label("file", exact=True).fill("nowhere.csv")
    page.wait_for("no file 'nowhere.csv'")

    assert form.get_by_label("seed").is_hidden()
    form.get_by_role("button", name="More options (seed").focus()
    page.page.keyboard.press("Enter")  # the fold opens without a mouse
    form.get_by_label("seed").wait_for(state="visible")
    page.page.keyboard.press("Tab")
    assert form.get_by_label("seed").evaluate("e => e === document.activeElement")
    text = page.page.get_by_text("Decides the split, the first weights and the order of the data.")
    page.wait_until(lambda: text.evaluate("e => getComputedStyle(e).opacity") == "1", "the text shows at the focus")
    form.get_by_label("epochs").hover()
    text = page.page.get_by_text("Passes over the training part, at most")
    page.wait_until(lambda: text.evaluate("e => getComputedStyle(e).opacity") == "1", "the text shows under the mouse")


def test_keys_typed_in_the_form_stay_there(page: Any) -> None:
    form = page.output(0)
    source = form.get_by_label("source")
    page.page.wait_for_selector(".lmkit-configurator[data-lm-suppress-shortcuts]")
    for control in (
        source,
        form.get_by_label("early stopping"),
        form.get_by_role("button", name="tensorflow", exact=True),
    ):
        control.focus()
        for key in ("a", "b", "m", "x", "d", "d"):  # shortcuts that insert, convert, cut and delete a cell
            page.page.keyboard.press(key)
    assert page.page.locator(".jp-Notebook .jp-Cell").count() == 3
    assert page.page.locator(".jp-Notebook .jp-CodeCell").count() == 3
    source.focus()
    page.page.keyboard.type("dig")
    page.wait_for("classification into 10 classes")


def test_code_is_copied_and_files_are_saved_and_loaded(page: Any) -> None:
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    form = page.output(0)
    form.get_by_label("preset").select_option("mlp:small")
    form.get_by_label("schedule").select_option("step")
    form.get_by_label("every", exact=True).fill("3")
    expected = Experiment(model="mlp:small", training={"schedule": {"name": "step", "every": 3}})
    page.wait_for('"every": 3')

    copied = {}
    for name in ("YAML", "Magic", "Python"):
        form.get_by_role("button", name=name, exact=True).click()
        form.get_by_role("button", name=f"Copy the {name} code").click()
        page.wait_for("Copied")
        copied[name] = page.page.evaluate("() => navigator.clipboard.readText()")
    assert Experiment.from_yaml(copied["YAML"]) == expected
    first, _, body = copied["Magic"].partition("\n")
    assert first == "%%lmkit train"
    assert Experiment.from_yaml(body) == expected
    made: dict[str, Any] = {}
    exec(copied["Python"].split("run = ")[0], made)
    assert made["experiment"] == expected

    file = form.get_by_placeholder("experiment.yaml")
    file.fill("mine.yaml")
    form.get_by_role("button", name="Save").click()
    page.wait_for("Saved to mine.yaml")
    assert Experiment.load(Path(page.lab.root) / "mine.yaml") == expected
    Experiment(data="digits", framework="tensorflow").save(Path(page.lab.root) / "other.yaml")
    file.fill("other.yaml")
    form.get_by_role("button", name="Load").click()
    page.wait_for("classification into 10 classes")
    assert form.locator(".lkc-samples").is_visible()  # digits are shown as the pictures that they are
    assert form.get_by_label("hidden").input_value() == "128, 128"
    file.fill("nowhere.yaml")
    form.get_by_role("button", name="Load").click()
    page.wait_for("no file 'nowhere.yaml'")


CONTRAST = """() => {
  const root = document.querySelector('.lmkit-configurator');
  const rgb = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = colour => { const [r, g, b] = rgb(colour).map(v => v / 255).map(
    v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const paper = light(getComputedStyle(root).backgroundColor);
  const found = {};
  for (const name of ['lkc-title', 'lkc-unit', 'lkc-problem', 'lkc-soft', 'lke-label', 'lkc-facts'])
    for (const e of root.querySelectorAll('.' + name)) {
      const ink = light(getComputedStyle(e).color);
      found[name] = Math.min(found[name] ?? 21, (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05));
    }
  return found;
}"""


def test_it_fits_and_can_be_read_in_both_themes(page: Any) -> None:
    page.command("application:toggle-left-area")
    page.output(0).get_by_label("epochs").fill("none")
    page.wait_until(lambda: problem(page.output(0), "epochs").count(), "the message shows")
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        page.theme(theme)
        for width in (700, 1600):
            page.page.set_viewport_size({"width": width, "height": 1300})
            page.page.wait_for_timeout(200)
            cut = page.page.evaluate(
                """() => [document.querySelector('.lmkit-configurator'), ...document.querySelectorAll(
                    '.lmkit-configurator .lkc-row, .lmkit-configurator .lkc-side, .lmkit-configurator .lkc-actions')]
                    .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 60))"""
            )
            assert cut == [], f"{theme}, {width} px"
        contrast = page.page.evaluate(CONTRAST)
        assert len(contrast) == 6
        assert min(contrast.values()) >= 4.5, (theme, contrast)  # WCAG 2, level AA
