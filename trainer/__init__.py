"""From a mixture of verified solutions to a checkpoint: `python -m trainer`."""
