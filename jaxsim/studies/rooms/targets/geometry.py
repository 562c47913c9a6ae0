"""Targets from the visible surfaces: depth, normals, shading, occlusion edges, 3D corners and curvature."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxsim.studies.rooms.targets import filters

if TYPE_CHECKING:
    from jaxsim.studies.rooms.render import View

MIDDLE = 2.5
"""Depth in meters that is encoded as zero."""

DEPTH_UNIT, SHADING_UNIT = 0.5, 0.25
EDGE_UNIT, KEYPOINT_UNIT, CURVATURE_UNIT = 0.15, 0.063, 0.13
"""About one standard deviation of the raw targets in rooms, by which targets are divided."""

STEEPEST = 4.0
"""Largest slope at which a surface is extended toward another object."""

HALF_JUMP = 0.1
"""Relative jump in depth at which an occlusion edge has half strength."""

EDGE_SCALE, KEYPOINT_SCALE, CURVATURE_SCALE = 1.0, 1.5, 1.0
"""Standard deviations that blur the three sparse targets, in steps of 1/64 of the width."""

RADIUS = 0.3
"""Radius of curvature in meters that is encoded as 1 / sqrt(2)."""


def rgb2depth(view: "View") -> Float[Array, "h w 1"]:
    """Log of the depth along the optical axis over MIDDLE, in units of DEPTH_UNIT."""
    return jnp.log(jnp.asarray(view.depth) / MIDDLE)[..., None] / DEPTH_UNIT


def rgb2mist(view: "View") -> Float[Array, "h w 1"]:
    """Log of the distance from the camera over MIDDLE, in units of DEPTH_UNIT."""
    return jnp.log(jnp.asarray(view.distance) / MIDDLE)[..., None] / DEPTH_UNIT


def rgb2sfnorm(view: "View") -> Float[Array, "h w 3"]:
    """Unit normals in the camera's frame: x right, y down, z forward."""
    return jnp.asarray(view.normals)


def reshade(view: "View") -> Float[Array, "h w 1"]:
    """Shading by a lamp at the camera: cosine of normal and view direction minus one half, over SHADING_UNIT."""
    points = jnp.asarray(view.points)
    toward = -points / jnp.linalg.norm(points, axis=-1, keepdims=True)
    return (jnp.sum(view.normals * toward, -1, keepdims=True) - 0.5) / SHADING_UNIT


def edge3d(view: "View") -> Float[Array, "h w 1"]:
    """Occlusion edges: j / (j + HALF_JUMP) of the relative `jump` j, blurred by EDGE_SCALE, over EDGE_UNIT.

    Slopes and creases give no edges, however steep.
    """
    jumps = jump(view)
    return filters.blur(jumps / (jumps + HALF_JUMP), EDGE_SCALE)[..., None] / EDGE_UNIT


def jump(view: "View") -> Float[Array, "h w"]:
    """Largest gap between a pixel's surface and its four neighbors', one step away, as 1 - z_near / z_far.

    On a plane, inverse depth is linear in the image. Each of two neighbors' tangent planes is extended to the other's
    ray: the surfaces meet if the planes cross on the way; otherwise the gap is the smaller of the two differences in
    inverse depth. Between two objects, planes steeper than STEEPEST are extended at that slope, since the rim of a
    ball would otherwise reach any wall behind it.
    """
    width = view.depth.shape[1]
    reach = max(1, round(filters.pixels(width)))
    limit = STEEPEST * 2 * reach / (width * jnp.asarray(view.focal))
    gaps = [_gap(view, by, axis, limit) for axis in (0, 1) for by in (-reach, reach)]
    return jnp.max(jnp.stack(gaps), axis=0)


def _gap(view, by, axis, limit):
    """Relative gap between each pixel's surface and that of the neighbor `by` pixels along an axis."""
    points, normals = jnp.asarray(view.points), jnp.asarray(view.normals)
    there, facing = filters.shift(points, by, axis), filters.shift(normals, by, axis)
    instance = jnp.asarray(view.instance)
    other = filters.shift(instance, by, axis) != instance
    near, far = 1 / points[..., 2], 1 / there[..., 2]
    at_far = _extended(points, normals, there, near, limit, other) - far
    at_near = near - _extended(there, facing, points, far, limit, other)
    apart = jnp.minimum(jnp.abs(at_far), jnp.abs(at_near)) / jnp.maximum(near, far)
    return jnp.where(at_far * at_near > 0, apart, 0)


def _extended(points, normals, onto, inverse, limit, other):
    """Inverse depth of the tangent planes at `points` along the rays through `onto`."""
    offset = jnp.sum(normals * points, -1)
    offset = jnp.where(jnp.abs(offset) < 1e-6, -1e-6, offset)
    extended = jnp.sum(normals * onto, -1) / onto[..., 2] / offset
    limited = jnp.clip(extended, inverse * (1 - limit), inverse * (1 + limit))
    return jnp.where(other, limited, extended)


def keypoint3d(view: "View") -> Float[Array, "h w 1"]:
    """Corners of surfaces: strength of the weaker direction of change, in units of KEYPOINT_UNIT.

    Root of the smaller eigenvalue of the structure tensor (Shi and Tomasi 1994) of normals and log depth, smoothed
    by KEYPOINT_SCALE. A plane and a straight crease give zero: on a plane log depth changes in one direction only.
    Within eight steps of the image's border a steep slope leaves a trace.
    """
    log_depth = jnp.log(jnp.asarray(view.depth))[..., None]
    features = jnp.concatenate([jnp.asarray(view.normals), 2 * log_depth], -1)
    across, down = filters.gradient(filters.blur(features, 1.0))
    products = jnp.stack([jnp.sum(a * b, -1) for a, b in ((across, across), (across, down), (down, down))], -1)
    xx, xy, yy = jnp.moveaxis(filters.blur(products, KEYPOINT_SCALE), -1, 0)
    smaller = (xx + yy - jnp.hypot(xx - yy, 2 * xy)) / 2
    return jnp.sqrt(jnp.maximum(smaller, 0))[..., None] / KEYPOINT_UNIT


def curvature(view: "View") -> Float[Array, "h w 2"]:
    """The two `principal_curvatures` k, encoded as k R / sqrt(1 + (k R)^2) with R = RADIUS.

    They are blurred by CURVATURE_SCALE steps and divided by CURVATURE_UNIT.
    """
    bent = RADIUS * principal_curvatures(view)
    return filters.blur(bent / jnp.sqrt(1 + bent**2), CURVATURE_SCALE) / CURVATURE_UNIT


def principal_curvatures(view: "View") -> Float[Array, "h w 2"]:
    """Principal curvatures in 1/meter, the larger first; positive for convex surfaces.

    Eigenvalues of I^-1 II, where I has the products of the points' image derivatives and II those of the points with
    the normals, both over two steps, or 1/32 of the image's width. A ball of radius r gives 1/r twice, a plane zero, a
    crease about its angle over the width of the stencil. Zero where the stencil spans an occlusion.
    """
    reach = max(1, round(filters.pixels(view.depth.shape[1])))
    points, normals = jnp.asarray(view.points), jnp.asarray(view.normals)

    def difference(field, axis):
        return filters.shift(field, reach, axis) - filters.shift(field, -reach, axis)

    px, py, nx, ny = (difference(field, axis) for field in (points, normals) for axis in (1, 0))
    e, f, g = (jnp.sum(a * b, -1) for a, b in ((px, px), (px, py), (py, py)))
    xx, xy, yx, yy = (jnp.sum(a * b, -1) for a in (nx, ny) for b in (px, py))
    area = jnp.maximum(e * g - f**2, 1e-12)
    mean = (e * yy - f * (xy + yx) + g * xx) / (2 * area)
    product = (xx * yy - xy * yx) / area
    spread = jnp.sqrt(jnp.maximum(mean**2 - product, 0))
    both = jnp.stack([mean + spread, mean - spread], -1)
    return jnp.where(_whole(view)[..., None], both, 0)


def _whole(view: "View") -> Bool[Array, "h w"]:
    """Mask of pixels whose surface touches those of their four neighbors."""
    return jump(view) < 0.02
