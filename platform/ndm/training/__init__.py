"""Training on one process group: state, step, loop, averaged weights, checkpoints. No Ray and no MLflow in here."""
