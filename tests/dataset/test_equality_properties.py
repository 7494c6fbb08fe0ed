"""What holds for every answer: it equals itself, near misses of it do not, and nothing raises or hangs."""

from __future__ import annotations

import inspect
import re
import time
from fractions import Fraction

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dataset.answers import extract
from dataset.equality import equivalent
from dataset.grading import lexer, names, normalize, phrases, question_hints, units
from dataset.grading.parser import read
from dataset.types import Problem

COMMON = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
integers = st.integers(-(10**9), 10**9)
fractions = st.builds(Fraction, st.integers(-999, 999).filter(bool), st.integers(2, 99))
PIECES = [
    *"0123456789xyzabijeAB+-*/^_=<>()[]{}|!%$&,.:;'~ ",
    *str.split(
        r"\frac \sqrt \text{ \left( \right) \pi \infty \pm \cup \cap \in \{ \} \begin{pmatrix} \end{pmatrix} \\ \sin "
        r"\log \binom \overline \circ \boxed{ \pmod \not \le \cdot sqrt( Matrix( Interval and or cm dollars"
    ),
    *str.split("元 万 分之 又 个 ² √ ° １ ， \x00 \x01 \ud800 \U0001d7d8 \u0660 base mod to per is 1e999 10**"),
]


def tex(value: Fraction) -> str:
    sign = "-" if value < 0 else ""
    return f"{sign}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


@COMMON
@given(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.sampled_from(["5", "x+1", "(1,2)", "[0,1)", "1,2", "B"]),
)
def test_any_text_is_answered_soon_and_never_raises(text: str, reference: str) -> None:
    start = time.process_time()  # not counted: the second at most that a process apart is waited for
    forward, backward = equivalent(reference, text), equivalent(text, reference)
    assert time.process_time() - start < 2
    assert {forward.correct, backward.correct} <= {True, False, None}
    assert equivalent(text, text).correct is bool(text.strip())


@COMMON
@given(st.text(max_size=300))
def test_extraction_takes_any_text(text: str) -> None:
    problem = Problem(id="p", source="s", language="en", question=text, answer=None)
    for given_text in (text, f"\\boxed{{{text}", f"The answer is {text}", f"```output\n{text}"):
        found = extract(given_text, problem)
        assert found is None or found.strip()


@COMMON
@given(integers)
def test_every_form_of_an_integer_is_that_integer(value: int) -> None:
    for form in (
        f"{value}.0",
        f"{value:,}",
        f"x = {value}",
        f"{value} apples",
        f"\\text{{{value}}}",
        f"{value}元",
        f"({value})",
    ):
        assert equivalent(str(value), form).correct is True, form


@COMMON
@given(integers.filter(bool), st.sampled_from([10, 100, 1000, Fraction(1, 100), -1]))
def test_a_slip_of_a_factor_is_wrong(value: int, factor: Fraction | int) -> None:
    slipped = value * Fraction(factor)
    assert equivalent(str(value), str(slipped), "What percent is it?").correct is False
    assert equivalent(str(value), str(float(slipped)), "What percent is it?").correct is False


@COMMON
@given(fractions)
def test_every_form_of_a_fraction_is_that_fraction(value: Fraction) -> None:
    reference = tex(value)
    for form in (
        str(value),
        f"({value.numerator})/{value.denominator}",
        repr(float(value)),
        tex(value).replace("frac", "dfrac"),
    ):
        assert equivalent(reference, form).correct is True, form
    whole, rest = divmod(abs(value), 1)
    if whole and rest:
        mixed = f"{'-' if value < 0 else ''}{whole}\\frac{{{rest.numerator}}}{{{rest.denominator}}}"
        # A minus before a mixed number belongs to the whole of it.
        assert equivalent(reference, mixed).correct is True, mixed


@COMMON
@given(fractions, fractions)
def test_different_fractions_are_different(one: Fraction, other: Fraction) -> None:
    assert equivalent(tex(one), tex(other)).correct is (one == other)
    assert equivalent(tex(one), str(other)).correct is (one == other)


@COMMON
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=6, unique=True), st.randoms(use_true_random=False))
def test_lists_may_be_in_any_order_but_complete(values: list[int], random: object) -> None:
    reference = ", ".join(map(str, values))
    assert equivalent(reference, ", ".join(map(str, reversed(values)))).correct is True
    assert equivalent(reference, "{" + ", ".join(map(str, values)) + "}").correct is True
    assert equivalent(reference, ", ".join(map(str, values[1:]))).correct is False
    assert equivalent(reference, ", ".join(map(str, [*values, 99]))).correct is False


@COMMON
@given(st.tuples(st.integers(-50, 50), st.integers(-50, 50)).filter(lambda pair: pair[0] < pair[1]))
def test_an_interval_is_not_the_one_with_another_bracket(ends: tuple[int, int]) -> None:
    low, high = ends
    forms = [f"{opener}{low},{high}{closer}" for opener in "([" for closer in ")]"]
    for reference in forms:
        for predicted in forms:
            assert equivalent(reference, predicted, "What is the interval?").correct is (reference == predicted)


@COMMON
@given(st.integers(1, 500), st.integers(2, 10), st.integers(2, 10))
def test_a_number_in_another_base_is_another_number(value: int, base: int, other: int) -> None:
    digits = ""
    rest = value
    while rest:
        rest, digit = divmod(rest, base)
        digits = str(digit) + digits
    assert equivalent(f"{digits}_{base}", f"{digits}_{{{other}}}").correct is (base == other)


@COMMON
@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=10))
def test_an_anagram_is_another_word(word: str) -> None:
    turned = word[1:] + word[0]
    assert equivalent(f"\\text{{{word}}}", word).correct is True
    assert equivalent(f"\\text{{{word}}}", turned).correct in ((True,) if turned == word else (False, None))


WORDS_OF_RULES = sorted(
    {
        word
        for module in (lexer, names, normalize, phrases, question_hints, units)
        for word in re.findall("[A-Za-z]{2,}|[\u4e00-\u9fff]+", inspect.getsource(module))
    }
)


@COMMON
@given(st.lists(st.sampled_from(WORDS_OF_RULES), min_size=1, max_size=3).map(" ".join))
def test_words_that_mean_something_to_a_rule_are_words_all_the_same(text: str) -> None:
    for form in (f"\\text{{{text}}}", f"\\textbf{{{text}}}", f" {text}. ", f"The answer is {text}."):
        assert equivalent(text, form).correct is True, form
        assert equivalent(form, text).correct is True, form


polynomials = st.lists(st.tuples(st.integers(-9, 9).filter(bool), st.integers(0, 5)), min_size=1, max_size=5)


@COMMON
@given(polynomials, st.integers(-9, 9).filter(bool))
@example([(1, 0), (2, 0)], 1)  # (1)… + (2)… is a sum, not two parts
def test_polynomials_are_compared_as_polynomials(terms: list[tuple[int, int]], extra: int) -> None:
    written = " + ".join(f"({c})x^{{{n}}}" for c, n in terms)
    python = " + ".join(f"{c}*x**{n}" for c, n in reversed(terms)).replace("+ -", "- ")
    assert equivalent(written, python).correct is True
    assert equivalent(written, f"{python} + {extra}").correct is False


@COMMON
@given(
    st.recursive(
        st.sampled_from(["1", "2", "x", "\\pi"]),
        lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        max_leaves=12,
    )
)
def test_an_expression_equals_itself_plus_nothing(expression: str) -> None:
    read(expression)  # the grammar has it
    verdict = equivalent(expression, f"0+{expression}")
    assert verdict.correct is not False  # None: a division by zero has no value
