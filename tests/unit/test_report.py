"""A report is one page that needs nothing else, and says what the run's records say."""

import shlex
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from analysis import figures, report
from analysis.figures import Wanted
from analysis.picture import Picture, canvas
from analysis.run import Run, read
from commands import refusal
from tiny_run import POSITION, SMALL, tiny_run

from ndm import presets
from ndm.data.shards import read_rows
from ndm.errors import UserError
from ndm.evaluation import score
from ndm.likelihood.estimators import estimator

VOID = {"meta", "img"}
ENVIRONMENT = {"git.commit": "0123456789", "machine": "Linux x86_64", "version.torch": "2.9.0", "mlflow.runName": "no"}
MISSING = "The run has no curves: train it with monitor.log_every=640."


class Page(HTMLParser):
    """A page whose elements all end where they should."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self.open and self.open[-1] != "style" else ""

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]


def scored(root: Path, *overrides: str, trained: int = 7) -> Run:
    """A run whose test images were scored, and which has ended."""
    run = tiny_run(root, "digits-tiny", *SMALL, *overrides, trained=trained)
    images, asked = 30, estimator("elbo_cont_k2", run.model.objective, draws=2, tolerance=1e-4)
    raw = run.model._stored(read_rows(run.data, run.manifest, "test", 0, images).raw, "images")
    table = score.score(run.model.objective, raw, 0, asked, seed=1, batch=images)
    data = {"name": run.manifest.name, "version": run.manifest.version, "hash": run.manifest.hash}
    made = {"estimator": asked.name, **asked.about(), "split": "test", "seed": 1, "images": images, "draws": 2}
    made |= {"dimensions": 64, "experiment": run.experiment.digest(), "examples_seen": POSITION, "data": data}
    made |= {"seconds_per_image": 0.01}
    score.write(table, run.folder.likelihood / "test-elbo_cont_k2.parquet", made)
    took = {"examples": POSITION, "seconds": 100.0, "examples_per_second": 128.0, "workers": "1"}
    likelihood = {"scores": [made | score.summary(table, 64, 1)], "gaps": []}
    run.folder.write("results", {"run": run.name, **took, "likelihood": likelihood})
    return Run(run.folder, run.experiment)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    root = tmp_path_factory.mktemp("runs")
    return [scored(root), scored(root, "seed=1", trained=8)]


def drawn() -> Picture:
    figure, axes = canvas()
    axes[0, 0].plot([0, 1])
    return Picture("a-line", figure, "A line, drawn < by hand.")


def missing() -> Picture:
    raise UserError(MISSING)


@pytest.fixture
def page(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Page]:
    """The page of these runs with three figures and one that does not apply."""
    wanted = [Wanted("a_line", drawn, False), Wanted("curves", missing, False), Wanted("none", lambda: None, False)]
    wanted.append(Wanted("slow_one", missing, True))
    monkeypatch.setattr(figures, "of", lambda runs: wanted)

    def make(*of: Run) -> Page:
        told: list[tuple[str, int, int]] = []
        found = report.write(of, ENVIRONMENT, lambda *now: told.append(now), quick=True)
        assert [done for _, done, _ in told] == [0, 1, 2, 3, 4]
        assert [file.name for file in found.figures] == ["a-line.png", "a-line.svg"]
        assert found.left_out == [f"Curves: {MISSING}", "Slow one: it is computed anew, and --quick leaves that out."]
        assert found.page == of[0].folder.path / "report.html"
        return Page(found.page.read_text())

    return make


def test_the_page_needs_nothing_else(page: Callable[..., Page], runs: list[Run]) -> None:
    found = page(*runs)
    references = [a[key] or "" for _, a in found.elements for key in ("src", "href") if key in a]
    assert references
    assert all(reference.startswith(("data:image/png;base64,", "#")) for reference in references)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in found.elements}
    assert "url(" not in runs[0].folder.path.joinpath("report.html").read_text()


def test_every_figure_has_an_alternative_and_a_caption(page: Callable[..., Page], runs: list[Run]) -> None:
    found = page(runs[0])
    assert [image["alt"] for image in found.of("img")] == ["A line"]
    assert len(found.of("figcaption")) == len(found.of("figure"))
    assert "A line, drawn < by hand." in found.text
    assert MISSING in found.text


def test_the_numbers_are_those_of_the_results(page: Callable[..., Page], runs: list[Run]) -> None:
    found, ended = page(*runs), runs[0].results["likelihood"]["scores"][0]
    assert f"{ended['bits_per_dim']['value']:.4f} ± {ended['bits_per_dim']['error']:.4f}" in found.text
    for part in ("prior", "reconstruction", "diffusion"):
        assert f"{part} {ended[part]['value']:.4f}" in found.text
    difference = (runs[1].scores[0].bits - runs[0].scores[0].bits).mean()
    assert f"less {runs[0].name}, on the same images and noise: {difference:+.4f} ± " in found.text
    assert f"Paired differences to {runs[0].name}" in found.text


def test_it_says_how_the_run_was_made(page: Callable[..., Page], runs: list[Run]) -> None:
    found = page(runs[1])
    assert runs[1].manifest.hash in found.text
    assert "0123456789" in found.text
    assert "mlflow.runName" not in found.text
    assert "test 180, train 1,437, validation 180" in found.text
    command = next(line for line in found.text.splitlines() if line.startswith("ndm train "))
    assert command.startswith("ndm train digits-tiny ")
    assert "seed=1" in command.split()


def test_the_command_makes_the_same_experiment(page: Callable[..., Page], runs: list[Run]) -> None:
    line = next(line for line in page(runs[1]).text.splitlines() if line.startswith("ndm train "))
    _, _, preset, *overrides = shlex.split(line)
    assert presets.load(preset, overrides).digest() == runs[1].experiment.digest()


@pytest.mark.parametrize("name", ["figures", "report.html"])
def test_what_is_in_its_way_is_named(runs: list[Run], monkeypatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setattr(figures, "of", lambda runs: [Wanted("a_line", drawn, False)])
    run = read(tmp_path, shutil.copytree(runs[0].folder.path, tmp_path / runs[0].name).name)
    place = run.folder.path / name
    shutil.rmtree(run.folder.path / "figures", ignore_errors=True)
    (run.folder.path / "report.html").unlink(missing_ok=True)
    place.touch() if name == "figures" else place.mkdir()
    with pytest.raises(UserError) as caught:
        report.write([run], ENVIRONMENT, lambda *_: None)
    assert str(caught.value).startswith(f"The report cannot be written ({place}: ")


def test_what_there_is_none_of_is_a_sentence(runs: list[Run], tmp_path: Path) -> None:
    root = runs[0].folder.path.parent
    assert "There is no run digits-tin: did you mean digits-tiny" in refusal(
        tmp_path, "report", "digits-tin", f"root={root}"
    )
