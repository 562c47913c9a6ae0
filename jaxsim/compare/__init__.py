"""Comparators of two pairwise maps, g of the duality diagram: (n, n), (n, n) -> (). All are similarities.

`pearson spearman rho_a kendall_a kendall_b cosine whitened_pearson whitened_cosine` read the upper triangle without the
diagonal. `u_centered_cosine` centers without bias and reads the off-diagonal entries; `centered_cosine` centers with
bias and reads the whole matrix.

All except Kendall's are an inner product after normalizing each map separately. `embed` is that normalization, so T
networks need T embeddings and one matrix product. `prepare` and `weighted` do the same under image weights, for the
bootstraps. Any function of two maps is a comparator too: the engine maps it over pairs unless it declares capabilities
of `protocols.ComparatorCapabilities`.
"""

from jaxsim.compare.centered import CenteredCosine, UCenteredCosine
from jaxsim.compare.correlations import Cosine, Pearson
from jaxsim.compare.rank_correlations import Kendall, Spearman
from jaxsim.compare.triangles import condensed, condensed_place, pair_weights
from jaxsim.compare.weighted import pair_moments
from jaxsim.compare.whitened import Whitened, WhitenedBy, whitened_by

pearson = Pearson()
spearman = Spearman()
rho_a = Spearman(correct_ties=False)
kendall_a = Kendall(correct_ties=False)
kendall_b = Kendall()
cosine = Cosine()
whitened_cosine = Whitened()
whitened_pearson = Whitened(centered=True)
u_centered_cosine = UCenteredCosine()
centered_cosine = CenteredCosine()
root_centered_cosine = CenteredCosine(root=True)

__all__ = [
    "CenteredCosine",
    "Cosine",
    "Kendall",
    "Pearson",
    "Spearman",
    "UCenteredCosine",
    "Whitened",
    "WhitenedBy",
    "centered_cosine",
    "condensed",
    "condensed_place",
    "cosine",
    "kendall_a",
    "kendall_b",
    "pair_moments",
    "pair_weights",
    "pearson",
    "rho_a",
    "root_centered_cosine",
    "spearman",
    "u_centered_cosine",
    "whitened_by",
    "whitened_cosine",
    "whitened_pearson",
]


def __dir__():
    return __all__
