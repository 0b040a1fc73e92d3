"""Comparisons of runs: exact numbers, tests against SciPy and tables by hand, and nothing ranked that must not be.

Over 400 lines: all tables are read from one set of runs, with answers worked out by hand.
"""

import csv
import io
import itertools
import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import made_runs
import numpy as np
import pytest
import torch
from analysis import forms, results
from analysis.compare import chosen, compare
from analysis.costs import costs
from analysis.groups import groups
from analysis.quality import quality
from analysis.reading import reading
from analysis.run import Run
from analysis.significance import difference, holm, verdict
from analysis.table import WIDTH, Table
from commands import here, refusal
from scipy import stats

from ndm import cli
from ndm.errors import UserError
from ndm.likelihood.statistics import Mean
from ndm.tracking.spool import Spool

BASE = [1.0, 2.0, 3.0, 4.0]
WORSE = [1.1, 2.3, 3.2, 4.6]
"""BASE and 0.1, 0.3, 0.2, 0.6: a mean of 0.3, a variance of 0.14 / 3."""
BETTER = [0.9, 1.89, 2.91, 3.9]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Run]:
    """Three runs on the same images; two are scored by the ODE as well, one by another bound. Not to be changed."""
    root = tmp_path_factory.mktemp("compare") / "runs"
    return [
        made_runs.run(root, "base", {"elbo_cont_k64": BASE, "ode_tn_k1_h1": WORSE}),
        made_runs.run(root, "worse", {"elbo_cont_k64": WORSE, "elbo_T10": BASE}, "digits-ndm", ["seed=3"]),
        made_runs.run(root, "better", {"elbo_cont_k64": BETTER, "ode_tn_k1_h1": BASE}),
    ]


def titled(tables: list[Table], start: str) -> Table:
    (found,) = (table for table in tables if table.title.startswith(start))
    return found


# The tests


def test_a_difference_is_that_of_the_paired_t_test_by_hand_and_by_scipy() -> None:
    found = difference(torch.tensor(WORSE), torch.tensor(BASE))
    error = math.sqrt(0.14 / 3 / 4)
    assert found.mean == pytest.approx((0.3, error), rel=1e-6)
    assert found.interval == pytest.approx((0.3 - 3.182446 * error, 0.3 + 3.182446 * error), rel=1e-6)  # of t tables
    alone = stats.ttest_1samp(np.array(WORSE) - np.array(BASE), 0)
    assert found.p == pytest.approx(alone.pvalue, rel=1e-5)
    assert found.p == pytest.approx(0.0691, abs=5e-5)


def test_p_is_about_that_of_all_changes_of_sign() -> None:
    values, base = torch.randn(2, 60, generator=torch.Generator().manual_seed(0)).double()
    values = values + 0.2
    found = difference(values, base)
    free = stats.permutation_test(
        (values.numpy(), base.numpy()),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    assert found.p == pytest.approx(free.pvalue, rel=0.1)
    assert 0.02 < found.p < 0.5


def test_a_difference_turned_is_that_of_the_baseline() -> None:
    values, base = torch.tensor(WORSE), torch.tensor(BASE)
    turned, other = difference(values, base).turned, difference(base, values)
    assert (turned.mean, turned.p) == (other.mean, other.p)
    assert turned.interval == pytest.approx(other.interval)


def test_where_no_image_differs_there_is_no_difference_and_where_all_do_alike_there_is() -> None:
    base = torch.tensor(BASE)
    assert difference(base, base) == ((0.0, 0.0), (0.0, 0.0), 1.0)
    assert difference(base + 1, base) == ((1.0, 0.0), (1.0, 1.0), 0.0)


def test_holm_multiplies_the_least_by_all_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02, math.nan, 0.01])[::2] == pytest.approx([0.02, 0.02])
    assert holm([]) == []


def test_holm_errs_in_no_more_than_one_of_twenty_families() -> None:
    """With all hypotheses true, some adjusted p is below 0.05 in 5 % of families, where 23 % would be without."""
    p = np.random.default_rng(0).uniform(size=(4000, 5))
    wrong = np.mean([min(holm(family)) <= 0.05 for family in p.tolist()])
    assert wrong == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 4000))
    assert np.mean(p.min(axis=1) <= 0.05) > 0.2


def test_a_verdict_needs_both_a_sign_and_a_small_p() -> None:
    assert [verdict(Mean(value, 1.0), p) for value, p in ((-1, 0.05), (1, 0.01), (-1, 0.051))] == [
        "lower",
        "higher",
        "unclear",
    ]


# The tables


def test_what_differs_has_the_keys_that_differ_and_no_others(runs: list[Run]) -> None:
    found = compare(runs)[0]
    assert found.columns == ["key", "base", "worse", "better"]
    cells = {row[0]: row[1:] for row in found.rows}
    assert cells["seed"] == ["0", "3", "0"]
    assert cells["transform.kind"] == ["identity", "residual", "identity"]
    assert cells["transform.network.width"] == ["", "256", ""]
    assert all(key.startswith("transform.") for key in cells.keys() - {"seed"})
    same = compare(runs[::2])[0]
    assert same.rows == []
    assert same.notes[0] == "The experiments of these runs agree in every key."


def test_the_ranking_has_the_common_estimator_first_and_no_value_that_was_not_measured(runs: list[Run]) -> None:
    found = titled(compare(runs), "Bits/dim on")
    assert found.columns == ["run", "elbo_cont_k64", "elbo_T10", "ode_tn_k1_h1"]
    assert [row[0] for row in found.rows] == ["better", "base (baseline)", "worse"]
    error = np.std(BASE, ddof=1) / 2
    assert found.rows[1] == [
        "base (baseline)",
        f"2.5000 ± {error:.4f}",
        "",
        f"2.8000 ± {np.std(WORSE, ddof=1) / 2:.4f}",
    ]
    assert "hash of the data dddddddddddd" in found.notes[0]


def test_differences_are_paired_and_corrected_for_the_runs_of_one_estimator(runs: list[Run]) -> None:
    found = titled(compare(runs), "Paired differences to base")
    rows = {(row[0], row[1]): row[2:] for row in found.rows}
    assert rows.keys() == {
        ("elbo_cont_k64", "better"),
        ("elbo_cont_k64", "worse"),
        ("ode_tn_k1_h1", "better"),
    }
    assert rows["elbo_cont_k64", "worse"][:3] == ["+0.3000 ± 0.1080", "-0.0437 to +0.6437", "0.069"]
    p = [stats.ttest_rel(BETTER, BASE).pvalue, stats.ttest_rel(WORSE, BASE).pvalue]
    assert rows["elbo_cont_k64", "better"][2:] == [f"{p[0]:.2g}", f"{2 * p[0]:.2g}", "lower"]
    assert rows["elbo_cont_k64", "worse"][3:] == [f"{p[1]:.2g}", "unclear"]
    alone = stats.ttest_rel(BASE, WORSE).pvalue  # the only comparison by its estimator
    assert rows["ode_tn_k1_h1", "better"][2:4] == [f"{alone:.2g}"] * 2


def test_another_baseline_turns_the_signs(runs: list[Run]) -> None:
    found = titled(compare(runs, baseline="worse"), "Paired differences to worse")
    assert [row[2] for row in found.rows if row[1] == "base"] == ["-0.3000 ± 0.1080"]


def test_parts_and_gaps(runs: list[Run]) -> None:
    tables = compare(runs)
    base = next(row for row in titled(tables, "Parts").rows if row[0].startswith("base"))
    assert base[1:4] == ["elbo_cont_k64", "0.2500 ± 0.0000", "0.5000 ± 0.0000"]
    assert base[4].startswith("1.7500 ± ")
    assert base[5].startswith("2.5000 ± ")
    gaps = {row[0]: row[1:] for row in titled(tables, "Gap").rows}
    assert gaps.keys() == {"base", "better"}
    assert gaps["base"] == [
        *("ode_tn_k1_h1", "elbo_cont_k64", "-0.3000 ± 0.1080", "-0.6437 to +0.0437", "80.0", "1e-05, 2.0e-02")
    ]


def test_runs_of_other_data_never_share_a_table_with_numbers(runs: list[Run], tmp_path: Path) -> None:
    data = made_runs.DIGITS | {"hash": "e" * 64}
    other = made_runs.run(tmp_path / "runs", "other", {"elbo_cont_k64": BASE}, data=data)
    first, *tables = compare([*runs, other])
    assert [
        table for table in tables if {"other", "base"} <= {cell.split()[0] for row in table.rows for cell in row[:2]}
    ] == []
    rankings = [table for table in tables if table.title.startswith("Bits/dim")]
    assert [[row[0] for row in table.rows] for table in rankings] == [
        ["better", "base (baseline)", "worse"],
        ["other (baseline)"],
    ]
    (said,) = (note for note in first.notes if "2 data sets" in note)
    assert "hash dddddddddddd" in said
    assert "hash eeeeeeeeeeee" in said


def test_scores_with_another_seed_or_split_are_named_and_not_paired(runs: list[Run], tmp_path: Path) -> None:
    reseeded = made_runs.run(tmp_path / "runs", "reseeded", {"elbo_cont_k64": WORSE}, seed=2)
    elsewhere = made_runs.run(tmp_path / "runs", "elsewhere", {"elbo_cont_k64": WORSE}, split="validation")
    tables = compare([runs[0], reseeded, elsewhere])
    on_test = titled(tables, "Paired differences to base on the test split")
    assert on_test.rows == []
    assert on_test.notes == [
        "elbo_cont_k64 of reseeded was made with seed=2, that of the baseline with seed=1: not paired."
    ]
    on_validation = titled(tables, "Paired differences to base on the validation split")
    assert on_validation.notes == [
        "base is not scored on the validation split of digits 1, so there is no difference to it."
    ]
    assert [row[0] for row in titled(tables, "Bits/dim on the validation").rows] == ["elsewhere"]


def test_runs_that_are_not_finished_or_scored_are_named(runs: list[Run], tmp_path: Path) -> None:
    begun = made_runs.run(tmp_path / "runs", "begun", {})
    (begun.folder.path / "results.json").unlink()
    first, *tables = compare([*runs, begun])
    assert first.notes[1:] == ["Not finished: begun.", "Not scored, and so in no ranking: begun."]
    assert "begun" not in str(tables)
    with pytest.raises(UserError, match="baseline begun is not scored"):
        compare([*runs, begun], baseline="begun")
    with pytest.raises(UserError, match="The baseline bas is none of the runs: did you mean base"):
        compare(runs, baseline="bas")


def test_samples_are_compared_by_what_was_recorded(tmp_path: Path) -> None:
    run = made_runs.run(tmp_path, "base", {"elbo": BASE})
    spool = Spool(run.folder.path)
    recipe = "samples/heun_eta0.5_nfe40_n1000_train1437"
    spool.results({f"{recipe}/fid_random": 9.0, f"{recipe}/fid_random_se": 1.0})
    spool.results({f"{recipe}/sliced_wasserstein_pixels": 0.125, f"{recipe}/sliced_wasserstein_pixels_se": 0.5})
    spool.results({f"{recipe}/fid_random": 8.0})  # measured again
    spool.close()
    found = quality([run])
    assert found.columns[5:] == ["sliced Wasserstein (pixels)", "FID (random)"]
    row = ["base", "heun_eta0.5", "40", "1000", "1437 train", "0.1250 ± 0.5000", "8.0000 ± 1.0000"]
    assert found.rows == [row]
    spool = Spool(run.folder.path)
    spool.results({f"{recipe}/vendi_random": 3.0, f"{recipe}/vendi_random_se": 0.25})  # of another version of ours
    spool.results({f"{recipe}/entropy": 2.0, f"{recipe}/entropy_se": 0.5})
    spool.results({"samples/by_hand/kid_random": 1.0, "samples/by_hand/kid_random_se": 1.0})  # not by our sampling
    spool.close()
    found = quality([Run(run.folder, run.experiment)])
    assert found.columns[5:] == ["sliced Wasserstein (pixels)", "FID (random)", "entropy", "vendi_random"]
    assert found.rows == [[*row, "2.0000 ± 0.5000", "3.0000 ± 0.2500"]]
    assert "vendi_random" in titled(compare([Run(run.folder, run.experiment)]), "Sample quality").columns


@pytest.mark.parametrize(
    ("results", "hours"),
    [
        ({"seconds": 1800.0}, "1 CPU-h"),
        ({"seconds": 1800.0, "device": "GPU", "workers": "4"}, "2 GPU-h"),
        ({"seconds": 1800.0, "device": None}, "1"),
        ({"workers": "1 to 4"}, ""),
    ],
    ids=str,
)
def test_hours_are_of_what_the_workers_held(tmp_path: Path, results: dict, hours: str) -> None:
    found = costs([made_runs.run(tmp_path, "one", {"elbo": BASE}, results=results)])
    assert dict(zip(found.columns, found.rows[0], strict=True))["worker-hours"] == hours


def test_cost_is_counted_on_the_experiment(runs: list[Run]) -> None:
    found = {row[0]: dict(zip(costs(runs).columns, row, strict=True)) for row in costs(runs).rows}
    assert found["base"]["parameters"] == "435,073"
    assert found["worse"]["parameters"] == f"{435_073 + 312_384:,}"
    assert (found["base"]["x fixed"], found["worse"]["forward"]) == ("1.00", "312,384")
    assert (found["base"]["examples"], found["base"]["examples/s"]) == ("1,000", "20")


# Its forms


def test_no_line_of_a_terminal_is_too_long_and_every_row_keeps_its_name(runs: list[Run]) -> None:
    columns = [f"column {i}" for i in range(30)]
    wide = Table("Wide", ["run", "estimator", *columns], [["a", "b", *map(str, range(30))]], ["word " * 60], keys=2)
    lines = wide.text().splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert sum(line.startswith("run  estimator") for line in lines) == sum(line.startswith("a    b") for line in lines)
    assert re.findall(r"column \d+", wide.text()) == columns
    assert max(len(line) for table in compare(runs) for line in table.text().splitlines()) <= WIDTH


def test_csv_comes_back(runs: list[Run]) -> None:
    tables = compare(runs)
    blocks = forms.csv(tables).split("\n\n")
    assert len(blocks) == len(tables)
    for block, table in zip(blocks, tables, strict=True):
        title, head, *rows = csv.reader(io.StringIO(block))
        assert (title, head, rows) == ([table.title], list(table.columns), [list(row) for row in table.rows])


def test_latex_is_balanced_and_escaped(runs: list[Run]) -> None:
    odd = Table("A 50 % & more", ["a_b", "c#"], [["{1}", "[2, 3]"], ["$x^2$", "a\\b ± ~<"]], ["of_it"])
    for table in (odd, *compare(runs)):
        text = table.latex()
        body = text.partition("\\midrule")[2].partition("\\bottomrule")[0].strip().splitlines()
        assert len(body) == len(table.rows)
        for line in body:
            assert line.endswith(" \\\\")
            assert len(re.findall(r"(?<!\\)&", line)) == len(table.columns) - 1
            assert not line.startswith("[")  # or \\ of the line before would take it for its argument
        plain = re.sub(r"\\[{}]", "", text)
        depths = list(itertools.accumulate((c == "{") - (c == "}") for c in plain))
        assert min(depths) >= 0
        assert depths[-1] == 0
        for character in "%#_":
            assert not re.search(rf"(?<!\\){character}", text)
        assert text.count("\\begin{") == text.count("\\end{") == 2
    assert r"\$x\textasciicircum{}2\$ & a\textbackslash{}b $\pm$ \textasciitilde{}\textless{}" in odd.latex()


class Balanced(HTMLParser):
    """Fails where an element ends that is not the innermost open one."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [] if tag == "meta" else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_well_formed_and_has_every_cell(runs: list[Run]) -> None:
    tables = compare(runs)
    page = forms.page(tables)
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert not re.search(r"(src|href)=", page)
    for table in (*tables, Table("<&", ["<b>", "&amp;"], [["\"'", "</td>"]])):
        tree = ElementTree.fromstring(table.html())
        assert [cell.text for cell in tree.iter("th") if cell.get("scope") == "col"] == list(table.columns)
        rows = [[cell.text or "" for cell in line] for line in tree.iterfind(".//tbody/tr")]
        assert rows == [list(row) for row in table.rows]


def test_markdown_keeps_a_bar_in_its_cell() -> None:
    text = Table("T", ["a|b", "c"], [["1", "2"]], ["one", "two"]).markdown(3)
    assert text == "### T\n\n| a\\|b | c |\n| --- | --- |\n| 1 | 2 |\n\none\n\ntwo\n"


# The command


def said(*words: str) -> str:
    return here(Path.cwd(), "compare", *words).output


def test_the_command_writes_the_form_of_the_files_ending(runs: list[Run], tmp_path: Path) -> None:
    root = f"root={runs[0].folder.path.parent}"
    assert said("base", "worse", root) == forms.text(compare(runs[:2]))
    for ending, form in (("csv", forms.csv), ("tex", forms.latex), ("html", forms.page), ("md", forms.markdown)):
        out = tmp_path / f"out.{ending}"
        assert said("base", "worse", root, "--out", str(out)) == f"Written to {out}\n"
        assert out.read_text() == form(compare(runs[:2]))
    assert said("base", root, "--format", "csv") == forms.csv(compare(runs[:1]))


def test_the_command_takes_runs_by_the_keys_of_their_experiments(runs: list[Run]) -> None:
    root = runs[0].folder.path.parent
    found = said("--filter", "data=digits", "transform=identity", f"root={root}", "--baseline", "better", "--published")
    assert found == forms.text(compare([runs[0], runs[2]], "better", published=True))
    assert "No published number" in found
    assert [run.name for run in chosen(root, ["worse"], ["data=digits"])] == ["worse", "base", "better"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "No scored run under runs/ is named"),
        (("--filter", "seed=9"), "No scored run under runs/ fits seed=9"),
        (("bass",), "There is no run bass under runs/: did you mean base?"),
        (("b" * 300,), f"There is no run {'b' * 80}... under runs/: the runs are base, better, "),
        (("data=digits",), "data=digits is no run: name runs, choose them by their keys with --filter, or bring"),
        (("base", "--out", "a.pdf"), "--out a.pdf is no form of a table: end the file in .csv"),
        (("base", "--format", "pdf"), "--format pdf is no form of a table"),
        (("base", "--out", "no/such/a.csv"), "no/such/a.csv cannot be written: no such file or directory; choose"),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence(runs: list[Run], words, sentence: str) -> None:
    assert refusal(runs[0].folder.path.parents[1], "compare", *words, "root=runs").startswith(sentence)


# What is read from it


def test_the_reading_says_what_the_tests_say(runs: list[Run]) -> None:
    (group,) = groups(runs)
    (split,) = group.splits
    p = [stats.ttest_rel(values, BASE).pvalue for values in (BETTER, WORSE)]
    sentences = reading(split)
    assert sentences[0] == (
        "By `elbo_cont_k64`, against `base`, bits/dim are lower for `better` (-0.1000 ± 0.0041, p = "
        f"{2 * p[0]:.2g}); not seen to differ for `worse` (+0.3000 ± 0.1080, p = {p[1]:.2g}). "
        "p is corrected for 2 comparisons."
    )
    (gap,) = (sentence for sentence in sentences if sentence.startswith("Against the bound `elbo_cont_k64`"))
    assert "not seen to differ for `base` (+0.3000 ± 0.1080, p = 0.069)" in gap
    assert f"higher for `better` ({np.mean(np.subtract(BASE, BETTER)):+.4f} ± " in gap
    assert any(
        sentence.startswith("The compute was not equal") and "`worse` 1.17 times" in sentence for sentence in sentences
    )
    assert not any("one training" in sentence for sentence in sentences)  # base and better are of one preset


def test_the_reading_names_runs_that_two_estimators_put_in_opposite_orders(tmp_path: Path) -> None:
    base, wave = np.linspace(1, 3, 20), 0.01 * np.sin(np.arange(20))
    first = {"elbo_cont_k64": base, "ode_tn_k1_h1": base}
    second = {"elbo_cont_k64": base - 0.1 + wave, "ode_tn_k1_h1": base + 0.2 - wave}
    pair = [made_runs.run(tmp_path, "first", first), made_runs.run(tmp_path, "second", second, "digits-flow")]
    sentences = reading(groups(pair)[0].splits[0])
    assert (
        "The two disagree on `second`: it is below `first` by `elbo_cont_k64`, and above by `ode_tn_k1_h1`."
        in sentences
    )
    assert sentences[-1].startswith("Each model is one training")


def test_the_page_of_results_has_every_finished_run_of_every_root_once(runs: list[Run], tmp_path: Path) -> None:
    made_runs.run(tmp_path / "more", "base", {"elbo_cont_k64": WORSE})
    rings = {"name": "rings", "version": "1-20000", "hash": "f" * 64}
    made_runs.run(tmp_path / "more", "toy", {"elbo_cont_k64": BASE}, "rings-ndm", data=rings)
    page = results.page([runs[0].folder.path.parent, tmp_path / "more"])
    digits, toy = page.split("## digits 1\n")[1].split("## rings 1-20000\n")
    assert "| base | elbo_cont_k64 | 2.5000 ± 0.6455 |" in digits
    assert "| base | ode_tn_k1_h1 | 2.8000 ± " in digits
    assert "- By `elbo_cont_k64`, against `base`, bits/dim are " in digits
    scored = "`ndm evaluate worse estimator=elbo_cont_k64,elbo_T10 split=test evaluation.seed=1`"
    assert f"\n- worse: `ndm train digits-ndm seed=3 run.name=worse`, then {scored}\n" in digits
    assert "Paired" not in toy
    assert "| toy | elbo_cont_k64 | 2.5000 ± 0.6455 |" in toy
    with pytest.raises(UserError, match="no scored run under"):
        results.page([tmp_path / "nothing"])
    with pytest.raises(UserError, match="nothing/, which is no folder; give another as --root"):
        results.page([tmp_path / "more", tmp_path / "nothing"])


def test_the_page_of_results_that_cannot_be_written_is_a_sentence(
    runs: list[Run], tmp_path, monkeypatch, capsys
) -> None:
    root, out = runs[0].folder.path.parent, tmp_path / "results.md"
    for file, status in ((out, 0), (tmp_path / "no" / "results.md", 2), (tmp_path, 2)):
        monkeypatch.setattr("sys.argv", ["results.py", "--root", str(root), "--out", str(file)])
        assert cli.guarded(results.main) == status
    assert out.read_text() == results.page([root])
    captured = capsys.readouterr()
    assert captured.out == f"Written to {out}\n"
    assert captured.err == (
        f"{tmp_path}/no/results.md cannot be written: no such file or directory; choose another --out.\n"
        f"{tmp_path} cannot be written: is a directory; choose another --out.\n"
    )
