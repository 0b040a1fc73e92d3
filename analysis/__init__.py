"""What is read from finished runs: comparisons, figures, reports. It knows of files and models, nothing of Ray."""
