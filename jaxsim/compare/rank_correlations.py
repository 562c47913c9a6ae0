"""Spearman's rank correlation and Kendall's tau of the upper triangles."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jax import lax
from jax.tree_util import register_static
from jaxtyping import Array, Float

from jaxsim import ranks
from jaxsim.compare import concordance
from jaxsim.compare.embedded import centered_unit, compare_embedded, kept, mean_of
from jaxsim.compare.triangles import condensed, pair_weights, pairs_of, reordered
from jaxsim.compare.weighted import all_pairs, spread_pairs
from jaxsim.linalg import long_dot, over
from jaxsim.protocols import CONSTANT


@register_static
@dataclasses.dataclass(frozen=True)
class Spearman:
    """Spearman correlation of the upper triangles with average ranks for ties; a similarity (RSA 2019, equation 2).

    Attributes:
        correct_ties: divide by the spread of the tied ranks. If False, this is rho-a, 12 cov(ranks) p / (p^3 - p) for p
            pairs, the expectation of rho when ties are broken at random (Schuett et al. 2023, section "RDM
            comparators"). A map with ties then scores less than 1 with itself.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> m = jnp.abs(jnp.arange(4.0)[:, None] - jnp.arange(4.0))
    >>> round(float(js.compare.spearman(m, m**3)), 5)
    1.0
    """

    correct_ties: bool = True
    min_images: ClassVar[int] = 3
    invariance: ClassVar[int] = CONSTANT
    why_undefined: ClassVar[str] = "its map is constant"
    __call__ = compare_embedded
    permuted = staticmethod(reordered)

    def rank_size(self, size, p):
        """Squared length of the ranks themselves, or of ranks without ties."""
        return size if self.correct_ties else (p - 1 / p) / 12

    def embed(self, m):
        """Centered ranks, scaled."""
        return self.embed_ranks(self.pooled(m))

    def pooled(self, m):
        """Average ranks."""
        return ranks.average(condensed(m))

    def embed_pooled(self, mean):
        """Embedding of the ranks of the mean ranks."""
        return self.embed_ranks(ranks.average(mean))

    def embed_pairs(self, v, where):
        """Centered ranks among the entries that count, scaled."""
        return self.embed_ranks(ranks.average(v, where), where)

    def embed_ranks(self, r, where=None):
        """Centered ranks, scaled."""
        count = r.size if where is None else jnp.sum(where)
        r = r / count
        if self.correct_ties:
            return centered_unit(r, where)
        return kept((r - mean_of(r, where)) * jnp.sqrt(12 / (count - 1 / count)), where)

    def prepare(self, m):
        """Order of the pairs, sorted once for all resamples."""
        return ranks.sort_pairs(condensed(m), *pairs_of(m.shape[0]))

    def weighted(self, x, y, w):
        """`(b, S, T)`, with average ranks recomputed under every weighting."""
        pairs = pair_weights(w)
        root, total = jnp.sqrt(pairs), jnp.sum(pairs, 0)

        def one(order):
            # under any weighting, ranks have mean (total + 1) / 2
            z = (ranks.weighted(order, w, pairs) - (total + 1) / 2) / total * root
            z = jnp.where(order.undefined, jnp.nan, z).T
            return z, jnp.sum(z * z, 1)

        zx, size_x = over(one, x)
        zy, size_y = (zx, size_x) if y is None else over(one, y)

        def lane(b):
            a, c = (lax.dynamic_index_in_dim(z, b, 1, keepdims=False) for z in (zx, zy))
            products = long_dot(a, c)
            if not self.correct_ties:
                return products * 12 / (total[b] - 1 / total[b])
            size = size_x[:, b][:, None] * size_y[:, b][None, :]
            return products / jnp.sqrt(jnp.where(size > 0, size, jnp.nan))

        return over(lane, jnp.arange(w.shape[1]))

    def weighted_ceiling(self, x, w):
        """`(b, 2, U)`: each map with the mean ranks of the others, and of all, ranked again under every weighting."""
        pairs = pair_weights(w)
        count = x.undefined.shape[0]

        def one(order):
            return jnp.where(order.undefined, jnp.nan, ranks.weighted(order, w, pairs)).T

        every = over(one, x)

        def lane(b):
            own, weights = lax.dynamic_index_in_dim(every, b, 1, keepdims=False), pairs[:, b]
            total, pooled = jnp.sum(weights), jnp.sum(own, 0)
            means = jnp.concatenate([(pooled - own) / (count - 1), pooled[None] / count])
            again = over(lambda mean: ranks.counted(mean, weights), means)
            z, best = ((r - (total + 1) / 2) / total * jnp.sqrt(weights) for r in (own, again))
            products = jnp.stack([jnp.sum(z * best[:-1], 1), long_dot(z, best[-1:])[:, 0]])
            if not self.correct_ties:
                return products * 12 / (total - 1 / total)
            sizes = [jnp.sum(v * v, 1) for v in (z, best)]
            size = sizes[0] * jnp.stack([sizes[1][:-1], jnp.broadcast_to(sizes[1][-1], (count,))])
            return products / jnp.sqrt(jnp.where(size > 0, size, jnp.nan))

        return lax.map(lane, jnp.arange(w.shape[1]))  # all together would be all maps times all weightings


@register_static
@dataclasses.dataclass(frozen=True)
class Kendall:
    """Kendall's tau of the upper triangles, from concordant minus discordant pairs of entries; a similarity.

    Exact, in p log p steps for p pairs of images. Noise ceilings use mean ranks, as for `Spearman`.

    Attributes:
        correct_ties: tau-b, divided by the root of the product of the numbers of untied pairs in the two maps (Kendall
            1945). If False, this is tau-a, divided by the number of all pairs (Kendall 1938); a map with ties then
            scores less than 1 with itself.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> m = jnp.abs(jnp.arange(4.0)[:, None] - jnp.arange(4.0))
    >>> [round(float(tau(m, m**3)), 5) for tau in (js.compare.kendall_a, js.compare.kendall_b)]
    [0.73333, 1.0]
    """

    correct_ties: bool = True
    min_images: ClassVar[int] = 3
    invariance: ClassVar[int] = CONSTANT
    why_undefined: ClassVar[str] = "its map is constant"
    permuted = staticmethod(reordered)

    def __call__(self, a: Float[Array, "n n"], b: Float[Array, "n n"]) -> Float[Array, ""]:
        """`(n, n), (n, n) -> ()`."""
        return self.scores(self.embed(a)[None], self.embed(b)[None])[0, 0]

    def embed(self, m):
        """Average ranks."""
        return self.embed_pooled(condensed(m))

    def embed_pooled(self, mean):
        """Ranks of the mean ranks."""
        return self.embed_ranks(ranks.average(mean))

    def embed_ranks(self, r):
        """The ranks themselves, unless all are the same."""
        return jnp.where(jnp.all(r == r[0]), jnp.nan, r) if self.correct_ties else r

    def scores(self, x, y):
        """`(S, T)` from average ranks."""
        return self._of_ranks(x, y, None)[0]

    def weighted(self, x, y, w):
        """`(b, S, T)`, with each entry counted according to its images' weights."""
        return self._of_ranks(x, y, w)

    def _of_ranks(self, x, y, w):
        """`(b, S, T)`, or `(1, S, T)` without image weights."""
        pairs = None if w is None else pair_weights(w)
        rows = lax.map(concordance.ranking, x)
        columns = rows if y is None else lax.map(concordance.ranking, y)

        def one(place):
            a, b = (concordance.select(side, k) for side, k in zip((rows, columns), place, strict=True))
            return jnp.atleast_1d(self._tau(a, b, pairs))

        return spread_pairs(concordance.over_pairs(one, all_pairs(x, y)), x, y)

    def _tau(self, a, b, pairs):
        """Tau of two rankings, `()`, or `(b,)` under weights of the entries."""
        found = 2 * concordance.concordance(a, b, pairs)
        if not self.correct_ties:
            total = jnp.asarray(a.values.size, found.dtype) if pairs is None else jnp.sum(pairs, 0)
            return found / total / (total - 1)
        untied = [one.untied if pairs is None else concordance.untied(one, pairs) for one in (a, b)]
        return found / jnp.where((untied[0] > 0) & (untied[1] > 0), jnp.sqrt(untied[0]) * jnp.sqrt(untied[1]), jnp.nan)

    def weighted_ceiling(self, x, w):
        """`(b, 2, U)`: each map with the mean ranks of the others, and of all, ranked again under every weighting."""
        pairs, count = pair_weights(w), len(x)
        rankings = lax.map(concordance.ranking, x)

        def lane(b):
            weights = pairs[:, b]
            own = lax.map(lambda r: ranks.counted(r, weights), x)
            pooled = jnp.sum(own, 0)
            means = jnp.concatenate([(pooled - own) / (count - 1), pooled[None] / count])
            best = lax.map(lambda mean: concordance.ranking(ranks.average(mean)), means)

            def member(u):
                one = concordance.select(rankings, u)
                return jnp.stack([self._tau(one, concordance.select(best, k), weights[:, None])[0] for k in (u, count)])

            return lax.map(member, jnp.arange(count)).T

        return lax.map(lane, jnp.arange(w.shape[1]))
