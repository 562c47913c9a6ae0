"""Measures of similarity, S = g(f(D X Q), f(D Y Q)): the theory on one screen (DDS 2020, section 3)."""

import dataclasses
import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from jaxsim import casts
from jaxsim import compare as _g
from jaxsim import pairwise as _f
from jaxsim import subspaces as _s
from jaxsim import transforms as _t
from jaxsim.foreign_arrays import numeric
from jaxsim.meshes import automatic
from jaxsim.protocols import (
    Comparator,
    ComparatorCapabilities,
    Pairwise,
    Transform,
    declared,
    holds_arrays,
    product_and_finish,
)

KINDS = ("transform", "pairwise", "compare")
"""Kinds of parts, in the order in which a measure uses them."""


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Measure:
    """Similarity of two sets of features of the same n images: transform both, map both, compare the maps.

    Each part can be any function with the stated shapes. Pass a named function, because every new lambda is compiled
    again. Arrays inside a part (`Duality`) are traced; everything else is static. Two measures with equal parts are
    equal.

    >>> import jax, jaxsim as js
    >>> x = jax.random.normal(jax.random.key(0), (10, 3))
    >>> measure = js.Measure(js.transforms.center, js.pairwise.correlation, js.compare.spearman)
    >>> measure == js.RSA, round(float(measure(x, 2 * x)), 5)
    (True, 1.0)
    """

    transform: Transform
    """`(n, ..., c) -> (n, d)`."""
    pairwise: Pairwise
    """`(n, d) -> (n, n)`."""
    compare: Comparator
    """`(n, n), (n, n) -> ()`."""
    source: str = dataclasses.field(default="", compare=False)
    """Source publication, for tables."""

    def __post_init__(self):
        """Reject features, names and classes given in place of parts."""
        for kind in KINDS:
            part = getattr(self, kind)
            if callable(part) and not isinstance(part, type):
                continue
            given, remedy = repr(part), "js.measures.by_name takes names, such as center:correlation:spearman"
            if isinstance(part, type):
                remedy = f"give a value of that class, such as {part.__name__}()"
            elif hasattr(part, "shape"):
                given, remedy = f"an array of shape {part.shape}", "features go to the measure, such as js.RSA(x, y)"
            raise TypeError(f"the {kind} of a measure must be a function, not {given}; {remedy}.")

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """Score of features `(n, ..., c)` and `(n, ..., e)` of the same images: `()`.

        Accepts JAX and NumPy arrays and anything that supports DLPack, such as PyTorch tensors.

        Raises:
            TypeError: the features are not real numbers.
            ValueError: the features lack an axis of images or one of channels, differ in their number of images, or
                have fewer images than the comparator needs.
        """
        x, y = (casts.as_floating(numeric(z, name, cast=False), self.freedom) for name, z in (("x", x), ("y", y)))
        if x.ndim < 2 or y.ndim < 2 or x.shape[0] != y.shape[0]:
            raise ValueError(
                f"{self} compares (n, ..., c) with (n, ..., e) for the same n, not {x.shape} with {y.shape}."
            )
        fewest = declared(self.compare, ComparatorCapabilities).min_images
        if len(x) < fewest:
            raise ValueError(f"{self} needs at least {fewest} images; there are {len(x)}.")
        return automatic(Measure._score)(self, x, y)

    def _score(self, x, y):
        return self.compare(*(self._map(z) for z in (x, y)))

    @property
    def freedom(self) -> casts.Freedom:
        """Changes of the features, or of precomputed maps, that leave the scores unchanged."""
        if self.pairwise is as_given:
            return casts.freedom_of_maps(self.compare)
        return casts.freedom(self.transform, self.pairwise, self.compare)

    def _map(self, x):
        """The map of features as the engine computes it, with the precision and range that the comparator needs."""
        x = self.transform(x)
        product, finish = product_and_finish(self.pairwise, self.compare)
        if product is None or finish is None:
            return self.pairwise(x)
        return finish(product(x, None), jnp.asarray(x.shape[1], jnp.result_type(x)))

    def __str__(self) -> str:
        """The name in NAMED if there is one, else the names of the parts."""
        if self.pairwise is as_given:
            return name_of(self.compare)
        name = next((n for n, m in NAMED.items() if _same(m, self)), None)
        return name or ":".join(name_of(p) for p in (self.transform, self.pairwise, self.compare))

    def tree_flatten(self):
        """Parts with arrays are children; the others are static."""
        parts = (self.transform, self.pairwise, self.compare)
        traced = tuple(holds_arrays(p) for p in parts)
        children = tuple(p for p, t in zip(parts, traced, strict=True) if t)
        return children, tuple(None if t else p for p, t in zip(parts, traced, strict=True))

    @classmethod
    def tree_unflatten(cls, static, children):
        """Put children back where `static` has None, whatever objects JAX passes as children."""
        rest, made = iter(children), object.__new__(cls)
        for kind, part in zip(KINDS, static, strict=True):
            object.__setattr__(made, kind, next(rest) if part is None else part)
        return made


def dds(transform: Transform, pairwise: Pairwise) -> Measure:
    """Build any cell of DDS 2020, Table 2: unbiased centering and cosine after `transform` and `pairwise`.

    >>> import jaxsim as js
    >>> str(js.dds(js.transforms.zscore, js.pairwise.laplacian))
    'dds-laplacian'
    """
    return Measure(transform, pairwise, _g.u_centered_cosine)


def as_given(x):
    """Return precomputed maps unchanged."""
    return x


def of_maps(compare: Comparator) -> Measure:
    """Make a measure that compares precomputed maps `(n, n)`."""
    return Measure(as_given, as_given, compare)


RSA = Measure(_t.center, _f.correlation, _g.spearman, "Dwivedi and Roig 2019")
RSA_UNCENTERED = Measure(_t.identity, _f.correlation, _g.spearman, "Kriegeskorte et al. 2008")
CKA_LINEAR = Measure(_t.identity, _f.linear, _g.u_centered_cosine, "Kornblith et al. 2019; Song et al. 2012")
CKA_RBF = Measure(_t.identity, _f.rbf, _g.u_centered_cosine, "Kornblith et al. 2019; Song et al. 2012")
CKA_LINEAR_BIASED = Measure(_t.identity, _f.linear, _g.centered_cosine, "Kornblith et al. 2019")
CKA_RBF_BIASED = Measure(_t.identity, _f.rbf, _g.centered_cosine, "Kornblith et al. 2019")
DDS_LAPLACIAN = Measure(_t.zscore, _f.laplacian, _g.u_centered_cosine, "Dwivedi et al. 2020, Table 2")
DDS_COSINE = Measure(_t.zscore, _f.cosine, _g.u_centered_cosine, "Dwivedi et al. 2020, Table 2")
RV = Measure(_t.center, _f.linear, _g.centered_cosine, "Robert and Escoufier 1976")
DISTANCE_CORRELATION = Measure(_t.identity, _f.euclidean, _g.root_centered_cosine, "Szekely, Rizzo and Bakirov 2007")
DISTANCE_CORRELATION_UNBIASED = Measure(_t.identity, _f.euclidean, _g.u_centered_cosine, "Szekely and Rizzo 2013")
CCA = Measure(_t.zscore, _s.principal_coordinates, _s.canonical_correlation, "Hotelling 1936; Raghu et al. 2017")
CCA_SQUARED = Measure(_t.zscore, _s.principal_coordinates, _s.squared_canonical_correlation, "Kornblith et al. 2019")
SVCCA = Measure(_t.center, _s.principal_coordinates, _s.leading_canonical_correlation, "Raghu et al. 2017")


def plain(name: str) -> str:
    """Convert a name to its command-line form: lower case with hyphens.

    >>> plain("CKA_LINEAR")
    'cka-linear'
    """
    return name.lower().replace("_", "-")


def _named(*modules: Mapping[str, Any], of: type | None = None) -> MappingProxyType[str, Any]:
    """Public values of these modules by their `plain` names."""
    return MappingProxyType(
        {
            plain(name): value
            for module in modules
            for name, value in module.items()
            if name[0] != "_" and dataclasses.is_dataclass(value) and not isinstance(value, type)
            if of is None or isinstance(value, of)
        }
    )


NAMED = _named(globals(), of=Measure)
"""All measures above, by name in lower case with hyphens."""
PARTS = MappingProxyType({kind: _named(vars(parts)) for kind, parts in zip(KINDS, (_t, _f, _g), strict=True)})
"""All parts, by kind and name."""
_OF_SUBSPACES = _named(vars(_s))
ALIASES = MappingProxyType({"cka": "cka-linear"})
"""Short names of measures."""
TITLES = MappingProxyType(
    {
        "rsa": "RSA",
        "rsa-uncentered": "RSA, uncentered",
        "cka-linear": "linear CKA, unbiased",
        "cka-rbf": "RBF CKA, unbiased",
        "cka-linear-biased": "linear CKA, biased",
        "cka-rbf-biased": "RBF CKA, biased",
        "dds-laplacian": "DDS, Laplacian",
        "dds-cosine": "DDS, cosine",
        "rv": "RV coefficient",
        "distance-correlation": "distance correlation",
        "distance-correlation-unbiased": "distance correlation, unbiased",
        "cca": "CCA",
        "cca-squared": "CCA, squared",
        "svcca": "SVCCA",
    }
)
"""Names used in figures."""


def name_of(part: Any) -> str:
    """A part's name in PARTS or in `jaxsim.subspaces`, or the qualified name of your own function."""
    for values in (*PARTS.values(), _OF_SUBSPACES):
        name = next((n for n, value in values.items() if _same(value, part)), None)
        if name is not None:
            return name
    if dataclasses.is_dataclass(part):
        return repr(part) if not jax.tree.leaves(part) else type(part).__name__
    if not callable(part):
        return repr(part)
    return f"{getattr(part, '__module__', '')}.{getattr(part, '__qualname__', type(part).__name__)}"


def _same(a: Any, b: Any) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and not jax.tree.leaves((a, b))


def by_name(name: str) -> Measure:
    """Find a measure by name, or build it from `dds:TRANSFORM,PAIRWISE` or `TRANSFORM:PAIRWISE:COMPARE`.

    Case is ignored, and hyphens and underscores are interchangeable.

    Raises:
        ValueError: there is no such measure; the message suggests similar names.

    >>> import jaxsim as js
    >>> js.measures.by_name("cka") == js.CKA_LINEAR
    True
    """
    known = _known(name)
    if known in NAMED:
        return NAMED[known]
    parts = [*known[4:].split(","), "u-centered-cosine"] if known.startswith("dds:") else known.split(":")
    if len(parts) != len(PARTS):
        if known.startswith("dds:"):
            raise ValueError(
                f"no measure is named {name!r}; cells are dds:TRANSFORM,PAIRWISE, as dds:zscore,laplacian."
            )
        near = ", ".join(difflib.get_close_matches(known, NAMED, 3))
        hint = (
            f"did you mean {near}?"
            if near
            else f"there are {', '.join(NAMED)}, and cells such as dds:zscore,laplacian."
        )
        raise ValueError(f"no measure is named {name!r}; {hint}")
    return Measure(*(part_by_name(kind, part, name) for kind, part in zip(PARTS, parts, strict=True)))


def _known(name):
    """The plain name, with ALIASES replaced by the measure's name."""
    return ALIASES.get(plain(name), plain(name))


def title_of(name: str) -> str:
    """Name in figures of a measure named in a record; other texts are returned unchanged.

    >>> title_of("cka-linear"), title_of("center:laplacian:u-centered-cosine"), title_of("win rate")
    ('linear CKA, unbiased', 'DDS: center, laplacian', 'win rate')
    """
    known = _known(name)
    if known in PARTS["compare"]:
        lettered = known[-2:-1] == "-"  # rho-a, kendall-b
        return f"{known if lettered else known.replace('-', ' ')} of maps"
    if known in TITLES or not is_known(name):
        return TITLES.get(known, name)
    found = by_name(known)
    parts = f"{name_of(found.transform)}, {name_of(found.pairwise)}"
    return f"DDS: {parts}" if found.compare == _g.u_centered_cosine else name


def is_known(name: str) -> bool:
    """Whether a measure or a comparator here has that name; their scores go up to 1."""
    try:
        return is_comparator(name) or bool(by_name(name))
    except ValueError:
        return False


def is_comparator(measure: Any) -> bool:
    """Whether this compares precomputed maps: a function of two maps or its name, but not a measure of features."""
    if isinstance(measure, str):
        return plain(measure) in PARTS["compare"]
    return callable(measure) and not isinstance(measure, Measure | type)


def part_by_name(kind: str, name: str, measure: str | None = None) -> Any:
    """Find a transform, pairwise function or comparator by name.

    Args:
        kind: "transform", "pairwise" or "compare".
        name: with hyphens or underscores, in upper or lower case.
        measure: name of the whole measure, for the error message.

    Raises:
        ValueError: there is no such part; the message lists the names.
    """
    values, known = PARTS[kind], plain(name)
    if known not in values:
        where = f"in measure {measure!r}, " if measure else ""
        raise ValueError(f"{where}{name!r} is not one of the {kind} functions {', '.join(sorted(values))}.")
    return values[known]
