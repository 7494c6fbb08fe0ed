"""Ask a model, run its tools, grade, tabulate: `python -m evaluator`."""
