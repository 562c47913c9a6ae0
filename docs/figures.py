"""Draw the picture of the front page again: `python docs/figures.py`, half a minute."""

from pathlib import Path

import jaxsim as js
from jaxsim import plotting
from jaxsim.studies.rooms import encoders, pictures

FIGURES = Path(__file__).parent / "_static"


def affinity():
    """Similarity of the twenty shipped encoders on 500 new pictures under RSA, in the order of its tree."""
    made = pictures.make(500, seed=5_000_000)
    found = js.affinity(encoders.features(encoders.shipped(), made.rgb), js.RSA)
    return plotting.affinity_heatmap(found, js.taxonomy.tree(found))


if __name__ == "__main__":
    affinity().savefig(FIGURES / "affinity.png", dpi=110)
