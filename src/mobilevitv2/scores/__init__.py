"""How well answers agree with the truth: one definition of each score, in numpy alone."""
