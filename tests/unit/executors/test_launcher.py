"""A cluster that cannot train a run is named before the run exists."""

from __future__ import annotations

import socket

import pytest

import lmkit as lk
from lmkit.backends.placement import check_placement
from lmkit.exceptions import ConfigError, MissingPackage
from lmkit.executors import check_launcher
from lmkit.system import optional


@pytest.mark.parametrize("launcher", ["ray", "ray://", "ray://host", "ray://a b:1", "dask://h:1", "ray://h:123456"])
def test_another_launcher_is_refused(launcher: str) -> None:
    with pytest.raises(ConfigError, match=r"training.launcher: given .*, expected auto, ray://HOST:PORT or ray://auto"):
        lk.Experiment(training={"launcher": launcher})  # type: ignore[arg-type]


def experiment(**training: object) -> lk.Experiment:
    return lk.Experiment.from_dict({"data": "wine", "training": training})


def test_a_cluster_that_does_not_answer_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"training.launcher: 'ray://127.0.0.1:{port}' does not answer .*ray start"):
        check_launcher(experiment(launcher=f"ray://127.0.0.1:{port}"))


def test_ray_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "is_installed", lambda _: False)
    with pytest.raises(MissingPackage, match=r"training.launcher: ray:// needs ray, .*jupyter-lmkit\[ray\]"):
        check_launcher(experiment(launcher="ray://127.0.0.1:10001"))


def test_a_run_on_a_cluster_is_not_trained_in_this_process() -> None:
    with pytest.raises(ConfigError, match=r"training\.launcher: given ray://h:1 with inline=True"):
        lk.train(experiment(launcher="ray://h:1"), inline=True)


def test_a_cluster_may_have_more_devices_than_this_machine() -> None:
    check_placement(experiment(launcher="ray://h:1", devices=30, device="cuda"))
    with pytest.raises(ConfigError, match="devices: given 40, more than the 32 rows of a batch"):
        check_placement(experiment(launcher="ray://h:1", devices=40))
    with pytest.raises(ConfigError, match="a strategy of tensorflow"):
        check_placement(experiment(launcher="ray://h:1", devices=2, strategy="multiworker"))


def test_one_machine_is_asked_nothing() -> None:
    check_launcher(experiment())
