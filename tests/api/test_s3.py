"""Checkpoints on a real S3 server: versitygw, which the local cluster offers too."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

import leyden as L
from engine import jobs
from engine.programs import QUIET, SAVING, Regression, loader, same, weights
from leyden.callbacks import ModelCheckpoint
from leyden.checkpoint import store
from leyden.checkpoint.places import place
from leyden.errors import LeydenError
from leyden_cluster.apiserver import free_ports
from leyden_cluster.binaries import binaries

pytestmark = [pytest.mark.api, pytest.mark.xdist_group("s3")]
START_SECONDS = 20.0
REFUSAL_SECONDS = 60.0
"""More than the store's client is patient for."""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A store with one empty bucket named ``bucket``."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / "files/bucket").mkdir(parents=True)
    (found,) = free_ports(1)
    options = (f"--port=127.0.0.1:{found}", "--access=leyden", "--secret=secret")
    with (folder / "log").open("w") as log:
        command = (str(binaries().directory / "versitygw"), *options, "posix", str(folder / "files"))
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _listens(found):
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            yield found
        finally:
            process.terminate()
            process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def login(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user sets for a store of their own."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "leyden")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    _forget_connections()


def _forget_connections() -> None:
    """fsspec keeps file systems, with the keys that they were made with."""
    place("s3://bucket")
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_a_killed_run_goes_on_from_the_store_bit_equal(tmp_path: Path, login: None) -> None:
    whole = jobs.train(str(tmp_path / "whole"))
    broken = jobs.train("s3://bucket/run", kill_after=7)
    resumed = jobs.train("s3://bucket/run")
    assert broken["killed"] and len(resumed["seen"]) < len(whole["seen"])
    assert same(resumed["weights"], whole["weights"]) and resumed["metrics"] == whole["metrics"]


def test_a_damaged_checkpoint_is_passed_over(login: None) -> None:
    jobs.train("s3://bucket/damaged", epochs=1)
    root = place("s3://bucket/damaged")
    newest, before = (stored.step for stored in store.complete(root)[:2])
    file = store.complete(root)[0].file(store.WEIGHTS)
    assert file is not None
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    chosen = store.choose(root)
    assert chosen.stored is not None and chosen.stored.step == before
    assert chosen.skipped[0].startswith(f"step-{newest:012d}: ")
    assert "weights.pt does not have the SHA-256 of its manifest" in chosen.skipped[0]


def test_single_files_are_ranked_dropped_and_loaded(login: None) -> None:
    keeper = ModelCheckpoint("s3://bucket/single", save_last=True)
    module = Regression()
    trainer = L.Trainer(max_epochs=2, callbacks=[keeper], **SAVING)
    trainer.fit(module, loader())
    assert sorted(entry.name for entry in place("s3://bucket/single").iterdir()) == [
        "epoch=1-step=10.ckpt",
        "last.ckpt",
    ]
    for path in (keeper.best_model_path, keeper.last_model_path):
        assert path.startswith("s3://")
        assert same(weights(Regression.load_from_checkpoint(path)), weights(module))
    again = L.Trainer(max_epochs=3, **QUIET)
    again.fit(Regression(), loader(), ckpt_path="s3://bucket/single/last.ckpt")
    assert again.global_step == 15


@pytest.mark.parametrize(
    ("variable", "value", "directory"),
    [
        pytest.param("AWS_SECRET_ACCESS_KEY", "guessed", "s3://bucket/x", id="wrong-key"),
        pytest.param("AWS_REGION", "us-east-1", "s3://none/x", id="no-such-bucket"),
        pytest.param("AWS_ENDPOINT_URL", "http://127.0.0.1:9", "s3://bucket/x", id="nobody-answers"),
    ],
)
def test_a_store_that_cannot_be_used_is_said_before_training(
    login: None, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, directory: str
) -> None:
    monkeypatch.setenv(variable, value)
    _forget_connections()
    began = time.monotonic()
    with pytest.raises(LeydenError) as refused:
        jobs.train(directory)
    assert time.monotonic() - began < REFUSAL_SECONDS
    said = str(refused.value)
    assert said.startswith(f"the checkpoint directory {directory} cannot be written: ") and "\n" not in said, said
