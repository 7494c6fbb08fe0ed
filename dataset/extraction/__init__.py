r"""Where the answer stands in a text. The door is `dataset.answers.extract`, which asks these in turn:

    text        a solution: words, programs, what they printed
      │  boxes         what stands in each \boxed{…}, with what belongs to it; boxes that are one answer
      │  statements    "the answer is …", 故选C, #### 18: what is said to be the answer
      │  outputs       what the last program printed: its last line, or the lines that are one value
      │  choices       the choice that a text ends with, by its letter or by what it says
      │  values        the last value that a sentence states, and whatever "and" or a comma makes one answer with it
      │    plain           what a value looks like outside of formulas: numbers, times, quantities, lists
      │    formulas        where formulas begin and end, and what a chain of equations comes to
      │    around          the sign before a value and the unit behind it
    answer      a piece of the text, which `dataset.equality` reads; or None

All of it takes time by the text's length, of which the end is looked at: models in a loop write a box by the thousand.
"""
