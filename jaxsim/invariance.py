"""What may be added to a pairwise map without changing a comparator's score."""

NOTHING = 0
CONSTANT = 1
"""One constant c, the same for all pairs."""
MARGINS = 2
"""Terms a_i + a_j, a constant among them."""
