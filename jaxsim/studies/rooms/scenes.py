"""Random furnished rooms: a pure function from a key and a style to a `Scene`.

World coordinates are meters, x and z along the walls, y up from the floor, the origin at the middle of the floor. An
object turned by `yaw` faces (sin yaw, 0, cos yaw). The camera looks along the third row of its rotation; its first row
points right and its second down.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import register_static

from jaxsim.studies.rooms import furniture

STANDING_OBJECTS, HUNG_OBJECTS, STRUCTURES = 7, 3, 3
OBJECTS = STANDING_OBJECTS + HUNG_OBJECTS
PLACES, VIEWS = 16, 32
"""Numbers of candidate positions of an object and candidate views of a room; the best one is used."""
PATTERNS = ("plain", "checker", "stripes", "wood", "tiles", "noise")
CLEARANCE = 0.3
"""Smallest distance of the camera from furniture and walls, in meters."""


@register_static
@dataclasses.dataclass(frozen=True)
class Style:
    """Appearance and furnishing of the rooms of one world.

    Attributes:
        name: name of the world.
        width: range of a room's extent along x and z, in meters.
        height: range of a room's height.
        hue: offset of all usual hues.
        usual: share of surfaces near the usual hue of their kind.
        saturation: range of the saturation of colors.
        value: range of the brightness of colors.
        furniture_patterns: weights of PATTERNS on furniture.
        wall_patterns: weights of PATTERNS on walls.
        floor_patterns: weights of PATTERNS on floors.
        light: range of the strength of the two lamps.
        ambient: range of the ambient light.
        field: range of the horizontal field of view, in degrees.
        tilt: largest roll of the camera, in degrees.
        grain: standard deviation of the image noise.
    """

    name: str
    width: tuple[float, float] = (3.2, 6.5)
    height: tuple[float, float] = (2.3, 3.2)
    hue: float = 0.0
    usual: float = 0.95
    saturation: tuple[float, float] = (0.15, 0.5)
    value: tuple[float, float] = (0.35, 0.95)
    furniture_patterns: tuple[float, ...] = (4, 0.6, 1, 3, 0.3, 1.5)
    wall_patterns: tuple[float, ...] = (4, 0.3, 1.5, 0.3, 1.5, 1.5)
    floor_patterns: tuple[float, ...] = (1, 1.5, 1, 4, 2.5, 1)
    light: tuple[float, float] = (0.5, 1.0)
    ambient: tuple[float, float] = (0.25, 0.45)
    field: tuple[float, float] = (60.0, 85.0)
    tilt: float = 3.0
    grain: float = 0.0


ROOMS = Style("rooms")
LOFTS = Style(
    "lofts",
    width=(4.5, 9.0),
    height=(2.8, 4.2),
    hue=0.35,
    usual=0.6,
    saturation=(0.3, 0.95),
    value=(0.15, 0.8),
    furniture_patterns=(1, 2, 3, 0.5, 2, 1),
    wall_patterns=(1, 1, 2, 1, 3, 3),
    floor_patterns=(2, 3, 2, 1, 1, 3),
    light=(0.8, 1.4),
    ambient=(0.1, 0.25),
    field=(50.0, 70.0),
    tilt=8.0,
    grain=0.03,
)
"""Another world: larger, darker, gaudier rooms seen by a noisier camera."""
WORLDS = {style.name: style for style in (ROOMS, LOFTS)}


class Materials(NamedTuple):
    """Materials of surfaces, with any leading axes.

    Attributes:
        color: `(..., 3)` in [0, 1].
        second: the pattern's other color, `(..., 3)`.
        pattern: index into PATTERNS.
        frequency: repeats per meter.
    """

    color: jax.Array
    second: jax.Array
    pattern: jax.Array
    frequency: jax.Array


class Camera(NamedTuple):
    """A pinhole camera.

    Attributes:
        position: `(3,)` meters.
        rotation: `(3, 3)`, rows right, down and forward in world coordinates.
        focal: focal length in units of half the image's width, `()`.
    """

    position: jax.Array
    rotation: jax.Array
    focal: jax.Array


class Scene(NamedTuple):
    """One furnished room.

    Attributes:
        size: extents of the room along x, y and z, `(3,)`.
        kind: class of each object, an index into `furniture.OBJECTS`, `(OBJECTS,)`.
        present: whether the object exists.
        position: center of its base, `(OBJECTS, 3)`.
        yaw: direction it faces.
        extents: width, height and depth, `(OBJECTS, 3)`.
        materials: three per object, `(OBJECTS, 3, ...)`.
        structures: center and half extents of structures in the room, `(STRUCTURES, 2, 3)`; an absent one lies below
            the floor.
        surfaces: materials of walls, floor and ceiling, `(3, ...)`.
        lights: positions, `(2, 3)`.
        light_colors: `(2, 3)`.
        ambient: `()`.
        camera: the camera.
        scene: index into `furniture.SCENES`, `()`.
    """

    size: jax.Array
    kind: jax.Array
    present: jax.Array
    position: jax.Array
    yaw: jax.Array
    extents: jax.Array
    materials: Materials
    structures: jax.Array
    surfaces: Materials
    lights: jax.Array
    light_colors: jax.Array
    ambient: jax.Array
    camera: Camera
    scene: jax.Array


class _Draws:
    """Random numbers of one scene from a single call, since each further call would be compiled separately."""

    def __init__(self, key: jax.Array, count: int = 2048):
        self.numbers, self.used = jax.random.uniform(key, (count,)), 0

    def uniform(self, shape: tuple[int, ...] = ()) -> jax.Array:
        """Uniform numbers in [0, 1) that have not been used."""
        start, self.used = self.used, self.used + math.prod(shape)
        return self.numbers[start : self.used].reshape(shape)

    def between(self, low, high, shape: tuple[int, ...] = ()) -> jax.Array:
        """Uniform numbers between bounds that broadcast to the shape."""
        return low + (jnp.asarray(high, jnp.float32) - low) * self.uniform(shape)

    def whole(self, count: int, shape: tuple[int, ...] = ()) -> jax.Array:
        """Integers from 0 to count - 1."""
        return jnp.minimum((self.uniform(shape) * count).astype(jnp.int32), count - 1)

    def category(self, weights: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
        """Indices drawn with weights `(k,)`."""
        upto = jnp.cumsum(weights) / jnp.sum(weights)
        return jnp.minimum(jnp.sum(self.uniform(shape)[..., None] >= upto, -1), len(weights) - 1)


def sample(key: jax.Array, style: Style = ROOMS) -> Scene:
    """Draw a random scene.

    >>> import jax
    >>> from jaxsim.studies.rooms import scenes
    >>> jax.eval_shape(scenes.sample, jax.random.key(0)).position.shape  # traced only
    (10, 3)
    """
    draw = _Draws(key)
    spans = jnp.array([style.width, style.height, style.width])
    size = draw.between(spans[:, 0], spans[:, 1], (3,))
    shares, first = (jnp.asarray(a) for a in furniture.mixes())
    scene = draw.whole(len(furniture.SCENES))
    kind = draw.category(shares[scene], (STANDING_OBJECTS,)).at[0].set(first[scene])
    hung = jnp.array([furniture.OBJECTS.index(n) for n in furniture.HUNG])
    kind = jnp.concatenate([kind, hung[draw.whole(len(hung), (HUNG_OBJECTS,))]])
    _, least, most = (jnp.asarray(a) for a in furniture.templates())
    extents = draw.between(least[kind], most[kind], (OBJECTS, 3))
    extents = jnp.minimum(extents, jnp.array([10, 0.95, 10]) * size)
    structures = _structures(draw, size)
    position, yaw, present = _furnish(draw, size, kind, extents, structures)
    lights = draw.between(-0.35, 0.35, (2, 3)) * size
    lights = lights.at[:, 1].set(size[1] * draw.between(0.8, 0.95, (2,)))
    warmth = draw.between(-0.12, 0.12, (2, 1)) * jnp.array([1.0, 0.0, -1.0])
    return Scene(
        size=size,
        kind=kind,
        present=present,
        position=position,
        yaw=yaw,
        extents=extents,
        materials=_materials(
            draw,
            (OBJECTS, 3),
            style,
            style.furniture_patterns,
            (3.0, 12.0),
            jnp.array([*furniture.HUES.values()])[kind][:, None],
        ),
        structures=structures,
        surfaces=_surfaces(draw, style, jnp.array([*furniture.WALL_HUES.values()])[scene]),
        lights=lights,
        light_colors=draw.between(*style.light, (2, 1)) * (1 + warmth),
        ambient=draw.between(*style.ambient),
        camera=_camera(draw, size, position, extents, yaw, present, structures, style),
        scene=scene,
    )


def _rgb(hue, saturation, value):
    """Convert hue, saturation and value in [0, 1] to colors: `(...)` to `(..., 3)`."""
    k = (jnp.array([5.0, 3.0, 1.0]) + (hue % 1)[..., None] * 6) % 6
    return value[..., None] * (1 - saturation[..., None] * jnp.clip(jnp.minimum(k, 4 - k), 0, 1))


def _materials(draw, shape, style, weights, frequency, hue) -> Materials:
    near = hue + style.hue + draw.between(-0.04, 0.04, shape)
    hue = jnp.where(draw.uniform(shape) < style.usual, near, draw.uniform(shape))
    saturation, value = draw.between(*style.saturation, shape), draw.between(*style.value, shape)
    near, darker = hue + draw.between(-0.05, 0.05, shape), value * draw.between(0.35, 0.8, shape)
    pattern = draw.category(jnp.array(weights, jnp.float32), shape)
    repeats = jnp.exp(draw.between(*map(math.log, frequency), shape))
    return Materials(_rgb(hue, saturation, value), _rgb(near, saturation, darker), pattern, repeats)


def _surfaces(draw, style, hue) -> Materials:
    parts = [
        _materials(draw, (), style, style.wall_patterns, (0.8, 4.0), hue),
        _materials(draw, (), style, style.floor_patterns, (0.8, 4.0), furniture.FLOOR_HUE),
        _materials(draw, (), style, (1, 0, 0, 0, 0.3, 0.3), (0.8, 2.0), hue),
    ]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *parts)
    pale = stacked.color.at[2].set(0.6 + 0.4 * stacked.color[2])
    return stacked._replace(color=pale, second=stacked.second.at[2].set(0.85 * pale[2]))


def _structures(draw, size):
    """Draw a corner block that makes the room L-shaped, a pillar, and a beam below the ceiling, each in some rooms."""
    corner = 2.0 * draw.whole(2, (2,)) - 1
    half = draw.between(0.12, 0.28, (2,)) * size[::2] / 2
    block_center = jnp.array([corner[0] * (size[0] / 2 - half[0]), size[1] / 2, corner[1] * (size[2] / 2 - half[1])])
    block = jnp.stack([block_center, jnp.array([half[0], size[1] / 2, half[1]])])
    place = draw.between(-0.3, 0.3, (2,)) * size[::2]
    pillar = jnp.array([[place[0], size[1] / 2, place[1]], [0.14, size[1] / 2, 0.14]])
    beam_half = jnp.array([size[0] / 2, 0.12, 0.1])
    along = draw.between(-0.3, 0.3) * size[2]
    beam = jnp.stack([jnp.array([0.0, size[1] - 0.12, along]), beam_half])
    there = draw.uniform((STRUCTURES,)) < jnp.array([0.4, 0.2, 0.3])
    buried = jnp.array([[0.0, -20.0, 0.0], [0.1, 0.1, 0.1]])
    return jnp.where(there[:, None, None], jnp.stack([block, pillar, beam]), buried)


def footprint(extents, yaw):
    """Half extents along x and z of a rotated object's bounding rectangle: `(..., 3), (...) -> (..., 2)`."""
    c, s = jnp.abs(jnp.cos(yaw)), jnp.abs(jnp.sin(yaw))
    width, depth = extents[..., 0] / 2, extents[..., 2] / 2
    return jnp.stack([c * width + s * depth, s * width + c * depth], -1)


def _overlap(p, half, q, other):
    """Overlap area of rectangles with centers `p`, `q` and half extents `half`, `other`, `(..., 2)`."""
    return jnp.prod(jnp.maximum(half + other - jnp.abs(p - q), 0), -1)


def _furnish(draw, size, kind, extents, structures):
    """Place objects one after another where they overlap others least; drop those that still overlap."""
    against = jnp.array([f.place != "free" for f in furniture.FURNITURE.values()])
    hangs = jnp.array([f.place == "hung" for f in furniture.FURNITURE.values()])
    tall = jnp.array([n in ("picture", "window") for n in furniture.OBJECTS])
    floor = structures[:2]
    centers = jnp.zeros((OBJECTS, 2)).at[:, 0].set(1e3)
    halves = jnp.zeros((OBJECTS, 2))

    def place(state, item):
        centers, halves, raised = state
        k, wall, turn, where = item
        yaw = jnp.where(against[kind[k]], wall * (jnp.pi / 2), turn)
        half = footprint(jnp.broadcast_to(extents[k], (PLACES, 3)), yaw)
        room = size[::2] / 2
        free = where * (room - half)
        front = jnp.stack([jnp.sin(yaw), jnp.cos(yaw)], -1)
        gap = jnp.where(hangs[kind[k]], 0.0, 0.03)
        at_wall = -front * (room - half - gap)
        p = jnp.where(against[kind[k]] & (jnp.abs(front) > 0.5), at_wall, free)
        shared = _overlap(p[:, None], half[:, None], centers[None], halves[None])
        # wall-hung objects may hang above standing ones
        same_layer = raised == hangs[kind[k]]
        shared = jnp.sum(jnp.where(same_layer, shared, 0), 1)
        shared += jnp.sum(_overlap(p[:, None], half[:, None], floor[None, :, 0, ::2], _solid(floor)[None]), 1)
        best = jnp.argmin(shared)
        fits = (shared[best] <= 1e-4) & jnp.all(half[best] < room)
        height = jnp.where(tall[kind[k]], jnp.maximum(jnp.minimum(1.3, size[1] - extents[k, 1] - 0.1), 0.2), 0.0)
        center = jnp.array([p[best, 0], height, p[best, 1]])
        state = (
            centers.at[k].set(jnp.where(fits, p[best], 1e3)),
            halves.at[k].set(half[best]),
            raised.at[k].set(hangs[kind[k]]),
        )
        return state, (center, yaw[best], fits)

    start = (centers, halves, jnp.zeros(OBJECTS, bool))
    each = (OBJECTS, PLACES)
    places = draw.whole(4, each), draw.between(0, 2 * jnp.pi, each), draw.between(-1, 1, (*each, 2))
    return jax.lax.scan(place, start, (jnp.arange(OBJECTS), *places))[1]


def _solid(structures):
    """Half extents of the structures on the floor, negative for a buried one."""
    return jnp.where((structures[:, 0, 1] > 0)[:, None], structures[:, 1, ::2], -1e3)


def _camera(draw, size, position, extents, yaw, present, structures, style) -> Camera:
    """Choose, among VIEWS random views, one with much furniture, enough clearance and a far wall."""
    room = size[::2] / 2
    at = draw.between(-1, 1, (VIEWS, 2)) * (room - CLEARANCE)
    height = draw.between(0.9, jnp.minimum(1.75, size[1] - 0.4), (VIEWS,))
    half, middle = footprint(extents, yaw), position[:, ::2]
    near = jnp.maximum(jnp.abs(at[:, None] - middle[None]) - half[None], 0)
    near = jnp.where(present[None], jnp.linalg.norm(near, axis=-1), 10)
    blocked = jnp.maximum(jnp.abs(at[:, None] - structures[None, :2, 0, ::2]) - _solid(structures[:2])[None], 0)
    clear = jnp.minimum(jnp.min(near, 1), jnp.min(jnp.linalg.norm(blocked, axis=-1), 1))
    weights = jnp.where(present, 1.0, 1e-6)
    target = jnp.mean(middle[draw.category(weights, (VIEWS, 2))], 1) + draw.between(-0.6, 0.6, (VIEWS, 2))
    toward = target - at
    forward = toward / jnp.maximum(jnp.linalg.norm(toward, axis=-1, keepdims=True), 1e-3)
    field = jnp.deg2rad(draw.between(*style.field))
    offset = middle[None] - at[:, None]
    ahead = jnp.einsum("vkc,vc->vk", offset, forward, precision="highest")
    aside = jnp.abs(offset[..., 0] * forward[:, None, 1] - offset[..., 1] * forward[:, None, 0])
    seen = present[None] & (ahead > 1.0) & (aside < 0.9 * ahead * jnp.tan(field / 2))
    exits = jnp.min((room - at * jnp.sign(forward)) / jnp.maximum(jnp.abs(forward), 1e-3), 1)
    score = jnp.sum(seen, 1) + jnp.minimum(exits, 4.0) - 10 * (clear < CLEARANCE)
    best = jnp.argmax(score + 0.5 * draw.uniform((VIEWS,)))
    pitch = jnp.deg2rad(draw.between(-22.0, 2.0))
    roll = jnp.deg2rad(style.tilt) * draw.between(-1, 1)
    flat = jnp.array([forward[best, 0], 0.0, forward[best, 1]])
    up = jnp.array([0.0, 1.0, 0.0])
    ahead = flat * jnp.cos(pitch) + up * jnp.sin(pitch)
    right = jnp.cross(ahead, up)
    right = right / jnp.linalg.norm(right)
    down = jnp.cross(ahead, right)
    c, s = jnp.cos(roll), jnp.sin(roll)
    rotation = jnp.stack([c * right + s * down, c * down - s * right, ahead])
    return Camera(jnp.array([at[best, 0], height[best], at[best, 1]]), rotation, 1 / jnp.tan(field / 2))
