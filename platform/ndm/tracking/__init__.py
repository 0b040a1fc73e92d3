"""Runs, metrics, images, artifacts on MLflow. Only this package imports mlflow, and only inside functions.

What a training records goes to a file first (`Spool`); a thread takes it to the server (`Forwarder`), so that
a dead server neither stops the training nor loses a record.
"""

from ndm.tracking.dataset import log_dataset as log_dataset
from ndm.tracking.forward import Forwarder as Forwarder
from ndm.tracking.forward import rewind as rewind
from ndm.tracking.provenance import provenance as provenance
from ndm.tracking.registry import check_name as check_name
from ndm.tracking.registry import register as register
from ndm.tracking.runs import TrackingConfig as TrackingConfig
from ndm.tracking.runs import ensure_run as ensure_run
from ndm.tracking.runs import fingerprint as fingerprint
from ndm.tracking.runs import has_run as has_run
from ndm.tracking.runs import resolve_uri as resolve_uri
from ndm.tracking.runs import tags as tags
from ndm.tracking.server import ui_command as ui_command
from ndm.tracking.spool import Spool as Spool
from ndm.tracking.spool import Status as Status
