"""From a model to a better one, by its own solutions: expert iteration (`rounds`) and GRPO (`grpo`).

The one package that holds trainer and evaluator together; neither knows of it or of the other.
"""
