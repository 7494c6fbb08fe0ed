"""Where the answer stands in a text: boxes, statements, values. The door is `dataset.answers`.

    boxes        what stands in each \\boxed{…}, with sign, unit and name around it; several boxes that are one answer
    around       the sign before a value and the unit behind it
    statements   "the answer is …", 故选C, #### 18: what is said to be the answer
    values       the last value that a sentence states: a formula, a number with its unit, a clock time, a list of them
    formulas     where the formulas of a text begin and end, and what a chain of equations comes to

All of it takes linear time: a model in a loop writes `\\boxed{` four thousand times.
"""
