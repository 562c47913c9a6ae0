"""Ray casting of a scene to a picture and exact labels of every pixel.

Rays are parametrized by depth along the optical axis. Objects are boxes, ellipsoids and upright cylinders in their own
frames; shadows are rays to the lights.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsim.studies.rooms import furniture, scenes
from jaxsim.studies.rooms.scenes import OBJECTS, STRUCTURES, Materials, Scene, Style

ROOM = OBJECTS * furniture.PARTS + STRUCTURES
"""Index of the room itself, after all parts and structures."""
AT_ONCE = 8
"""Pictures rendered in parallel."""
ABSENT = -1.0
"""Half extent of an absent part, which no ray meets."""
GLOWING = {"window": (0.9, 0), "lamp": (0.7, 0), "screen": (0.35, 0)}
"""Emitted light of classes, and which of their materials emits it."""


class View(NamedTuple):
    """One picture and its labels, in the camera's frame: x right, y down, z forward, in meters.

    Attributes:
        rgb: `(h, w, 3)` in [0, 1].
        depth: along the optical axis, `(h, w)`.
        distance: along the ray, `(h, w)`.
        points: `(h, w, 3)`.
        normals: unit, facing the camera, `(h, w, 3)`.
        semantic: index into `furniture.CLASSES`, `(h, w)`.
        instance: 0 to 5 for the room's sides, then structures, then objects, `(h, w)`.
        axes: the room's axes in the camera frame, one per row, `(3, 3)`.
        room_center: center of the room, `(3,)`.
        room_size: extents of the room along its axes, `(3,)`.
        scene: index into `furniture.SCENES`.
        focal: focal length in units of half the image's width.
    """

    rgb: jax.Array
    depth: jax.Array
    distance: jax.Array
    points: jax.Array
    normals: jax.Array
    semantic: jax.Array
    instance: jax.Array
    axes: jax.Array
    room_center: jax.Array
    room_size: jax.Array
    scene: jax.Array
    focal: jax.Array


class _Parts(NamedTuple):
    """All parts of a scene's objects in their objects' frames: `(OBJECTS, PARTS, ...)`."""

    center: jax.Array
    half: jax.Array
    material: jax.Array


def _parts(scene: Scene) -> _Parts:
    template, _, _ = (jnp.asarray(a) for a in furniture.templates())
    own = template[scene.kind]
    half = own[..., 3:6] * scene.extents[:, None]
    there = scene.present[:, None] & (own[..., 3] > 0)
    half = jnp.where(there[..., None], half, ABSENT)
    return _Parts(own[..., :3] * scene.extents[:, None], half, own[..., 6].astype(jnp.int32))


def _turned(v, cos, sin):
    """Rotate vectors `(3, ...)` from the world into an object's frame."""
    return jnp.stack([cos * v[0] - sin * v[2], v[1], sin * v[0] + cos * v[2]])


def _box(center, half, origin, inverse):
    """Parameters at which rays enter and leave boxes `(k, 3)`: `(k, p)`; `inverse` is 1 / direction, `(3, p)`."""
    enter, leave = -jnp.inf, jnp.inf
    for axis in range(3):
        middle = (center[:, axis, None] - origin[axis]) * inverse[axis]
        reach = half[:, axis, None] * jnp.abs(inverse[axis])
        enter, leave = jnp.maximum(enter, middle - reach), jnp.minimum(leave, middle + reach)
    return enter, leave


def _quadric(o, d, axes):
    """Parameters at which rays enter and leave the unit sphere (all axes) or the unit cylinder (two)."""
    a = sum(d[k] * d[k] for k in axes)
    b = sum(o[k] * d[k] for k in axes)
    c = sum(o[k] * o[k] for k in axes) - 1
    root = b * b - a * c
    reach = jnp.sqrt(jnp.maximum(root, 0))
    a = jnp.maximum(a, 1e-12)
    return jnp.where(root > 0, (-b - reach) / a, jnp.inf), jnp.where(root > 0, (-b + reach) / a, -jnp.inf)


def _ellipsoid(center, half, origin, direction):
    scale = 1 / half[:, None]
    enter, leave = _quadric((origin - center[:, None]) * scale, direction * scale, (0, 1, 2))
    return jnp.where(half[0] > 0, enter, jnp.inf), leave


def _cylinder(center, half, origin, direction):
    scale = 1 / half[:, None]
    o, d = (origin - center[:, None]) * scale, direction * scale
    enter, leave = _quadric(o, d, (0, 2))
    up = 1 / jnp.where(jnp.abs(d[1]) < 1e-9, 1e-9, d[1])
    low, high = jnp.minimum((-1 - o[1]) * up, (1 - o[1]) * up), jnp.maximum((-1 - o[1]) * up, (1 - o[1]) * up)
    return jnp.where(half[0] > 0, jnp.maximum(enter, low), jnp.inf), jnp.minimum(leave, high)


def _sign(direction):
    """1 or -1, never 0: a ray parallel to two walls is assigned to one of them, far away."""
    return jnp.where(direction < 0, -1.0, 1.0)


def _inverse(direction):
    return 1 / jnp.where(jnp.abs(direction) < 1e-9, 1e-9 * _sign(direction), direction)


def cast(scene: Scene, parts: _Parts, origin, direction):
    """Parameter and index (or ROOM) of the first part that each ray meets, `(p,)`, for rays `(3, p)`."""
    size = scene.size[:, None]
    center = jnp.array([[0.0], [0.5], [0.0]]) * size
    walls = (center + _sign(direction) * size / 2 - origin) * _inverse(direction)
    best, index = jnp.min(walls, 0), jnp.full(direction.shape[1], ROOM)

    def nearer(best, index, enter, leave, first):
        enter = jnp.where((enter < leave) & (enter > 1e-3), enter, jnp.inf)
        closest = jnp.min(enter, 0)
        number = first + jnp.argmax(enter == closest, 0)
        return jnp.where(closest < best, closest, best), jnp.where(closest < best, number, index)

    block = _box(scene.structures[:, 0], scene.structures[:, 1], origin, _inverse(direction))
    best, index = nearer(best, index, *block, OBJECTS * furniture.PARTS)

    def one(state, item):
        number, position, cos, sin, own = item
        o, d = _turned(origin - position[:, None], cos, sin), _turned(direction, cos, sin)
        boxes = _box(own.center[: furniture.BOXES], own.half[: furniture.BOXES], o, _inverse(d))
        ball = _ellipsoid(own.center[furniture.BOXES], own.half[furniture.BOXES], o, d)
        drum = _cylinder(own.center[furniture.BOXES + 1], own.half[furniture.BOXES + 1], o, d)
        enter, leave = (jnp.concatenate([b, e[None], c[None]]) for b, e, c in zip(boxes, ball, drum, strict=True))
        best, index = state
        return nearer(best, index, enter, leave, number * furniture.PARTS), None

    items = (jnp.arange(OBJECTS), scene.position, jnp.cos(scene.yaw), jnp.sin(scene.yaw), parts)
    return lax.scan(one, (best, index), items)[0]


class _Hit(NamedTuple):
    """Properties of the surface points that rays meet."""

    normal: jax.Array
    own_point: jax.Array
    own_normal: jax.Array
    materials: Materials
    glow: jax.Array
    semantic: jax.Array
    instance: jax.Array


def _glows() -> jax.Array:
    table = jnp.zeros((len(furniture.OBJECTS), 3))
    for name, (strength, material) in GLOWING.items():
        table = table.at[furniture.OBJECTS.index(name), material].set(strength)
    return table


def _look_up(scene: Scene, parts: _Parts, index, point, direction) -> _Hit:
    is_object, is_room = index < OBJECTS * furniture.PARTS, index == ROOM
    k = jnp.where(is_object, index // furniture.PARTS, 0)
    part = jnp.where(is_object, index % furniture.PARTS, 0)
    cos, sin = jnp.cos(scene.yaw)[k], jnp.sin(scene.yaw)[k]
    in_frame = _turned(point - scene.position[k].T, cos, sin)
    half = parts.half[k, part].T
    local = (in_frame - parts.center[k, part].T) / half
    block = jnp.clip(index - OBJECTS * furniture.PARTS, 0, STRUCTURES - 1)
    structure = (point - scene.structures[block, 0].T) / scene.structures[block, 1].T
    inside = (point - jnp.array([[0.0], [0.5], [0.0]]) * scene.size[:, None]) / (scene.size[:, None] / 2)
    scaled = jnp.where(is_object, local, jnp.where(is_room, inside, structure))
    side = jnp.argmax(jnp.abs(scaled), 0)
    flat = jnp.where(jnp.arange(3)[:, None] == side, jnp.sign(scaled), 0.0)
    flat = jnp.where(is_room, -flat, flat)
    round_ = local / half
    barrel = jnp.where(jnp.arange(3)[:, None] == 1, 0.0, round_)
    on_cap = jnp.abs(local[1]) > 0.999
    barrel = jnp.where(on_cap, jnp.array([[0.0], [1.0], [0.0]]) * jnp.sign(local[1]), barrel)
    curved = jnp.where(part == furniture.BOXES, round_, barrel)
    own_normal = jnp.where(is_object & (part >= furniture.BOXES), curved, flat)
    own_normal = own_normal / jnp.linalg.norm(own_normal, axis=0)
    normal = jnp.where(is_object, _turned(own_normal, cos, -sin), own_normal)
    normal = jnp.where(jnp.sum(normal * direction, 0) > 0, -normal, normal)

    material = parts.material[k, part]
    surface = jnp.where(is_room & (side == 1), jnp.where(inside[1] < 0, 1, 2), 0)
    look = jax.tree.map(
        lambda own, room: jnp.where(
            is_object[(...,) + (None,) * (own.ndim - 2)],
            own[k, material],
            room[surface],
        ),
        scene.materials,
        scene.surfaces,
    )
    glow = jnp.where(is_object, _glows()[scene.kind[k], material], 0.0)
    semantic = jnp.where(is_object, len(furniture.SURFACES) + scene.kind[k], surface)
    room_side = 2 * side + (inside[side, jnp.arange(side.size)] > 0)
    instance = jnp.where(is_object, 6 + STRUCTURES + k, jnp.where(is_room, room_side, 6 + block))
    return _Hit(normal, jnp.where(is_object, in_frame, point), own_normal, look, glow, semantic, instance)


def _texture(materials: Materials, point, normal):
    """Color `(p, 3)` of surface points, a mix of two colors by pattern."""
    side = jnp.argmax(jnp.abs(normal), 0)
    u = jnp.where(side == 0, point[2], point[0]) * materials.frequency
    v = jnp.where(side == 1, point[2], point[1]) * materials.frequency
    turn = 2 * jnp.pi
    waves = jnp.sin(turn * u + 2 * jnp.sin(1.7 * v)) + jnp.sin(turn * 0.73 * v + 2 * jnp.sin(2.3 * u + 1))
    grain = 0.5 + 0.5 * jnp.sin(turn * (u + 0.25 * jnp.sin(0.9 * v) + 0.1 * jnp.sin(3.1 * v)))
    shares = jnp.stack(
        [
            0.06 * waves,
            (jnp.floor(u) + jnp.floor(v)) % 2,
            (jnp.sin(turn * u) > 0).astype(u.dtype),
            0.8 * grain**2,
            (jnp.minimum(u % 1, v % 1) < 0.1).astype(u.dtype),
            0.5 + 0.25 * waves,
        ]
    )
    share = jnp.take_along_axis(shares, materials.pattern[None], 0)[0][:, None]
    return jnp.clip(materials.color * (1 - share) + materials.second * share, 0, 1)


def _lit(scene, parts, point, hit, albedo, eye):
    """Light from surface points toward the camera, `(p, 3)`."""
    up = 0.75 + 0.25 * hit.normal[1]
    light = (scene.ambient * up)[:, None] * jnp.ones(3)
    start = jnp.tile(point + 2e-3 * hit.normal, 2)
    toward = jnp.repeat(scene.lights.T, point.shape[1], axis=1) - start
    distance = jnp.linalg.norm(toward, axis=0)
    unit = toward / distance
    normal = jnp.tile(hit.normal, 2)
    free = cast(scene, parts, start, toward)[0] > 1 - 1e-3
    strength = free * jnp.maximum(jnp.sum(normal * unit, 0), 0) * 1.8 / (1 + 0.12 * distance**2)
    light = light + jnp.einsum("kp,kc->pc", strength.reshape(2, -1), scene.light_colors, precision="highest")
    middle = unit - jnp.tile(eye, 2)
    middle = middle / jnp.linalg.norm(middle, axis=0)
    shine = jnp.sum((free * 0.15 * jnp.maximum(jnp.sum(normal * middle, 0), 0) ** 24).reshape(2, -1), 0)
    return albedo * light + shine[:, None] + hit.glow[:, None] * jnp.array([1.0, 0.97, 0.9])


def render(scene: Scene, resolution: int = 64) -> View:
    """Render a scene to a picture and its labels.

    >>> import jax
    >>> from jaxsim.studies.rooms import render, scenes
    >>> view = jax.eval_shape(lambda key: render.render(scenes.sample(key), 16), jax.random.key(0))  # traced only
    >>> view.rgb.shape, view.depth.shape
    ((16, 16, 3), (16, 16))
    """
    h = w = resolution
    camera, parts = scene.camera, _parts(scene)
    line = (jnp.arange(w) + 0.5) / w * 2 - 1
    x, y = (a.ravel() / camera.focal for a in jnp.meshgrid(line, line))
    rays = jnp.stack([x, y, jnp.ones_like(x)])
    direction = jnp.sum(camera.rotation[:, :, None] * rays[:, None, :], 0)
    origin = camera.position[:, None]
    depth, index = cast(scene, parts, origin, direction)
    point = origin + depth * direction
    hit = _look_up(scene, parts, index, point, direction)
    albedo = _texture(hit.materials, hit.own_point, hit.own_normal)
    length = jnp.linalg.norm(rays, axis=0)
    light = _lit(scene, parts, point, hit, albedo, direction / length)
    rgb = jnp.clip((light / (1 + 0.25 * light)), 0, 1) ** (1 / 1.6)
    normals = jnp.sum(camera.rotation[:, :, None] * hit.normal[None], 1)
    middle = jnp.array([0.0, 0.5, 0.0]) * scene.size - camera.position
    return View(
        rgb=jnp.clip(rgb, 0, 1).reshape(h, w, 3),
        depth=depth.reshape(h, w),
        distance=(depth * length).reshape(h, w),
        points=(rays * depth).T.reshape(h, w, 3),
        normals=normals.T.reshape(h, w, 3),
        semantic=hit.semantic.reshape(h, w),
        instance=hit.instance.reshape(h, w),
        axes=camera.rotation.T,
        room_center=jnp.sum(camera.rotation * middle, 1),
        room_size=scene.size,
        scene=scene.scene,
        focal=camera.focal,
    )


@functools.partial(jax.jit, static_argnames=("style", "resolution"))
def views(keys: jax.Array, style: Style = scenes.ROOMS, resolution: int = 64) -> View:
    """Render one random scene per key, stacked; the same key gives the same pixels."""

    def one(key):
        view = render(scenes.sample(jax.random.fold_in(key, 0), style), resolution)
        noise = style.grain * jax.random.normal(jax.random.fold_in(key, 1), view.rgb.shape)
        return view._replace(rgb=jnp.clip(view.rgb + noise, 0, 1))

    return lax.map(one, keys, batch_size=AT_ONCE)
