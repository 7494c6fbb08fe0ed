"""How an answer is read and compared: text to tree, tree to value, value to verdict.

    surface   LaTeX, unicode and Python clutter off, one notation for what is left
    lexer     characters to tokens
    parser    tokens to the tree of `tree`; bounded in length, depth and width
    units     what a unit measures, and how many of another it is
    phrases   answers that are words: choices, times, dates, numbers written out
    asked     what the question asks for: a unit, percent, a list, an interval, rounding, a base
    exact     rational arithmetic with bounded size, and a normal form for sums of products
    numeric   values at points, first in floats, then to 60 digits
    apart     the process in which the second of these runs, and is killed if it does not end
    sets      intervals, unions, inequalities as sets of real numbers
    compare   the rules, in the order in which they are asked

Nothing here evaluates an answer as code: no eval, no sympify, no parse_expr. The public door is `dataset.equality`.
"""
