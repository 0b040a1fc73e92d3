"""The picture of the README shows a run's own values, and what cannot be drawn is told in a sentence."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import front
import numpy as np
import pytest
from analysis.run import Run
from tiny_run import SMALL, tiny_run

from ndm.cli import guarded


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny_run(tmp_path_factory.mktemp("runs"), "digits-tiny", *SMALL, "sampler={kind: ancestral, steps: 2}")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., int]]:
    """The script with these words, which writes elsewhere; its status."""
    on_termination = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(front, "FILE", tmp_path / "front.png")

    def ask(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["front.py", *map(str, words)])
        return guarded(front.main)

    yield ask
    signal.signal(signal.SIGTERM, on_termination)


def test_the_rows_are_of_one_image_and_begin_with_it(digits: Run) -> None:
    made = {name: values.numpy() for name, values in front.rows(digits).items()}
    x = digits.encoded("test", front.IMAGE, front.IMAGE + 1)[0, 0].numpy()
    assert [values.shape for values in made.values()] == [(len(front.TIMES), 8, 8)] * 4
    f, difference, _, _ = made.values()
    np.testing.assert_array_equal(f[0], x)
    np.testing.assert_array_equal(difference, f - x)
    assert np.abs(difference[1:]).max(axis=(1, 2)).min() > 0


def test_the_script_draws_a_run_by_its_folder(digits: Run, asked: Callable[..., int], tmp_path: Path) -> None:
    assert asked(digits.folder.path) == 0
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


def test_what_it_cannot_draw_is_a_sentence(digits: Run, asked: Callable[..., int], tmp_path: Path, capsys) -> None:
    points = tiny_run(tmp_path, "rings-ndm", *SMALL, "data.examples=256")
    for folder, sentence in {
        points.folder.path: f"{points.name} is not of grey images, of which the picture is; name a run on",
        digits.folder.path.with_name("digits"): f"There is no run digits under {digits.folder.path.parent}/: ",
    }.items():
        assert asked(folder) == 2
        said = capsys.readouterr().err
        assert said.startswith(sentence)
        assert said.count("\n") == 1
    with pytest.raises(SystemExit, match=r"^2$"):
        asked()
    assert not (tmp_path / "front.png").exists()
