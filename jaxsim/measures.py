"""Measures of similarity, S = g(f(D X Q), f(D Y Q)): the theory on one screen (DDS 2020, section 3)."""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

import jax

from jaxsim import compare, pairwise, transforms
from jaxsim.linalg import as_floating


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Measure:
    """Similarity of two sets of features of the same n images: transform both, map both, compare the maps.

    Any function of the stated shapes will do for each part; give a named function, since every new lambda compiles
    anew. Arrays inside a part (`Duality`) are traced, all else is static.

    >>> import jax, jaxsim as js
    >>> x = jax.random.normal(jax.random.key(0), (10, 3))
    >>> measure = js.Measure(js.transforms.center, js.pairwise.correlation, js.compare.spearman)
    >>> measure == js.RSA, round(float(measure(x, 2 * x)), 5)
    (True, 1.0)
    """

    transform: Callable
    """`(n, ..., c) -> (n, d)`."""
    pairwise: Callable
    """`(n, d) -> (n, n)`."""
    compare: Callable
    """`(n, n), (n, n) -> ()`."""

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """Score of features `(n, ..., c)` and `(n, ..., e)` of the same images: `()`."""
        a, b = (self.pairwise(self.transform(as_floating(z))) for z in (x, y))
        return self.compare(a, b)

    def __str__(self) -> str:
        """The name in NAMED if there is one, else the parts."""
        if self.pairwise is given:
            return name_of(self.compare)
        name = next((n for n, m in NAMED.items() if _same(m, self)), None)
        return name or ":".join(name_of(p) for p in (self.transform, self.pairwise, self.compare))

    def tree_flatten(self):
        """Parts that hold arrays are children; the others are static."""
        parts = (self.transform, self.pairwise, self.compare)
        traced = tuple(bool(jax.tree.leaves(p)) and not jax.tree_util.all_leaves([p]) for p in parts)
        children = tuple(p for p, t in zip(parts, traced, strict=True) if t)
        return children, tuple(None if t else p for p, t in zip(parts, traced, strict=True))

    @classmethod
    def tree_unflatten(cls, static, children):
        """Put children back where `static` has None."""
        rest = iter(children)
        return cls(*(next(rest) if part is None else part for part in static))


def dds(transform: Callable, pairwise: Callable) -> Measure:
    """Any cell of DDS 2020, Table 2: unbiased centering and cosine after `transform` and `pairwise`.

    >>> import jaxsim as js
    >>> str(js.dds(js.transforms.zscore, js.pairwise.laplacian))
    'dds-laplacian'
    """
    return Measure(transform, pairwise, compare.u_centered_cosine)


def given(x):
    """Ready-made maps, taken as they are."""
    return x


def of_maps(compare: Callable) -> Measure:
    """The measure that compares ready-made maps `(n, n)`."""
    return Measure(given, given, compare)


_t, _f, _g = transforms, pairwise, compare

RSA = Measure(_t.center, _f.correlation, _g.spearman)
"""Dwivedi and Roig 2019."""
RSA_UNCENTERED = Measure(_t.identity, _f.correlation, _g.spearman)
"""Kriegeskorte et al. 2008; rsatoolbox with 'correlation' and 'spearman'."""
CKA_LINEAR = Measure(_t.identity, _f.linear, _g.u_centered_cosine)
"""Unbiased linear CKA: Song et al. 2012; Kornblith et al. 2019; DDS 2020."""
CKA_RBF = Measure(_t.identity, _f.rbf, _g.u_centered_cosine)
"""Unbiased CKA with an RBF kernel of sigma = 0.5 of the root of the median squared distance."""
CKA_LINEAR_BIASED = Measure(_t.identity, _f.linear, _g.centered_cosine)
"""Kornblith et al. 2019; near 1 for any features once d exceeds n."""
CKA_RBF_BIASED = Measure(_t.identity, _f.rbf, _g.centered_cosine)
"""Kornblith et al. 2019."""
DDS_LAPLACIAN = dds(_t.zscore, _f.laplacian)
"""DDS 2020, Table 2: z-score with the Laplacian kernel."""
DDS_COSINE = dds(_t.zscore, _f.cosine)
"""DDS 2020, Table 2: z-score with cosine distance."""
RV = Measure(_t.center, _f.linear, _g.centered_cosine)
"""RV coefficient: Robert and Escoufier 1976. The same number as CKA_LINEAR_BIASED."""
DISTANCE_CORRELATION = Measure(_t.identity, _f.euclidean, _g.root_centered_cosine)
"""Szekely, Rizzo and Bakirov 2007."""
DISTANCE_CORRELATION_UNBIASED = Measure(_t.identity, _f.euclidean, _g.u_centered_cosine)
"""Bias-corrected and squared: Szekely and Rizzo 2013."""

NAMED = {
    "rsa": RSA,
    "rsa-uncentered": RSA_UNCENTERED,
    "cka-linear": CKA_LINEAR,
    "cka-rbf": CKA_RBF,
    "cka-linear-biased": CKA_LINEAR_BIASED,
    "cka-rbf-biased": CKA_RBF_BIASED,
    "dds-laplacian": DDS_LAPLACIAN,
    "dds-cosine": DDS_COSINE,
    "rv": RV,
    "distance-correlation": DISTANCE_CORRELATION,
    "distance-correlation-unbiased": DISTANCE_CORRELATION_UNBIASED,
}
"""Names for the command line and for files only."""

SOURCES = {
    "rsa": "Dwivedi and Roig 2019",
    "rsa-uncentered": "Kriegeskorte et al. 2008",
    "cka-linear": "Kornblith et al. 2019; Song et al. 2012",
    "cka-rbf": "Kornblith et al. 2019; Song et al. 2012",
    "cka-linear-biased": "Kornblith et al. 2019",
    "cka-rbf-biased": "Kornblith et al. 2019",
    "dds-laplacian": "Dwivedi et al. 2020, Table 2",
    "dds-cosine": "Dwivedi et al. 2020, Table 2",
    "rv": "Robert and Escoufier 1976",
    "distance-correlation": "Szekely, Rizzo and Bakirov 2007",
    "distance-correlation-unbiased": "Szekely and Rizzo 2013",
}


def name_of(part: Any) -> str:
    """A part's name here, or the qualified name of a function of your own."""
    for module in (transforms, pairwise, compare):
        for name, value in vars(module).items():
            if dataclasses.is_dataclass(value) and not isinstance(value, type) and _same(value, part):
                return name.replace("_", "-")
    if dataclasses.is_dataclass(part):
        return repr(part) if not jax.tree.leaves(part) else type(part).__name__
    return f"{getattr(part, '__module__', '')}.{getattr(part, '__qualname__', type(part).__name__)}"


def _same(a: Any, b: Any) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and not jax.tree.leaves((a, b))


def by_name(name: str) -> Measure:
    """The measure of that name, or a cell `dds:TRANSFORM,PAIRWISE`, or `TRANSFORM:PAIRWISE:COMPARE`.

    Raises:
        ValueError: there is none; near names are given.
    """
    if name in NAMED:
        return NAMED[name]
    modules = (transforms, pairwise, compare)
    parts = [*name[4:].split(","), "u-centered-cosine"] if name.startswith("dds:") else name.split(":")
    if len(parts) != 3:
        near = ", ".join(difflib.get_close_matches(name, NAMED, 3))
        hint = f"did you mean {near}?" if near else f"there are {', '.join(NAMED)}, and cells as dds:zscore,laplacian."
        raise ValueError(f"no measure is named {name!r}; {hint}")
    return Measure(*(_part(m, p, name) for m, p in zip(modules, parts, strict=True)))


def _part(module: Any, text: str, whole: str) -> Callable:
    values: dict[str, Any] = {
        n.replace("_", "-"): v
        for n, v in vars(module).items()
        if dataclasses.is_dataclass(v) and not isinstance(v, type)
    }
    if text not in values:
        kind = module.__name__.rpartition(".")[2]
        raise ValueError(f"in measure {whole!r}, {text!r} is not one of the {kind} {', '.join(sorted(values))}.")
    return values[text]
