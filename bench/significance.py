"""How often the intervals hold the truth, and how often the tests find a difference where there is none.

`python -m bench.significance` draws problems with a chance of their own each, samples with these chances, and prints
one JSON line a question: the worst share over all rates and correlations tried. About two minutes on one core.
"""

from __future__ import annotations

import json
from itertools import product

import numpy as np

from evaluator.significance import difference_interval, share_interval, sign_flip

MEANS = (0.02, 0.07, 0.5, 0.93)
ALIKE = (0.0, 0.2, 0.5, 0.9)


def rates(rng: np.random.Generator, mean: float, alike: float, problems: int) -> np.ndarray:
    """The chance of a right sample in each problem; `alike`: the correlation of two samples of one problem."""
    if alike == 0:
        return np.full(problems, mean)
    size = 1 / alike - 1
    return rng.beta(mean * size, (1 - mean) * size, problems)


def shares(rng: np.random.Generator, chances: np.ndarray, samples: int) -> np.ndarray:
    """The share right of each problem in `samples` samples."""
    return rng.binomial(samples, chances) / samples


def coverage(problems: int, samples: int, trials: int) -> dict[str, float]:
    """How often `share_interval` held the true rate, for each rate and correlation."""
    rng = np.random.default_rng([problems, samples])
    found = {}
    for mean, alike in product(MEANS, ALIKE):
        ends = [share_interval(shares(rng, rates(rng, mean, alike, problems), samples)) for _ in range(trials)]
        found[f"rate {mean}, alike {alike}"] = float(np.mean([low <= mean <= high for low, high in ends]))
    return found


def difference_coverage(problems: int, samples: int, trials: int) -> dict[str, float]:
    """The same of `difference_interval`, with two models that are alike and with one better by 5 points."""
    rng = np.random.default_rng([problems, samples, 1])
    found = {}
    for mean, more, alike in product((0.02, 0.5, 0.93), (0.0, 0.05), (0.0, 0.5, 0.9)):
        held = 0
        for _ in range(trials):
            one, two = (shares(rng, rates(rng, m, alike, problems), samples) for m in (mean, mean + more))
            low, high = difference_interval(two - one)
            held += low <= more <= high
        found[f"rate {mean}, better by {more}, alike {alike}"] = held / trials
    return found


def false_alarms(problems: int, samples: int, spread: float, same: bool, trials: int) -> float:
    """How often p < 0.05 without a true difference: of one model twice (`same`), or of two equally good ones."""
    rng = np.random.default_rng([samples, int(10 * spread), same])
    found = 0
    for _ in range(trials):
        one = rng.beta(spread, spread, problems)
        two = one if same else rng.beta(spread, spread, problems)
        found += sign_flip(shares(rng, two, samples) - shares(rng, one, samples), samples) < 0.05
    return found / trials


def lopsided(problems: int, samples: int, mean: float, trials: int) -> tuple[float, float]:
    """One model has the same chance in each problem, the other a few sure ones; equal means.

    How often p < 0.05 (here the signs are no fair coins), and how often the interval leaves out 0 besides.
    """
    rng = np.random.default_rng([problems, samples, 2])
    small = both = 0
    for _ in range(trials):
        one, two = (shares(rng, rates(rng, mean, alike, problems), samples) for alike in (0.0, 0.75))
        low, high = difference_interval(two - one)
        p = sign_flip(two - one, samples)
        small += p < 0.05
        both += p < 0.05 and not low <= 0 <= high
    return small / trials, both / trials


def main() -> None:
    """Print what was found."""
    for problems, samples in product((30, 100, 1319), (1, 4, 16)):
        worst, where = min((held, name) for name, held in coverage(problems, samples, 2000).items())
        print(json.dumps({"interval holds": worst, "problems": problems, "samples": samples, "worst at": where}))
    for problems, samples in product((30, 100, 1319), (1, 4, 16)):
        worst, where = min((held, name) for name, held in difference_coverage(problems, samples, 1000).items())
        print(json.dumps({"difference holds": worst, "problems": problems, "samples": samples, "worst at": where}))
    for samples, spread, same in product((1, 4, 16), (0.4, 2.0), (True, False)):
        found = false_alarms(100, samples, spread, same, 2000)
        print(json.dumps({"p < 0.05": found, "samples": samples, "beta": spread, "same model": same}))
    for problems, mean in product((30, 100), (0.02, 0.07)):
        small, both = lopsided(problems, 16, mean, 2000)
        print(json.dumps({"lopsided": mean, "problems": problems, "p < 0.05": small, "and interval": both}))


if __name__ == "__main__":
    main()
