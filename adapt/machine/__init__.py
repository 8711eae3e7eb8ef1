"""Where a command runs: device and precision, signals, processes of one run, workers beside it."""
