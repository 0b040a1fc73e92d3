"""The data set of a run, as MLflow's "Datasets used" shows it: its name, its hash and its place; no data."""

import warnings

from ndm.tracking.client import connect, explained


def log_dataset(uri: str, run_id: str, *, name: str, digest: str, source: str, context: str = "training") -> None:
    """Notes that run `run_id` used a data set. Repeating it changes nothing.

    Args:
        uri: the tracking server.
        name: of the data set, e.g. "cifar10/train".
        digest: the hash of its manifest; MLflow keeps the first 36 characters.
        source: its place, e.g. "s3://bucket/prefix" or a path.
        context: what it was used for, e.g. "training", "evaluation".

    Raises:
        UserError: the server cannot be reached or refuses.
    """
    client = connect(uri)
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "can be interpreted in multiple ways"
        data = MetaDataset(resolve_dataset_source(source), name=name, digest=digest[:36]).to_dict()
    entity = Dataset(data["name"], data["digest"], data["source_type"], data["source"])
    with explained(uri):
        client.log_inputs(run_id, [DatasetInput(entity, [InputTag(MLFLOW_DATASET_CONTEXT, context)])])
