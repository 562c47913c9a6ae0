"""Methods paragraphs with citations, from what records store about themselves."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from jaxsim import measures
from jaxsim.io.files import counted, printable
from jaxsim.results import Calibration, ModelComparison, Resamples
from jaxsim.results.model_comparisons import AVERAGED, MADE_BY, WORDS
from jaxsim.taxonomy import LINKAGES, Tree

REFERENCES = MappingProxyType(
    {
        "rsa2019": "Dwivedi K, Roig G (2019). Representation Similarity Analysis for Efficient Task Taxonomy and "
        "Transfer Learning. CVPR.",
        "dds2020": "Dwivedi K, Huang J, Cichy RM, Roig G (2020). Duality Diagram Similarity: A Generic Framework for "
        "Initialization Selection in Task Transfer Learning. ECCV.",
        "kriegeskorte2008": "Kriegeskorte N, Mur M, Bandettini P (2008). Representational similarity analysis: "
        "connecting the branches of systems neuroscience. Frontiers in Systems Neuroscience.",
        "kornblith2019": "Kornblith S, Norouzi M, Lee H, Hinton G (2019). Similarity of Neural Network Representations "
        "Revisited. ICML.",
        "song2012": "Song L, Smola A, Gretton A, Bedo J, Borgwardt K (2012). Feature Selection via Dependence "
        "Maximization. Journal of Machine Learning Research.",
        "szekely2007": "Székely GJ, Rizzo ML, Bakirov NK (2007). Measuring and testing dependence by correlation of "
        "distances. Annals of Statistics.",
        "szekely2013": "Székely GJ, Rizzo ML (2013). The distance correlation t-test of independence in high "
        "dimension. Journal of Multivariate Analysis.",
        "robert1976": "Robert P, Escoufier Y (1976). A Unifying Tool for Linear Multivariate Statistical Methods: The "
        "RV-Coefficient. Applied Statistics.",
        "hotelling1936": "Hotelling H (1936). Relations between two sets of variates. Biometrika.",
        "raghu2017": "Raghu M, Gilmer J, Yosinski J, Sohl-Dickstein J (2017). SVCCA: Singular Vector Canonical "
        "Correlation Analysis for Deep Learning Dynamics and Interpretability. NeurIPS.",
        "zamir2018": "Zamir AR, Sax A, Shen W, Guibas L, Malik J, Savarese S (2018). Taskonomy: Disentangling Task "
        "Transfer Learning. CVPR.",
        "mccarthy1969": "McCarthy PJ (1969). Pseudo-Replication: Half Samples. Review of the International Statistical "
        "Institute.",
        "efron1979": "Efron B (1979). Bootstrap Methods: Another Look at the Jackknife. Annals of Statistics.",
        "rubin1981": "Rubin DB (1981). The Bayesian Bootstrap. Annals of Statistics.",
        "nili2014": "Nili H, Wingfield C, Walther A, Su L, Marslen-Wilson W, Kriegeskorte N (2014). A Toolbox for "
        "Representational Similarity Analysis. PLOS Computational Biology.",
        "schuett2023": "Schütt HH, Kipnis AD, Diedrichsen J, Kriegeskorte N (2023). Statistical inference on "
        "representational geometries. eLife.",
        "kendall1938": "Kendall MG (1938). A New Measure of Rank Correlation. Biometrika.",
        "diedrichsen2021": "Diedrichsen J, Berlot E, Mur M, Schütt HH, Shahbazi M, Kriegeskorte N (2021). Comparing "
        "representational geometries using whitened unbiased-distance-matrix similarity. Neurons, Behavior, Data "
        "Analysis, and Theory.",
        "groger2026": "Gröger F, Wen S, Brbić M (2026). Revisiting the Platonic Representation Hypothesis: An "
        "Aristotelian View. arXiv preprint.",
    }
)
"""References by their keys in `docs/references.bib`."""

_CITED = {
    "rsa": ("rsa2019",),
    "rsa-uncentered": ("kriegeskorte2008",),
    "cka-linear": ("kornblith2019", "song2012"),
    "cka-rbf": ("kornblith2019", "song2012"),
    "cka-linear-biased": ("kornblith2019",),
    "cka-rbf-biased": ("kornblith2019",),
    "dds-laplacian": ("dds2020",),
    "dds-cosine": ("dds2020",),
    "rv": ("robert1976",),
    "distance-correlation": ("szekely2007",),
    "distance-correlation-unbiased": ("szekely2013",),
    "cca": ("hotelling1936", "raghu2017"),
    "cca-squared": ("kornblith2019",),
    "svcca": ("raghu2017",),
}
"""References of the named measures, matching `Measure.source`."""
_OF_SCHEMES = {
    "half-samples": ("mccarthy1969",),
    "bootstrap": ("efron1979",),
    "bayesian-bootstrap": ("rubin1981",),
    "subsample": ("dds2020",),
    "jackknife": ("efron1979",),
}
_OF_LINKAGES = {"authors": ("rsa2019",), "transfer": ("zamir2018",)}
_OF_COMPARATORS = {
    "rho-a": ("schuett2023",),
    "kendall-a": ("kendall1938",),
    "kendall-b": ("kendall1938",),
    "whitened-pearson": ("diedrichsen2021",),
    "whitened-cosine": ("diedrichsen2021",),
}
"""References of comparators of RDMs; the others use that of RSA."""
_PARTS = {
    "identity": "the features as they are",
    "center": "features minus their mean over images",
    "zscore": "z-scored features",
    "correlation": "correlation distances",
    "euclidean": "Euclidean distances",
    "cosine": "cosine distances",
    "cityblock": "city-block distances",
    "linear": "the linear kernel",
    "rbf": "the RBF kernel",
    "laplacian": "the Laplacian kernel",
    "principal-coordinates": "principal coordinates",
    "spearman": "Spearman's rank correlation",
    "rho-a": "rho-a, Spearman's rank correlation not divided by ties",
    "pearson": "Pearson's correlation",
    "kendall-a": "Kendall's tau-a",
    "kendall-b": "Kendall's tau-b",
    "whitened-pearson": "whitened Pearson's correlation",
    "whitened-cosine": "whitened cosine",
    "u-centered-cosine": "the cosine of U-centered maps",
    "centered-cosine": "the cosine of centered maps",
    "root-centered-cosine": "the square root of the cosine of centered maps",
    "canonical-correlation": "the mean canonical correlation",
    "squared-canonical-correlation": "the mean squared canonical correlation",
    "leading-canonical-correlation": "the mean of the leading canonical correlations",
}
"""Descriptions of parts of measures; other parts are called by their names."""


def paragraph(records: Sequence[Any], level: float = 0.95) -> tuple[str, list[str]]:
    """Write a paragraph on how records were made, and the references that it cites.

    It states what the records contain: measure, images, scheme, number of resamples, versions and random key.

    Example:
        >>> import jaxsim as js
        >>> text, references = paragraph([js.affinity(js.demo.features(), "rsa")])
        >>> print(text.split(". ")[1])
        Maps were compared by Spearman's rank correlation (Dwivedi & Roig, 2019)
        >>> references[0][:22]
        'Dwivedi K, Roig G (201'
    """
    said: list[str] = []
    cited: list[str] = []
    for record in records:
        provenance = getattr(record, "provenance", None)
        if provenance is None:
            continue
        if not isinstance(record, Tree | ModelComparison):
            said += _of_measure(provenance.measure, record, cited)
        said += _of_kind(record, level, cited)
    made = [getattr(record, "provenance", None) for record in records]
    said += _of_computing([one for one in made if one is not None and one.versions])
    return " ".join(dict.fromkeys(said)), [REFERENCES[key] for key in dict.fromkeys(cited)]


def _cite(keys, cited):
    """Authors and years in brackets, such as (Dwivedi & Roig, 2019)."""
    cited.extend(keys)
    return f" ({'; '.join(map(_short, keys))})" if keys else ""


def _short(key):
    authors, _, rest = REFERENCES[key].partition(" (")
    year = rest[:4]
    last = [one.rsplit(" ", 1)[0] for one in authors.split(", ")]
    who = last[0] if len(last) == 1 else " & ".join(last) if len(last) == 2 else f"{last[0]} et al."
    return f"{who}, {year}"


def _of_measure(name, record, cited):
    """Sentences about the measure."""
    images = getattr(record, "images", None)
    known = printable(name)
    if measures.is_known(name) and name.lower() in measures.PARTS["compare"]:
        on = "" if images is None else f" of {_images(images)}"
        return [f"Precomputed maps{on} were compared by {_part(name.lower())}."]
    if not measures.is_known(name):
        made = "" if images is None else f", from {_images(images)}"
        return [f"The scores are {known}{made}."]
    found = measures.by_name(name.lower())
    parts = (found.transform, found.pairwise, found.compare)
    transform, pairwise, compare = (_part(measures.name_of(part)) for part in parts)
    cell = found.compare == measures.DDS_COSINE.compare and str(found) not in _CITED
    keys = ("dds2020",) if cell else _CITED.get(str(found), ())
    of = "images" if images is None else f"the {_images(images)}"
    return [
        f"For each network, a map of all pairs of {of} was made with {pairwise} of {transform}.",
        f"Maps were compared by {compare}{_cite(keys, cited)}.",
    ]


def _part(name):
    return _PARTS.get(name, name.replace("-", " "))


def _images(images):
    fewest, most = int(np.min(np.asarray(images))), int(np.max(np.asarray(images)))
    return f"{most} images" if fewest == most else f"{fewest} to {most} images"


def scheme_title(record: Resamples) -> str:
    """Short description of how resamples were made."""
    count = len(record.values)
    if record.kind == "half-samples":
        made = f"{count} half-samples ({count // 2} random halves, each with its complement)"
    elif record.kind == "jackknife":
        made = f"each {'image' if record.groups is None else 'group'} left out once"
    elif record.kind == "subsample":
        made = f"{count} random subsets of {record.size} images"
    else:
        made = {"permutation": f"{count} permutations", "bootstrap": f"{count} bootstrap resamples"}.get(
            record.kind, f"{count} resamples ({record.kind})"
        )
    if record.groups is not None and record.kind != "jackknife":
        made += f", each of whole groups ({record.groups} in all)"
    return made + (", within strata" if "strata=" in (record.provenance.scheme or "") else "")


def _of_kind(record, level, cited):
    if isinstance(record, Resamples):
        return _of_resamples(record, level, cited)
    if isinstance(record, Calibration):
        adjusted = "not adjusted for their number"
        if record.adjust != "none":
            adjusted = f"adjusted for the number of pairs ({record.adjust})"
        return [
            f"Scores were compared with those of {counted(record.n_permutations, 'permutation')} of the images, "
            f"including the search for the best layers, and calibrated at a level of {record.level:g}"
            f"{_cite(('groger2026',), cited)}; p values were {adjusted}."
        ]
    if isinstance(record, ModelComparison):
        return _of_models(record, cited)
    if isinstance(record, Tree):
        keys = next((_OF_LINKAGES.get(k, ()) for k, one in LINKAGES.items() if one.name == record.convention), ())
        support = "" if record.support is None else "; support is the share of resamples whose tree has the branch"
        half = " of (S + S^T) / 2" if record.symmetrized else ""
        return [f"Networks were clustered by {record.convention}{half}{_cite(keys, cited)}{support}."]
    return []


def _of_models(record, cited):
    """Sentences about models compared with subjects."""
    compare = _part(record.provenance.measure.lower())
    cite = _cite(_OF_COMPARATORS.get(record.provenance.measure, ("kriegeskorte2008",)), cited)
    squared = " of squared values" * record.squared
    count, subjects = counted(len(record.names), "model"), counted(len(record.subjects), "subject")
    said = [
        f"The maps (RDMs) of {count} were compared with those of {subjects} for {_images(record.images)} by "
        f"{compare}{cite}; the score of a model is the mean{squared} over subjects.",
        *map(_of_note, record.provenance.notes),
    ]
    bootstraps = f"{len(record.draws)} bootstraps"
    errors, keys = {
        "both": (f"from {bootstraps} of subjects and images, with the variance corrected", ("schuett2023",)),
        "images": (f"from {bootstraps} of the images", ("efron1979",)),
        "subjects": ("the standard deviation over subjects divided by the square root of their number", ()),
    }[record.over]
    errors += _cite(keys, cited)
    of = {
        "t": "Student's t",
        "bootstrap": f"the shares of {bootstraps}",
        "rank": f"Wilcoxon's signed ranks, for {WORDS['subjects']}",
    }
    how = "Holm's rule" if record.test == "rank" else "the largest deviation over all pairs"
    zero = "one-sided for a mean above zero, " * (not record.squared)
    said += [
        f"Standard errors are for {WORDS[record.over]}: {errors}.",
        f"Intervals have a nominal level of {100 * record.level:g} % for each model separately, from Student's t.",
        f"p values are from {of[record.test]}: {zero}two-sided for a difference from the lower noise ceiling, and "
        f"two-sided for pairs of models, adjusted for all pairs by {how}.",
        "The noise ceiling is the mean score of each subject's map with the mean map of the other subjects (lower) and "
        f"of all (upper){_cite(('nili2014',), cited)}.",
    ]
    return said


def _of_note(note):
    """A note on compared models, as a sentence."""
    if note.startswith(AVERAGED):
        return f"Where a subject had several maps, they were averaged: {printable(note.removeprefix(AVERAGED))}."
    if note.startswith(MADE_BY):
        return f"Maps of models that are features were made by {printable(note.removeprefix(MADE_BY))}."
    return f"{printable(note[:1].upper() + note[1:])}."


def _of_resamples(record, level, cited):
    cite = _cite(_OF_SCHEMES.get(record.kind, ()), cited)
    made = f"Images were resampled: {scheme_title(record)}{cite}."
    if record.can.null:
        return [f"p values are one-sided, (1 + #) / (B + 1), from {scheme_title(record)} of the images of one network."]
    if record.size == record.images:
        return [made]
    how = {
        "half-samples": "from Student's t" + " on Fisher's scale" * record.bounded,
        "bootstrap": "percentiles",
        "bayesian-bootstrap": "percentiles",
        "subsample": "normal, on the error scaled to the full sample",
        "jackknife": "normal" if record.groups is None else "from Student's t",
    }.get(record.kind, "those of the scheme")
    return [made, f"Intervals have a nominal level of {100 * level:g} % for each pair separately, {how}."]


def _of_computing(provenances):
    """A sentence for each way of computing, with the random keys of everything computed that way."""
    keys: dict[str, list[str]] = {}
    for found in provenances:
        versions = dict(found.versions)
        others = [f"{said} {versions[name]}" for name, said in (("jax", "JAX"), ("numpy", "NumPy")) if name in versions]
        others += [f"Python {versions['python']}"] * ("python" in versions)
        ours = f"jaxsim {versions.get('jaxsim-similarity', '')}".strip()
        where = found.device.partition(":")[0].upper()
        said = keys.setdefault(f"Computed in {found.dtype} with {ours} ({', '.join(others)}) on {where}", [])
        said += [found.key] * bool(found.key and found.key not in said)
    return [f"{text}{', random key ' * bool(of)}{' and '.join(of)}." for text, of in keys.items()]
