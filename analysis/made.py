"""How a run was made: its configuration, the machine and the code, its data, and the commands that make it again."""

from collections.abc import Mapping

from analysis.run import Run
from analysis.table import Table
from ndm import notation, registry
from ndm.evaluation import again

ORDER = ("git.commit", "git.dirty", "git.diff", "machine", "cpus", "gpus", "workers")


def changed(run: Run) -> Table | None:
    """What differs from the preset that the run was made from; None where it is of no preset."""
    here, there = again.settings(run.experiment), again.of_preset(run.experiment)
    if there is None:
        return None
    rows = [
        [key, *(notation.typed(keys[key]) if key in keys else "" for keys in (there, here))]
        for key in sorted(here.keys() | there.keys())
        if here.get(key, ...) != there.get(key, ...)
    ]
    notes = ["All other keys are the preset's. A cell is empty where there is no such key."]
    columns = ["key", f"preset {run.experiment.name}", "this run"]
    return Table("Differences from the preset", columns, rows, notes)


def settings(run: Run) -> Table:
    """All keys of the experiment, but those that tell of the machine."""
    rows = [[key, notation.typed(value)] for key, value in again.settings(run.experiment).items()]
    return Table("All keys", ["key", "value"], rows)


def environment(tags: Mapping[str, str]) -> Table | None:
    """What the result depends on besides: code, versions, machine; None where it is not known."""
    known = [key for key in ORDER if key in tags] + sorted(key for key in tags if key.startswith("version."))
    rows = [[key.removeprefix("version."), tags[key]] for key in known]
    notes = ["Of the training, as it was recorded when it began or last went on."]
    return Table("Environment", ["what", "value"], rows, notes) if rows else None


def data(run: Run) -> Table:
    """The data card. UserError if the data are not prepared here."""
    manifest, kind = run.manifest, run.experiment.data.kind
    about = registry.variant("ndm.data.sources", kind).__doc__ or ""
    values = f"{manifest.levels} levels, 0 to {manifest.levels - 1}" if manifest.levels else "continuous"
    splits = ", ".join(f"{split} {manifest.rows(split):,}" for split in manifest.splits)
    rows = [
        ["name and version", f"{manifest.name} {manifest.version}"],
        ["hash of the content", manifest.hash],
        ["source", f"{kind}: {about.strip().partition(chr(10))[0]}"],
        ["shape of an example", " × ".join(map(str, manifest.shape))],
        ["values", f"{values}, stored as {manifest.dtype}"],
        ["examples", splits],
        ["classes", str(manifest.labels)],
        ["preparation", f"version {manifest.preparation}, rows shuffled by seed {manifest.row_seed}"],
        ["size", f"{manifest.bytes / 1e6:,.2f} MB in {sum(map(len, manifest.splits.values()))} files"],
    ]
    notes = ["Equal hashes are equal examples in equal order; numbers are compared on equal hashes alone."]
    return Table("Data card", ["what", "value"], rows, notes)


def commands(run: Run) -> list[str]:
    """What makes the same training anew, and scores it the same."""
    ended = run.results.get("likelihood", {}).get("scores", [])
    known = {(made["estimator"], again.recipe(made)) for made in ended}
    more = [s.made for s in run.scores if (s.estimator, again.recipe(s.made)) not in known]
    train = again.training(run.experiment, run.name)
    return [train, *again.scoring(run.name, run.experiment, more), f"ndm report {run.name}"]
