"""Comparators of two pairwise maps, g of the duality diagram: (n, n), (n, n) -> (). All are similarities.

`pearson spearman rho_a kendall_a kendall_b cosine whitened_pearson whitened_cosine` read the upper triangle without the
diagonal. `u_centered_cosine` centers without bias and reads the off-diagonal entries; `centered_cosine` centers with
bias and reads the whole matrix.

All but Kendall's are an inner product after a normalization of either map by itself. `embed` is that normalization, so
that T networks need T embeddings and one matrix product; `prepare` and `weighted` are the same under weights of the
images, for the bootstraps. Any function of two maps is a comparator too: the engine maps it over pairs unless it
declares capabilities of `protocols.ComparatorCapabilities`.
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import solve_triangular
from jax.tree_util import register_dataclass, register_static
from jaxtyping import Array, Float, Num

from jaxsim import centering, concordance, ranks
from jaxsim.linalg import block_dot, compensated_sum, dot, long_dot, power_of_two, safe_sqrt, sum_of_squares
from jaxsim.protocols import CONSTANT, MARGINS, SCALE, ComparatorCapabilities, declared, public_names


def condensed(m: Num[Array, "n n ..."]) -> Num[Array, "p ..."]:
    """The n (n - 1) / 2 entries above the diagonal, in an order of our own that needs no gather.

    Row i and a mirrored row from the other end fill one row of a rectangle: rows i and n - 1 - i have n - 1 entries
    together (even n), rows i and n - 2 - i have n (odd n).
    """
    n = m.shape[0]
    half, even = n // 2, n % 2 == 0
    rows = n if even else n - 1
    mirrored = m[:rows][::-1, ::-1][:half]
    first, second = (m[:half, 1:], mirrored[:, :-1]) if even else (m[:half], mirrored)
    columns = jnp.arange(first.shape[1])
    keep = columns >= jnp.arange(half)[:, None] + (0 if even else 1)
    keep = keep.reshape(*keep.shape, *(1,) * (m.ndim - 2))
    return jnp.where(keep, first, second).reshape(n * (n - 1) // 2, *m.shape[2:])


def pair_weights(w: Float[Array, "n ..."]) -> Float[Array, "p ..."]:
    """Weights w_i w_j of the pairs of images, in the order of `condensed`."""
    return condensed(w[:, None] * w[None, :])


def condensed_place(i, j, n: int):
    """Position of the pair of images i and j in the order of `condensed`, for n images."""
    i, j = jnp.minimum(i, j), jnp.maximum(i, j)
    if n % 2 == 0:
        first = i < n // 2
        return jnp.where(first, i * (n - 1) + j - 1, (n - 1 - i) * (n - 1) + n - 1 - j)
    first = i < n // 2
    return jnp.where(first, i * n + j, (n - 2 - i) * n + n - 1 - j)


def _pairs(n: int):
    """First and second image of every pair, in the order of `condensed`."""
    i = jnp.broadcast_to(jnp.arange(n)[:, None], (n, n))
    return condensed(i), condensed(i.T)


def _unit(v, scale):
    """`v` at length 1; NaN if it is zero to within the rounding of numbers as large as `scale`."""
    largest = power_of_two(jnp.max(jnp.abs(scale)))
    v, scale = v / largest, scale / largest
    length = jnp.sqrt(sum_of_squares(v))
    tolerance = 8 * jnp.finfo(v.dtype).eps * jnp.sqrt(sum_of_squares(scale))
    return v / jnp.where(length > tolerance, length, jnp.nan)


def _length(size, scale, w, fewest):
    """Root of squared lengths `(T, b)` under weights `(n, b)`.

    NaN if nothing is left of `scale`, of which rounding takes a share, or fewer than `fewest` images have weight.
    """
    real = (size > 32 * jnp.finfo(size.dtype).eps * scale) & (jnp.sum(w > 0, 0) >= fewest)
    return jnp.sqrt(jnp.where(real, size, jnp.nan))


def _centered_unit(v, where=None):
    centered = v - _mean(v, where)
    return _unit(_kept(centered - _mean(centered, where), where), _kept(v, where))


def _mean(v, where):
    return jnp.mean(v) if where is None else jnp.sum(_kept(v, where)) / jnp.sum(where)


def _kept(v, where):
    """`v` with zeros where it does not count."""
    return v if where is None else jnp.where(where, v, 0)


def _all_pairs(x, y):
    """Index arrays of the pairs of networks to compute: the upper triangle when `y` is None."""
    if y is None:
        return jnp.triu_indices(x.shape[0])
    s, t = jnp.indices((x.shape[0], y.shape[0]))
    return s.ravel(), t.ravel()


def _spread_pairs(scores, x, y):
    """`(pairs, b)` back to `(b, S, T)`, mirrored when `y` is None."""
    s, t = _all_pairs(x, y)
    full = jnp.zeros((x.shape[0], (x if y is None else y).shape[0], scores.shape[1]), scores.dtype)
    full = full.at[s, t].set(scores)
    full = full.at[t, s].set(scores) if y is None else full
    return jnp.moveaxis(full, -1, 0)


def pair_moments(x, y, weights):
    """Sum over p of weights[p, b] x[s, p] y[t, p] for all pairs: `(S, p), (T, p), (p, b) -> (pairs, b)`.

    The products x y do not depend on the weights, so all resamples are one matrix product, taken in blocks of p.
    """
    block = 1024
    s, t = _all_pairs(x, y)
    y = x if y is None else y
    pad = -x.shape[1] % block

    def cut(a, axis):
        a = jnp.pad(a, [(0, pad if k == axis else 0) for k in range(a.ndim)])
        shape = (*a.shape[:axis], -1, block, *a.shape[axis + 1 :])
        return jnp.moveaxis(a.reshape(shape), axis, 0)

    def term(parts):
        xp, yp, wp = parts
        return block_dot(xp[s] * yp[t], wp.T)

    start = jnp.zeros((s.size, weights.shape[1]), x.dtype)
    return compensated_sum(term, (cut(x, 1), cut(y, 1), cut(weights, 0)), start)


def _weighted_cosine(networks, weights, removed, w, min_images):
    """Cosines of centered maps under b weightings of the images: `(b, S, T)`.

    Args:
        networks: for rows and for columns, the maps' entries `(S, p)` with the arrays `(S, ...)` that `removed` needs;
            None for columns that are the rows.
        weights: of the entries, `(p, b)`.
        removed: share of the weighted sums of products `(pairs, b)` that centering takes away, from both maps' arrays.
        w: weights of the images, `(n, b)`.
        min_images: images that must have weight.
    """
    (flat_x, own_x), columns = networks
    flat_y, own_y = (None, own_x) if columns is None else columns
    s, t = _all_pairs(flat_x, flat_y)

    def of(own, networks):
        return jax.tree.map(lambda a: a[networks], own)

    def length(flat, own):
        second = long_dot(flat * flat, weights.T)
        return _length(second - removed(own, own), second, w, min_images)

    cross = pair_moments(flat_x, flat_y, weights) - removed(of(own_x, s), of(own_y, t))
    length_x = length(flat_x, own_x)
    length_y = length_x if columns is None else length(flat_y, own_y)
    return _spread_pairs(cross / (length_x[s] * length_y[t]), flat_x, flat_y)


def _compare_embedded(self, a: Float[Array, "n n"], b: Float[Array, "n n"]) -> Float[Array, ""]:
    """`(n, n), (n, n) -> ()`."""
    return declared(self, ComparatorCapabilities).finish(jnp.sum(self.embed(a) * self.embed(b)))


def _normalize(pooled):
    """A mean of embedded maps at length 1."""
    return _unit(pooled, pooled)


def _reorder_condensed(order):
    """Index that turns a condensed map into that of the images in another order."""
    i, j = _pairs(order.size)
    return condensed_place(order[i], order[j], order.size)


def _shares_condensed(v):
    """Squared length of a condensed map that lies with the pairs of each image, `(p,) -> (n,)`."""
    n = round((1 + (1 + 8 * v.size) ** 0.5) / 2)
    i, j = _pairs(n)
    return jnp.zeros(n, v.dtype).at[i].add(v * v).at[j].add(v * v)


@register_static
@dataclasses.dataclass(frozen=True)
class Pearson:
    """Pearson correlation of the upper triangles; a similarity.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> m = jnp.abs(jnp.arange(4.0)[:, None] - jnp.arange(4.0))
    >>> round(float(js.compare.pearson(m, 2 * m + 1)), 5)
    1.0
    """

    min_images: ClassVar[int] = 3
    invariance: ClassVar[int] = CONSTANT
    why_undefined: ClassVar[str] = "its map is constant"
    __call__ = _compare_embedded
    permuted = staticmethod(_reorder_condensed)
    shares = staticmethod(_shares_condensed)
    embed_pooled = staticmethod(_normalize)

    def margins(self, sums, n):
        """Half the mean of all pairs."""
        return 0 * sums + sums.sum() / (2 * n * (n - 1))

    def embed(self, m):
        """Upper triangle at mean 0 and length 1."""
        return _centered_unit(condensed(m))

    def embed_pairs(self, v, where):
        """The entries that count, at mean 0 and length 1."""
        return _centered_unit(v, where)

    def weighted(self, x, y, w):
        """`(b, S, T)` with pair weights w_i w_j."""
        weights = pair_weights(w)
        weights = weights / jnp.sum(weights, 0)
        parts = [None if z is None else (z, long_dot(z, weights.T)) for z in (x, y)]
        return _weighted_cosine(parts, weights, lambda a, b: a * b, w, self.min_images)


@register_static
@dataclasses.dataclass(frozen=True)
class Cosine:
    """Cosine of the upper triangles, not centered; a similarity."""

    min_images: ClassVar[int] = 3
    invariance: ClassVar[int] = SCALE
    why_undefined: ClassVar[str] = "its map is zero"
    __call__ = _compare_embedded
    permuted = staticmethod(_reorder_condensed)
    shares = staticmethod(_shares_condensed)
    embed_pooled = staticmethod(_normalize)

    def margins(self, sums, n):
        """Zero, as nothing is subtracted."""
        return 0 * sums

    def embed(self, m):
        """Upper triangle at length 1."""
        v = condensed(m)
        return _unit(v, v)

    def embed_pairs(self, v, where):
        """The entries that count, at length 1."""
        v = _kept(v, where)
        return _unit(v, v)

    def weighted(self, x, y, w):
        """`(b, S, T)` with pair weights w_i w_j."""
        parts = [None if z is None else (z, ()) for z in (x, y)]
        return _weighted_cosine(parts, pair_weights(w), lambda a, b: 0, w, self.min_images)


@register_static
@dataclasses.dataclass(frozen=True)
class Spearman:
    """Spearman correlation of the upper triangles with average ranks for ties; a similarity (RSA 2019, equation 2).

    Attributes:
        correct_ties: divide by the spread of the tied ranks. Without, this is rho-a, 12 cov(ranks) p / (p^3 - p) for p
            pairs, the expectation of rho under random breaking of ties (Schuett et al. 2023, section "RDM
            comparators"): a map with ties has less than 1 with itself.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> m = jnp.abs(jnp.arange(4.0)[:, None] - jnp.arange(4.0))
    >>> round(float(js.compare.spearman(m, m**3)), 5)
    1.0
    """

    correct_ties: bool = True
    min_images: ClassVar[int] = 3
    invariance: ClassVar[int] = CONSTANT
    why_undefined: ClassVar[str] = "its map is constant"
    __call__ = _compare_embedded
    permuted = staticmethod(_reorder_condensed)

    def rank_size(self, size, p):
        """That of the ranks themselves, or of ranks without ties."""
        return size if self.correct_ties else (p - 1 / p) / 12

    def embed(self, m):
        """Centered ranks, scaled."""
        return self._of_ranks(self.pooled(m))

    def pooled(self, m):
        """Average ranks."""
        return ranks.average(condensed(m))

    def embed_pooled(self, mean):
        """Embedding of the ranks of the mean ranks."""
        return self._of_ranks(ranks.average(mean))

    def embed_pairs(self, v, where):
        """Centered ranks among the entries that count, scaled."""
        return self._of_ranks(ranks.average(v, where), where)

    def _of_ranks(self, r, where=None):
        count = r.size if where is None else jnp.sum(where)
        r = r / count
        if self.correct_ties:
            return _centered_unit(r, where)
        return _kept((r - _mean(r, where)) * jnp.sqrt(12 / (count - 1 / count)), where)

    def prepare(self, m):
        """Order of the pairs, sorted once for all resamples."""
        return ranks.sort_pairs(condensed(m), *_pairs(m.shape[0]))

    def weighted(self, x, y, w):
        """`(b, S, T)`, average ranks taken anew under every weighting."""
        pairs = pair_weights(w)
        root, total = jnp.sqrt(pairs), jnp.sum(pairs, 0)

        def one(order):
            # ranks under any weighting have mean (total + 1) / 2
            z = (ranks.weighted(order, w, pairs) - (total + 1) / 2) / total * root
            z = jnp.where(order.undefined, jnp.nan, z).T
            return z, jnp.sum(z * z, 1)

        zx, size_x = lax.map(one, x)
        zy, size_y = (zx, size_x) if y is None else lax.map(one, y)

        def lane(b):
            a, c = (lax.dynamic_index_in_dim(z, b, 1, keepdims=False) for z in (zx, zy))
            products = long_dot(a, c)
            if not self.correct_ties:
                return products * 12 / (total[b] - 1 / total[b])
            size = size_x[:, b][:, None] * size_y[:, b][None, :]
            return products / jnp.sqrt(jnp.where(size > 0, size, jnp.nan))

        return lax.map(lane, jnp.arange(w.shape[1]))

    def weighted_ceiling(self, x, w):
        """`(b, 2, U)`: every map with the mean ranks of the others, and of all, ranked again under every weighting."""
        pairs = pair_weights(w)
        count = x.undefined.shape[0]

        def one(order):
            return jnp.where(order.undefined, jnp.nan, ranks.weighted(order, w, pairs)).T

        every = lax.map(one, x)

        def lane(b):
            own, weights = lax.dynamic_index_in_dim(every, b, 1, keepdims=False), pairs[:, b]
            total, pooled = jnp.sum(weights), jnp.sum(own, 0)
            means = jnp.concatenate([(pooled - own) / (count - 1), pooled[None] / count])
            again = lax.map(lambda mean: ranks.counted(mean, weights), means)
            z, best = ((r - (total + 1) / 2) / total * jnp.sqrt(weights) for r in (own, again))
            products = jnp.stack([jnp.sum(z * best[:-1], 1), long_dot(z, best[-1:])[:, 0]])
            if not self.correct_ties:
                return products * 12 / (total - 1 / total)
            sizes = [jnp.sum(v * v, 1) for v in (z, best)]
            size = sizes[0] * jnp.stack([sizes[1][:-1], jnp.broadcast_to(sizes[1][-1], (count,))])
            return products / jnp.sqrt(jnp.where(size > 0, size, jnp.nan))

        return lax.map(lane, jnp.arange(w.shape[1]))


@register_static
@dataclasses.dataclass(frozen=True)
class Kendall:
    """Kendall's tau of the upper triangles, concordant less discordant pairs of their entries; a similarity.

    Exact, in p log p steps for p pairs of images. Noise ceilings take mean ranks, as for `Spearman`.

    Attributes:
        correct_ties: tau-b, divided by the root of the numbers of untied pairs in either map (Kendall 1945). Without,
            this is tau-a, divided by the number of all (Kendall 1938): a map with ties has less than 1 with itself.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> m = jnp.abs(jnp.arange(4.0)[:, None] - jnp.arange(4.0))
    >>> [round(float(tau(m, m**3)), 5) for tau in (js.compare.kendall_a, js.compare.kendall_b)]
    [0.73333, 1.0]
    """

    correct_ties: bool = True
    min_images: ClassVar[int] = 3
    invariance: ClassVar[int] = CONSTANT
    why_undefined: ClassVar[str] = "its map is constant"
    permuted = staticmethod(_reorder_condensed)

    def __call__(self, a: Float[Array, "n n"], b: Float[Array, "n n"]) -> Float[Array, ""]:
        """`(n, n), (n, n) -> ()`."""
        return self.scores(self.embed(a)[None], self.embed(b)[None])[0, 0]

    def embed(self, m):
        """Average ranks."""
        return self.embed_pooled(condensed(m))

    def embed_pooled(self, mean):
        """Ranks of mean ranks."""
        r = ranks.average(mean)
        return jnp.where(jnp.all(r == r[0]), jnp.nan, r) if self.correct_ties else r

    def scores(self, x, y):
        """`(S, T)` of average ranks."""
        return self._of_ranks(x, y, None)[0]

    def weighted(self, x, y, w):
        """`(b, S, T)`, every entry counted as often as its images are."""
        return self._of_ranks(x, y, w)

    def _of_ranks(self, x, y, w):
        """`(b, S, T)`, or `(1, S, T)` without weights of the images."""
        pairs = None if w is None else pair_weights(w)
        rows = lax.map(concordance.ranking, x)
        columns = rows if y is None else lax.map(concordance.ranking, y)

        def one(place):
            a, b = (concordance.select(side, k) for side, k in zip((rows, columns), place, strict=True))
            return jnp.atleast_1d(self._tau(a, b, pairs))

        return _spread_pairs(concordance.over_pairs(one, _all_pairs(x, y)), x, y)

    def _tau(self, a, b, pairs):
        """Tau of two rankings, `()`, or `(b,)` under weights of the entries."""
        found = 2 * concordance.concordance(a, b, pairs)
        if not self.correct_ties:
            total = jnp.asarray(a.values.size, found.dtype) if pairs is None else jnp.sum(pairs, 0)
            return found / total / (total - 1)
        untied = [one.untied if pairs is None else concordance.untied(one, pairs) for one in (a, b)]
        return found / jnp.where((untied[0] > 0) & (untied[1] > 0), jnp.sqrt(untied[0]) * jnp.sqrt(untied[1]), jnp.nan)

    def weighted_ceiling(self, x, w):
        """`(b, 2, U)`: every map with the mean ranks of the others, and of all, ranked again under every weighting."""
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


@register_static
@dataclasses.dataclass(frozen=True)
class Whitened:
    """Cosine of the upper triangles, whitened by the covariance of noisy distances; a similarity.

    The noise of an image is in all of its distances. Squared distances of noise alone, independent between images, have
    the covariance V, up to a factor: 4 for a pair with itself, 1 for pairs that share an image, else 0 (Diedrichsen et
    al. 2021, arXiv:2007.02789). V^-1/2, up to a factor, multiplies the mean of a map by 1 / sqrt(n), what images add to
    all of their pairs by sqrt(2 / n), and the rest by 1; `u_centered_cosine` keeps the rest alone. Maps should be
    squared distances, as those of `js.crossnobis`, or correlation distances. Under weights, copies of an image are
    images of their own. `whitened_by` takes a covariance between images.

    Attributes:
        centered: subtract the mean of the entries first: whitened Pearson correlation.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> m = (jnp.arange(5.0)[:, None] - jnp.arange(5.0)) ** 2
    >>> round(float(js.compare.whitened_cosine(m, m + 1)), 3), round(float(js.compare.whitened_pearson(m, m + 1)), 3)
    (0.997, 1.0)
    """

    centered: bool = False
    min_images: ClassVar[int] = 3
    __call__ = _compare_embedded
    permuted = staticmethod(_reorder_condensed)
    shares = staticmethod(_shares_condensed)
    embed_pooled = staticmethod(_normalize)

    @property
    def invariance(self) -> int:
        """A constant may be added where it is subtracted."""
        return CONSTANT if self.centered else SCALE

    @property
    def why_undefined(self) -> str:
        """Words on maps of length zero."""
        return "its map is constant" if self.centered else "its map is zero"

    def embed(self, m):
        """Whitened upper triangle at length 1."""
        n, v = m.shape[0], condensed(m)
        mean = jnp.mean(v)
        m = centering.off_diagonal(m - mean)
        mean, kept = (0 * mean if self.centered else mean / math.sqrt(n)), 1 - math.sqrt(2 / n)
        a = kept * centering.margins(m, jnp.ones(n, jnp.result_type(m)))
        return _unit(condensed(m - a[:, None] - a[None, :]) + mean, v)

    def prepare(self, m):
        """U-centered map and what it lacks, a_i + a_j, at a common scale."""
        z = self.embed(m)
        unit = jnp.where(jnp.any(jnp.isnan(z)), jnp.nan, power_of_two(jnp.max(jnp.abs(condensed(m)))))
        m = centering.off_diagonal(m / unit)
        ones = jnp.ones(m.shape[0], jnp.result_type(m))
        a = centering.margins(m, ones)
        rest = centering.off_diagonal(m - a[:, None] - a[None, :])
        more = centering.margins(rest, ones)
        return centering.off_diagonal(rest - more[:, None] - more[None, :]), a + more

    def weighted(self, x, y, w):
        """`(b, S, T)`: V^-1 d is (d_ij - s_i - s_j) / 2 with (W + 2 - 2 w_i) s_i = (d w)_i - sum of w s.

        Of a_i + a_j it is (c_i + c_j) / 2 with (W + 2 - 2 w_i) c_i = 2 a_i - sum of w c.
        """
        pairs, total, fit = pair_weights(w), jnp.sum(w, 0), jax.vmap(centering.fit_margins, (0, None, None))

        def parts(maps):
            rest, a = maps
            rows, a = dot(rest, w), jnp.broadcast_to(a[..., None], (*a.shape, w.shape[1]))
            if self.centered:
                sums = jnp.sum(w * (rows + 2 * (total - w) * a), 1, keepdims=True)
                a = a - sums / jnp.sum(w * (total - w), 0) / 2
            sums = (total - 2 * w) * a + jnp.sum(w * a, 1, keepdims=True)
            return jax.vmap(condensed)(rest), (fit(rows, w, 2), rows, fit(2 * a, w, 2), sums)

        def removed(p, q):
            s, rows, c, _ = p
            return jnp.sum(w * ((s - c) * q[1] - q[2] * rows - c * q[3]), 1)

        both = [None if z is None else parts(z) for z in (x, y)]
        return _weighted_cosine(both, pairs, removed, w, self.min_images)


@register_dataclass
@dataclasses.dataclass(frozen=True)
class WhitenedBy:
    """`Whitened` where noise covaries between images, or differs: V = (C S C')^2 elementwise, C of rows e_i - e_j.

    Takes no resamples, as S is of these very images. Made by `whitened_by`.

    Attributes:
        whitener: `(n, n)`, with S^-1 = whitener' whitener.
        precision: `(n,)` sums over the rows of S^-1.
        centered: subtract the mean of the entries first, plain as in rsatoolbox.
    """

    whitener: Array
    precision: Array
    centered: bool = dataclasses.field(default=False, metadata={"static": True})
    min_images: ClassVar[int] = 3
    __call__ = _compare_embedded
    embed_pooled = staticmethod(_normalize)
    of_these_images: ClassVar[str] = "its covariance is that of the images it was made for"
    invariance = Whitened.invariance
    why_undefined = Whitened.why_undefined

    def embed(self, m):
        """W K W' at length 1, K = -(m - a_i - a_j) / 2 with K S^-1 1 = 0 and W the whitener, the triangle twice."""
        if len(self.precision) != m.shape[0]:
            raise ValueError(f"sigma_k is of {len(self.precision)} images, and the maps of {m.shape[0]}")
        v = condensed(m)
        m = centering.off_diagonal(m - jnp.mean(v) if self.centered else m)
        whitener = self.whitener.astype(m.dtype)
        z = dot(dot(whitener, centering.biased(m, self.precision.astype(m.dtype))), whitener.T)
        return _unit(jnp.concatenate([math.sqrt(2) * condensed(z), jnp.diagonal(z)]), v)


def whitened_by(sigma_k: Float[Array, "n n"] | Float[Array, " n"], *, centered: bool = False) -> WhitenedBy:
    """Whitened cosine, or with `centered` Pearson correlation, for noise of a given covariance between images.

    Args:
        sigma_k: covariance of the noise of n images, `(n, n)`, or their variances `(n,)`; up to a factor.
        centered: subtract the mean of the entries first.

    Raises:
        ValueError: it is not symmetric, or not positive definite.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> m = (jnp.arange(4.0)[:, None] - jnp.arange(4.0)) ** 2
    >>> other = js.compare.whitened_by(jnp.array([1.0, 2.0, 1.0, 4.0]))
    >>> round(float(other(m, m + 1)), 3)
    0.99
    """
    with jax.enable_x64(True):
        s = jnp.asarray(sigma_k, jnp.float64)
        if s.ndim not in (1, 2) or s.shape != s.shape[:1] * s.ndim or not s.size:
            raise ValueError(f"sigma_k of shape {s.shape} is neither a covariance (n, n) nor variances (n,).")
        s = jnp.diag(s) if s.ndim == 1 else s
        if not jnp.allclose(s, s.T, rtol=0, atol=1e-6 * jnp.max(jnp.abs(s))):
            raise ValueError("sigma_k is not symmetric, or not finite.")
        root = jnp.linalg.cholesky(s / jnp.max(jnp.abs(s)))
        whitener = solve_triangular(root, jnp.eye(len(s)), lower=True)
        if not jnp.all(jnp.isfinite(whitener)):
            raise ValueError("sigma_k is not positive definite; shrink it, or add to its diagonal.")
        precision = dot(whitener.T, jnp.sum(whitener, 1))
    return WhitenedBy(whitener, precision, centered)


@register_static
@dataclasses.dataclass(frozen=True)
class UCenteredCosine:
    """Cosine of the U-centered maps over the off-diagonal entries; equal to their Pearson correlation there.

    The unbiased comparator of DDS 2020 (section 4) and of unbiased CKA; may be negative. Needs n >= 4 images.
    """

    min_images: ClassVar[int] = 4
    invariance: ClassVar[int] = MARGINS
    why_undefined: ClassVar[str] = "its map is a sum of terms a_i + a_j, which centering removes"
    __call__ = _compare_embedded
    permuted = staticmethod(_reorder_condensed)
    shares = staticmethod(_shares_condensed)
    embed_pooled = staticmethod(_normalize)

    def margins(self, sums, n):
        """`centering.margins` under equal weights."""
        return (sums - sums.sum() / (2 * n - 2)) / (n - 2)

    def embed(self, m):
        """U-centered upper triangle at length 1."""
        return _unit(condensed(centering.unbiased(m)), condensed(m))

    def embed_between(self, m, group, count):
        """Entries of different groups, centered without bias for new groups, at length 1."""
        return _unit(condensed(centering.between(m, group, count)), condensed(m))

    def prepare(self, m):
        """U-centered map at length 1; the weighted fit removes what the weights make of the margins."""
        centered = centering.unbiased(m)
        return _unit(centered, centering.off_diagonal(m))

    def weighted(self, x, y, w):
        """`(b, S, T)`: sum of w_i w_j K_ij L_ij less 2 sum of w_i a_i s_i, a the margins of K, s = L w."""

        def parts(maps):
            rows = dot(maps, w)
            return jax.vmap(condensed)(maps), (jax.vmap(centering.fit_margins, (0, None))(rows, w), rows)

        def removed(a, b):
            return jnp.sum(w * a[0] * b[1], 1)

        both = [None if z is None else parts(z) for z in (x, y)]
        return _weighted_cosine(both, pair_weights(w), removed, w, self.min_images)

    def from_features(self, products, k, h):
        """|X'Y|^2 - n / (n - 2) k . h + sum(k) sum(h) / ((n - 1) (n - 2)): Song et al. 2012, zero column sums."""
        n = k.shape[1]
        pairs = float((n - 1) * (n - 2))  # may exceed the integers of a device
        margins = jnp.sum(k, 1)[:, None] * jnp.sum(h, 1)[None] / pairs
        return products - n / (n - 2) * long_dot(k, h) + margins


@register_static
@dataclasses.dataclass(frozen=True)
class CenteredCosine:
    """Cosine of the biased-centered maps over all entries, diagonal included: biased CKA (Kornblith et al. 2019).

    Attributes:
        root: take the square root, NaN below zero by more than rounding: distance correlation where the maps are
            Euclidean distances (Szekely, Rizzo and Bakirov 2007, definition 3).
    """

    root: bool = False
    min_images: ClassVar[int] = 3
    invariance: ClassVar[int] = MARGINS
    why_undefined: ClassVar[str] = "its map is a sum of terms a_i + a_j, which centering removes"
    reads_diagonal: ClassVar[bool] = True
    __call__ = _compare_embedded
    embed_pooled = staticmethod(_normalize)
    debiased: ClassVar[UCenteredCosine] = UCenteredCosine()

    def margins(self, sums, n):
        """Means of the rows, less half the mean of all."""
        return sums / n - sums.sum() / (2 * n**2)

    def embed(self, m):
        """H m H at length 1, flattened."""
        return self.prepare(m).ravel()

    def prepare(self, m):
        """H m H at length 1."""
        return _unit(centering.biased(m), m)

    def finish(self, score):
        """Score from the inner product of embedded maps."""
        if not self.root:
            return score
        rounding = 8 * jnp.finfo(score.dtype).eps
        return safe_sqrt(jnp.where((score < 0) & (score >= -rounding), 0, score))

    @property
    def why_undefined_pair(self) -> str:
        """Words on roots of negative numbers."""
        return "the score is a root, and what it is taken of is negative" if self.root else ""

    def permuted(self, order):
        """Index into the flattened matrix."""
        return (order[:, None] * order.size + order[None, :]).ravel()

    def shares(self, v):
        """Squared length that lies with the row of each image."""
        n = math.isqrt(v.size)
        return jnp.sum(v.reshape(n, n) ** 2, 1)

    def weighted(self, x, y, w):
        """`(b, S, T)`, the images repeated as their weights say."""
        shares = w / jnp.sum(w, 0)

        def parts(maps):
            rows = dot(maps, shares)
            return maps.reshape(maps.shape[0], -1), (rows, jnp.sum(shares * rows, 1))

        def removed(a, b):
            return 2 * jnp.sum(shares * a[0] * b[0], 1) - a[1] * b[1]

        both = [None if z is None else parts(z) for z in (x, y)]
        weights = (shares[:, None] * shares[None]).reshape(-1, w.shape[1])
        return self.finish(_weighted_cosine(both, weights, removed, w, self.min_images))

    def from_features(self, products, k, h):
        """|X'Y|^2: biased centering leaves the kernels of centered columns as they are."""
        return products


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

__all__ = public_names(globals())


def __dir__():
    return __all__
