"""How long bounds take, against ordinary training and against other libraries: `python -m benchmarks.run all`."""
