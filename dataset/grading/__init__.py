"""How a predicted answer is read and compared with the reference.

The way from a text to a verdict, one step a line; `dataset.equality.equivalent` walks it from top to bottom:

    text        what a model wrote, or what a data set gives
      │  normalize         LaTeX, unicode and Python clutter off: one notation for what is left
      │    repair              escapes that became control characters, lost backslashes, brackets cut off
      │    repeating           every mark for digits that repeat, as one
      │  wording           signs that are said in words as signs: "x is at least 3", 1个半小时
      │  text_rules        answers that are words, decided as text                              ──► verdict, if so
      │    phrases             choices, yes and no, numbers written out, remainders, discounts
      │    times               times of day and dates
      │  qualifiers        "where c is a constant" off, where the whole is not the reference
      │  trees             both texts read and compared; what cannot be read is compared letter by letter
      │  lexer             characters to tokens
      │  parser            tokens to a tree, by precedence; the levels below it are
      │    measured            what stands behind a value: units, nouns, thousands, residues
      │    operands            one operand with its powers and signs
      │    functions           roots and functions with what they are applied to
      │    series              sums, products and integrals
      │    brackets            tuples, intervals, sets, matrices, cases, constructors
      │    numbers             decimals, mixed and repeating numbers, digits in a base
      │    cursor              where reading has got to
    tree        the nodes of `tree`
      │  unwrap            what is only written around the value off: names, chains of equations, single brackets, ±
      │  compare           the rules, in order: the first that knows the two kinds decides
      │    sets                intervals, unions, inequalities as sets of real numbers
      │    arrays              matrices, vectors, tuples, functions by cases (`piecewise`)
      │    quantities          percent, units, degrees, ratios, bases
      │    values              single values, by
      │      exact                 rational arithmetic with bounded size, a normal form for sums of products
      │      numeric               values at points, first in floats, then to 60 digits
      │      numeric_process       the process (`numeric_worker`) for the digits, killed if it does not end
    verdict     right, wrong, or None for "cannot be decided", and the rule's name

Asked along the way: `question_hints` (what the question asks for: a unit, percent, a list, a base), `names` (words and
commands with a meaning) and `units` (what a unit measures, and how many of another it is).

Nothing here evaluates an answer as code: no eval, no sympify, no parse_expr.
"""
