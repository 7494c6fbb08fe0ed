"""The mixture: verified solutions, each once, none from a benchmark, in the proportions that a config asks for."""
