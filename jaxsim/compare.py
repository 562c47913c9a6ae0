"""Comparators of two pairwise maps, g of the duality diagram: (n, n), (n, n) -> (). All are similarities.

`pearson spearman rho_a cosine` read the upper triangle without the diagonal. `u_centered_cosine` centers without bias
and reads the off-diagonal entries; `centered_cosine` centers with bias and reads the whole matrix.
`compare.pearson` is a similarity; `pairwise.correlation` is the distance 1 - r.

All of these are inner products after a normalization of each map by itself. `embed` is that normalization, so that T
networks need T embeddings and one matrix product. `prepare` and `weighted` are the same under weights of the images,
which is how the bootstrap is done. A function of your own on two maps will do as well; it is mapped over pairs, unless
it has the attributes of `Offer`.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import register_static
from jaxtyping import Array, Float, Int

from jaxsim import centering, ranks
from jaxsim.invariance import CONSTANT, MARGINS, NOTHING
from jaxsim.linalg import dot, long_dot, sum_of_squares


class Offer(NamedTuple):
    """What a comparator may have beside comparing two maps, and what is taken for it where it has not.

    Attributes:
        embed: `(n, n) -> (k,)`, such that the score is an inner product of embedded maps.
        finish: the score from that inner product; by default the product itself.
        fewest: images needed at least.
        reads_diagonal: whether it reads the diagonal of a map, so that condensed maps will not do.
        invariance: what may be added to a map without changing the score, of `jaxsim.invariance`.
        prepare: what `weighted` takes of a map; by default the embedding.
        weighted: scores under image weights, for the bootstraps and the jackknife; see `Pearson.weighted`.
        permuted: index that turns an embedded map into that of the images in another order, for permutations.
        pool: vector of a map whose mean over a group is the group's best map, for noise ceilings; by default the
            embedding.
        again: the embedding of such a mean.
    """

    embed: Any = None
    finish: Any = None
    fewest: int = 2
    reads_diagonal: bool = False
    invariance: int = NOTHING
    prepare: Any = None
    weighted: Any = None
    permuted: Any = None
    pool: Any = None
    again: Any = None


def offer(comparator: Any) -> Offer:
    """What a comparator has of `Offer`.

    >>> offer(spearman).fewest, offer(lambda a, b: a[0, 1] * b[0, 1]).fewest
    (3, 2)
    """
    own = Offer(**{name: getattr(comparator, name) for name in Offer._fields if hasattr(comparator, name)})
    embed = own.embed or _unchanged
    return own._replace(finish=own.finish or _unchanged, prepare=own.prepare or embed, pool=own.pool or embed)


def _unchanged(x):
    return x


def condensed(m: Float[Array, "n n ..."]) -> Float[Array, "p ..."]:
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
    """Where the pair of images i and j stands in the order of `condensed`, for n images."""
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
    largest = jnp.max(jnp.abs(scale))
    v, scale = (a / jnp.where(largest > 0, largest, 1) for a in (v, scale))
    length = jnp.sqrt(sum_of_squares(v))
    tolerance = 8 * jnp.finfo(v.dtype).eps * jnp.sqrt(sum_of_squares(scale))
    return v / jnp.where(length > tolerance, length, jnp.nan)


def _length(size, scale, w, fewest):
    """Root of squared lengths `(T, b)` under weights `(n, b)`.

    NaN if nothing is left of `scale`, of which rounding takes a share, or fewer than `fewest` images have weight.
    """
    real = (size > 32 * jnp.finfo(size.dtype).eps * scale) & (jnp.sum(w > 0, 0) >= fewest)
    return jnp.sqrt(jnp.where(real, size, jnp.nan))


def _centered_unit(v):
    centered = v - jnp.mean(v)
    return _unit(centered - jnp.mean(centered), v)


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

    def add(total, parts):
        xp, yp, wp = parts
        return total + dot(xp[s] * yp[t], wp), None

    start = jnp.zeros((s.size, weights.shape[1]), x.dtype)
    return lax.scan(add, start, (cut(x, 1), cut(y, 1), cut(weights, 0)))[0]


class _Comparator:
    """A similarity that is an inner product of embedded maps."""

    fewest: ClassVar[int] = 3

    def embed(self, m):
        """Vector whose inner product with that of another map is the score."""
        raise NotImplementedError

    def finish(self, score):
        """The score from the inner product."""
        return score

    def __call__(self, a: Float[Array, "n n"], b: Float[Array, "n n"]) -> Float[Array, ""]:
        """`(n, n), (n, n) -> ()`."""
        return self.finish(jnp.sum(self.embed(a) * self.embed(b)))

    def pool(self, m):
        """Vector of a map whose mean over a group's members is the group's best map (noise ceilings)."""
        return self.embed(m)

    def again(self, pooled):
        """The embedding of such a mean."""
        return _unit(pooled, pooled)

    def permuted(self, order: Int[Array, " n"]) -> Int[Array, " k"]:
        """Index that turns an embedded map into that of the images in another order."""
        i, j = _pairs(order.size)
        return condensed_place(order[i], order[j], order.size)

    def prepare(self, m):
        """What `weighted` needs of one map, computed once for all resamples."""
        return self.embed(m)

    def weighted(self, x, y, w):
        """Scores under image weights.

        Args:
            x: prepared maps of S networks, stacked.
            y: prepared maps of T networks, or None for those of `x`.
            w: `(n, b)`, one weighting of the images a column.

        Returns:
            `(b, S, T)`.
        """
        raise NotImplementedError


@register_static
@dataclasses.dataclass(frozen=True)
class Pearson(_Comparator):
    """Pearson correlation of the upper triangles; a similarity.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> m = jnp.abs(jnp.arange(4.0)[:, None] - jnp.arange(4.0))
    >>> round(float(js.compare.pearson(m, 2 * m + 1)), 5)
    1.0
    """

    invariance: ClassVar[int] = CONSTANT

    def embed(self, m):
        """Upper triangle at mean 0 and length 1."""
        return _centered_unit(condensed(m))

    def weighted(self, x, y, w):
        """`(b, S, T)` with pair weights w_i w_j."""
        weights = pair_weights(w)
        total = jnp.sum(weights, 0)
        mean_x = dot(x, weights) / total
        mean_y = mean_x if y is None else dot(y, weights) / total
        s, t = _all_pairs(x, y)
        moments = pair_moments(x, y, weights) / total - mean_x[s] * mean_y[t]

        def length(z, mean):
            second = dot(z * z, weights) / total
            return _length(second - mean**2, second, w, self.fewest)

        length_x = length(x, mean_x)
        length_y = length_x if y is None else length(y, mean_y)
        return _spread_pairs(moments / (length_x[s] * length_y[t]), x, y)


@register_static
@dataclasses.dataclass(frozen=True)
class Cosine(_Comparator):
    """Cosine of the upper triangles, not centered; a similarity."""

    def embed(self, m):
        """Upper triangle at length 1."""
        v = condensed(m)
        return _unit(v, v)

    def weighted(self, x, y, w):
        """`(b, S, T)` with pair weights w_i w_j."""
        weights = pair_weights(w)
        s, t = _all_pairs(x, y)
        length_x = _length(dot(x * x, weights), 0, w, 2)
        length_y = length_x if y is None else _length(dot(y * y, weights), 0, w, 2)
        return _spread_pairs(pair_moments(x, y, weights) / (length_x[s] * length_y[t]), x, y)


class _Ranked(_Comparator):
    """Comparators that see the ranks of the upper triangle alone."""

    invariance: ClassVar[int] = CONSTANT

    def of_ranks(self, r):
        """Embedding from ranks over their number, `(p,)`."""
        raise NotImplementedError

    def embed(self, m):
        """Centered ranks, scaled."""
        r = self.pool(m)
        return self.of_ranks(r / r.size)

    def pool(self, m):
        """Average ranks."""
        return ranks.average(condensed(m))

    def again(self, pooled):
        """Ranks of the mean ranks."""
        return self.of_ranks(ranks.average(pooled) / pooled.size)

    def prepare(self, m):
        """The order of the pairs, sorted once for all resamples."""
        return ranks.sort_pairs(condensed(m), *_pairs(m.shape[0]))

    def relate(self, products, size_x, size_y, total):
        """Scores `(S, T)` from inner products of centered ranks over the number of pairs `total`, and their squares."""
        raise NotImplementedError

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
            return self.relate(long_dot(a, c), size_x[:, b], size_y[:, b], total[b])

        return lax.map(lane, jnp.arange(w.shape[1]))


@register_static
@dataclasses.dataclass(frozen=True)
class Spearman(_Ranked):
    """Spearman correlation of the upper triangles with average ranks for ties; a similarity (RSA 2019, equation 2).

    >>> import jax.numpy as jnp, jaxsim as js
    >>> m = jnp.abs(jnp.arange(4.0)[:, None] - jnp.arange(4.0))
    >>> round(float(js.compare.spearman(m, m**3)), 5)
    1.0
    """

    def of_ranks(self, r):
        """Centered, at length 1."""
        return _centered_unit(r)

    def relate(self, products, size_x, size_y, total):
        """Divided by the lengths."""
        size = size_x[:, None] * size_y[None, :]
        return products / jnp.sqrt(jnp.where(size > 0, size, jnp.nan))


@register_static
@dataclasses.dataclass(frozen=True)
class RhoA(_Ranked):
    """Spearman's rho-a: 12 cov(ranks) p / (p^3 - p), the expectation of rho under random breaking of ties.

    Schuett et al. 2023, section "RDM comparators"; a map with ties has less than 1 with itself.
    """

    def of_ranks(self, r):
        """Centered, times sqrt(12 p^2 / (p^3 - p)) for p pairs."""
        return (r - jnp.mean(r)) * jnp.sqrt(12 / (r.size - 1 / r.size))

    def relate(self, products, size_x, size_y, total):
        """Times 12 / (p - 1 / p), p the number of pairs under the weighting."""
        return products * 12 / (total - 1 / total)


@register_static
@dataclasses.dataclass(frozen=True)
class UCenteredCosine(_Comparator):
    """Cosine of the U-centered maps over the off-diagonal entries; equal to their Pearson correlation there.

    The unbiased comparator of DDS 2020 (section 4) and of unbiased CKA; may be negative. Needs n >= 4 images.
    """

    invariance: ClassVar[int] = MARGINS
    fewest: ClassVar[int] = 4

    def embed(self, m):
        """U-centered upper triangle at length 1."""
        return _unit(condensed(centering.unbiased(m)), condensed(m))

    def prepare(self, m):
        """U-centered map at length 1; the weighted fit removes what the weights make of the margins."""
        centered = centering.unbiased(m)
        return _unit(centered, centering.off_diagonal(m))

    def weighted(self, x, y, w):
        """`(b, S, T)`: sum of w_i w_j K_ij L_ij less 2 sum of w_i a_i s_i, a the margins of K, s = L w."""
        weights = pair_weights(w)
        flat_x, rows_x, fit_x = self._parts(x, w)
        flat_y, rows_y, fit_y = (None, rows_x, fit_x) if y is None else self._parts(y, w)
        s, t = _all_pairs(flat_x, flat_y)
        cross = pair_moments(flat_x, flat_y, weights) - jnp.sum(w * fit_x[s] * rows_y[t], 1)

        def length(flat, fit, rows):
            second = dot(flat**2, weights)
            return _length(second - jnp.sum(w * fit * rows, 1), second, w, self.fewest)

        length_x = length(flat_x, fit_x, rows_x)
        length_y = length_x if flat_y is None else length(flat_y, fit_y, rows_y)
        return _spread_pairs(cross / (length_x[s] * length_y[t]), flat_x, flat_y)

    def _parts(self, maps, w):
        rows = dot(maps, w)
        fit = jax.vmap(centering.fit_margins, (0, None))(rows, w)
        return jax.vmap(condensed)(maps), rows, fit


@register_static
@dataclasses.dataclass(frozen=True)
class CenteredCosine(_Comparator):
    """Cosine of the biased-centered maps over all entries, diagonal included: biased CKA (Kornblith et al. 2019)."""

    invariance: ClassVar[int] = MARGINS
    reads_diagonal: ClassVar[bool] = True

    def embed(self, m):
        """H m H at length 1, flattened."""
        return _unit(centering.biased(m).ravel(), m.ravel())

    def permuted(self, order):
        """Index into the flattened matrix."""
        return (order[:, None] * order.size + order[None, :]).ravel()

    def prepare(self, m):
        """H m H at length 1."""
        return _unit(centering.biased(m), m)

    def weighted(self, x, y, w):
        """`(b, S, T)`, the images repeated as their weights say."""
        shares = w / jnp.sum(w, 0)
        weights = (shares[:, None] * shares[None]).reshape(-1, w.shape[1])
        flat_x, rows_x, mean_x = self._parts(x, shares)
        flat_y, rows_y, mean_y = (None, rows_x, mean_x) if y is None else self._parts(y, shares)
        s, t = _all_pairs(flat_x, flat_y)

        def centered(second, ra, ma, rb, mb):
            return second - 2 * jnp.sum(shares * ra * rb, 1) + ma * mb

        cross = centered(pair_moments(flat_x, flat_y, weights), rows_x[s], mean_x[s], rows_y[t], mean_y[t])

        def length(flat, rows, mean):
            second = dot(flat**2, weights)
            return _length(centered(second, rows, mean, rows, mean), second, w, 2)

        length_x = length(flat_x, rows_x, mean_x)
        length_y = length_x if flat_y is None else length(flat_y, rows_y, mean_y)
        return self.finish(_spread_pairs(cross / (length_x[s] * length_y[t]), flat_x, flat_y))

    def _parts(self, maps, shares):
        rows = dot(maps, shares)
        return maps.reshape(maps.shape[0], -1), rows, jnp.sum(shares * rows, 1)


@register_static
@dataclasses.dataclass(frozen=True)
class RootCenteredCosine(CenteredCosine):
    """Square root of `CenteredCosine`: distance correlation where the maps are Euclidean distances.

    Szekely, Rizzo and Bakirov 2007, definition 3.
    """

    def finish(self, score):
        """Root of the score; NaN below zero."""
        return jnp.sqrt(score)


pearson = Pearson()
spearman = Spearman()
rho_a = RhoA()
cosine = Cosine()
u_centered_cosine = UCenteredCosine()
centered_cosine = CenteredCosine()
root_centered_cosine = RootCenteredCosine()
