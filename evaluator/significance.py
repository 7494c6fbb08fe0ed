"""Is it better, and how sure is that? Intervals and tests over problems, whatever the number of samples of each.

A problem is the unit: samples of one problem are not independent, and counted as if they were, two equally good models
differ "significantly" in half of all comparisons. Each function takes one number a problem. What is measured here:
how often an interval holds the truth, and how often a test finds a difference where there is none
(`python -m bench.significance`; figures in docs/log.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_Z95 = 1.959963984540054
# Differences of shares are counted in steps of one in so many, where the samples do not ask for finer ones.
_FINEST = 256


def wilson(correct: float, samples: float) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, JASA 22, 1927); (0, 1) where nothing was measured.

    `samples` may be a number of independent samples that would be worth as much as those that were taken.
    """
    if samples == 0:
        return 0.0, 1.0
    share, square = correct / samples, _Z95 * _Z95
    middle = (share + square / (2 * samples)) / (1 + square / samples)
    half = _Z95 / (1 + square / samples) * math.sqrt(share * (1 - share) / samples + square / (4 * samples * samples))
    return max(0.0, middle - half), min(1.0, middle + half)


def share_interval(shares: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of `shares`, one a problem, each from 0 to 1; (0, 1) where there is none.

    Wilson's at as many independent problems as these are worth: n p(1-p) / variance of the shares. The variance is
    that of the shares with one problem all right and one all wrong added. Without those two it is 0 where all is wrong
    or all is right, and far too small where few problems have a right sample: of 30 problems with 16 samples each
    such an interval held the truth in 85 of 100 trials. With one sample a problem this is Wilson's interval as it is.
    """
    n = len(shares)
    if n == 0:
        return 0.0, 1.0
    values = np.append(shares, (1.0, 0.0))
    middle = values.mean()
    worth = n * middle * (1 - middle) / values.var()
    return wilson(float(np.mean(shares)) * worth, worth)


def difference_interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of `differences`, one a problem, each from -1 to 1; (-1, 1) where there is none.

    With one sample a problem it is Bonett and Price's for paired shares (J. Educ. Behav. Stat. 37, 2012): the normal
    one after one problem won and one lost are added. It does not shrink to nothing where no problem differs. With few
    problems it is a little too wide, and may hold 0 where `sign_flip`, which is exact, gives p < 0.05.
    """
    if len(differences) == 0:
        return -1.0, 1.0
    values = np.append(differences, (1.0, -1.0))
    half = _Z95 * values.std() / math.sqrt(len(values))
    return max(-1.0, float(values.mean() - half)), min(1.0, float(values.mean() + half))


def sign_flip(differences: Sequence[float], steps: int = 1) -> float:
    """The two-sided p of a paired permutation test over problems: the exact chance of a mean at least as far from 0.

    If neither of two models is better, each problem's difference could as well have had the other sign: all 2^n
    combinations are counted, not sampled. Differences are multiples of 1 / `steps`; with one sample a problem this is
    McNemar's exact test. Beyond 256 steps they are rounded to 256, which leaves the test exact: rounding does not
    look at the sign.
    """
    steps = min(steps, _FINEST)
    whole = np.rint(np.asarray(differences, dtype=float) * steps).astype(np.int64)
    sizes = np.abs(whole[whole != 0])
    if not len(sizes):
        return 1.0
    unit = int(np.gcd.reduce(sizes))
    sizes, observed = np.sort(sizes // unit), abs(int(whole.sum())) // unit
    total = int(sizes.sum())
    # The chance that the problems with a positive sign have the sum s, for each s; the mean is (2 s - total) / n.
    chances, reached = np.zeros(total + 1), 0
    chances[0] = 1.0
    for size in sizes.tolist():
        longer = chances[: reached + size + 1] * 0.5
        longer[size:] += chances[: reached + 1] * 0.5
        reached += size
        chances[: reached + 1] = longer
    sums = np.abs(2 * np.arange(total + 1) - total)
    return min(1.0, float(chances[sums >= observed].sum()))


def mcnemar(only_first: int, only_second: int) -> float:
    """McNemar's exact two-sided p (Psychometrika 12, 1947): a fair coin over the problems where the two differ."""
    return sign_flip([1.0] * only_first + [-1.0] * only_second)


def holm(ps: Sequence[float]) -> list[float]:
    """`ps` corrected for how many there are, in their order (Holm, Scand. J. Stat. 6, 1979).

    If none of the differences is real, the chance that any of the corrected is below 0.05 is at most 5 %.
    """
    corrected, least = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = least
    return corrected
