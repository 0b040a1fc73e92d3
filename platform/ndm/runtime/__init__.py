"""Where Ray is: sessions, training workers, scoring tasks and their progress.

Ray reads some settings once, when it is imported, so they are made here, before any module of this package imports it.
"""

import os

os.environ["RAY_AUTH_MODE"] = "token"

for _key, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
    # On a busy machine a process takes minutes to import what it needs; one that is given up is only started again.
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_agent_register_timeout_ms": "600000",
    # Each is a process or an import more before the first step, for a dashboard and a node drain that are not here.
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}.items():
    os.environ.setdefault(_key, _value)
