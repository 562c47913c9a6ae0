"""The twenty tasks: each target has a known answer on shapes cast analytically; right answers beat the constant."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but

from jaxsim.studies.rooms import losses, tasks
from jaxsim.studies.rooms.furniture import CLASSES, OBJECTS, SCENES
from jaxsim.studies.rooms.targets import filters, geometry, image, segments, vectors
from jaxsim.studies.rooms.tasks import TASKS
from jaxsim.vision.extraction import preprocessing

JUDGED = ["inpainting", "rgb2depth", "curvature", "segment25d", "room_layout"]
JUDGED += ["segmentsemantic", "class_object", "class_scene"]  # every kind of loss once
compiled = functools.cache(jax.jit)
DENSE = [n for n, t in TASKS.items() if t.kind == "image"]


class View(NamedTuple):
    rgb: Any
    depth: Any
    distance: Any
    points: Any
    normals: Any
    semantic: Any
    instance: Any
    axes: Any
    room_center: Any
    room_size: Any
    scene: Any
    focal: Any


def turned(yaw=0.0, pitch=0.0):
    """Room axes (right, down, forward) in the frame of a camera with this yaw and pitch."""
    a, b = np.cos(yaw), np.sin(yaw)
    c, d = np.cos(pitch), np.sin(pitch)
    return np.array([[a, 0, b], [0, 1, 0], [-b, 0, a]]) @ np.array([[1, 0, 0], [0, c, d], [0, -d, c]])


ASKEW = turned(0.3, 0.2)


def cast(size=64, axes=ASKEW, balls=(), boxes=(), room=(5, 3, 7), center=(0.2, 0.1, 1.0), seed=0, scene=0):
    """A camera at the origin inside a room, with balls (in its own frame) and boxes (along the room's axes)."""
    focal = 1.2
    grid = (np.arange(size) + 0.5) / size * 2 - 1
    rays = np.stack([*np.meshgrid(grid / focal, grid / focal), np.ones((size, size))], -1)
    local = rays @ axes.T
    depth, normals, instance = np.full((size, size), np.inf), np.zeros((size, size, 3)), np.zeros((size, size), int)
    semantic = np.zeros((size, size), int)

    def keep(t, n, hit, ids, classes):
        nearer = hit & (t < depth)
        depth[nearer], normals[nearer] = t[nearer], n[nearer]
        instance[nearer], semantic[nearer] = ids[nearer], classes[nearer]

    def slabs(middle, extents):
        with np.errstate(divide="ignore"):
            both = np.stack([(middle + s * np.asarray(extents) / 2) / local for s in (-1, 1)])
        return both.min(0), both.max(0)

    def faces(axis):
        picked = axes[axis]
        return picked * -np.sign(np.sum(picked * rays, -1, keepdims=True))

    _, leave = slabs(np.asarray(center), room)
    axis = leave.argmin(-1)
    side = 2 * axis + (np.take_along_axis(local, axis[..., None], -1)[..., 0] > 0)
    keep(leave.min(-1), faces(axis), np.ones_like(depth, bool), side, np.array([0, 0, 2, 1, 0, 0])[side])
    for k, (middle, extents) in enumerate(boxes):
        enter, leave = slabs(np.asarray(middle), extents)
        t = enter.max(-1)
        hit = (t < leave.min(-1)) & (t > 0)
        keep(t, faces(enter.argmax(-1)), hit, np.full_like(instance, 10 + k), np.full_like(semantic, 3 + k % 16))
    for k, (middle, radius) in enumerate(balls):
        aa, ab = np.sum(rays**2, -1), rays @ np.asarray(middle)
        root = ab**2 - aa * (np.sum(np.square(middle)) - radius**2)
        t = (ab - np.sqrt(np.maximum(root, 0))) / aa
        n = (rays * t[..., None] - middle) / radius
        keep(t, n, root > 0, np.full_like(instance, 50 + k), np.full_like(semantic, 8 + k % 11))
    points = rays * depth[..., None]
    colors = np.random.default_rng(seed).random((64, 3))[instance]
    shade = 0.5 + 0.5 * np.abs(np.sum(normals * points, -1)) / np.linalg.norm(points, axis=-1)
    real = (colors * shade[..., None], depth, np.linalg.norm(points, axis=-1), points, normals)
    whole = (semantic.astype(np.int32), instance.astype(np.int32))
    rest = (axes, axes.T @ np.asarray(center), np.asarray(room))
    return View(
        *(a.astype(np.float32) for a in real),
        *whole,
        *(a.astype(np.float32) for a in rest),
        np.int32(scene),
        np.float32(focal),
    )


BALL = ((0.0, 0.0, 2.0), 0.5)
BOX = ((0.2, 1.1, 2.5), (1.0, 1.0, 1.0))


QUICK = ["inpainting", "rgb2depth", "class_object", "room_layout", "autoencoder", "edge2d"]
"""Tasks of each kind; the first four are in `JUDGED`."""


@functools.cache
def views(n=6):
    rng = np.random.default_rng(1)
    made = []
    for k in range(n):
        box = ((rng.uniform(-1, 1), 1.0, rng.uniform(2, 3.5)), rng.uniform(0.5, 1.2, 3))
        ball = (rng.uniform([-0.6, -0.5, 1.5], [0.6, 0.5, 2.5]), rng.uniform(0.2, 0.4))
        axes = turned(rng.uniform(-0.6, 0.6), rng.uniform(-0.2, 0.3))
        made.append(
            cast(axes=axes, boxes=[box], balls=[ball], room=rng.uniform([4, 2.5, 6], [6, 3.5, 8]), seed=k, scene=k % 8)
        )
    return jax.tree.map(lambda *a: jnp.asarray(np.stack(a)), *made)


@functools.cache
def target(name):
    return tasks.targets(TASKS[name], views())


@functools.cache
def plain(size=64):
    """One slanted wall and no more: a plane that fills the image at a steep slope."""
    return cast(size, turned(0.6, 0.3), room=(40.0, 3.0, 90.0), center=(0.0, 0.0, 20.0))


def picture(rgb):
    return plain()._replace(rgb=np.broadcast_to(np.asarray(rgb, np.float32)[..., None], (64, 64, 3)))


# The table itself.
def test_the_twenty_tasks():
    assert len(TASKS) == 20
    count = {g: sum(t.group == g for t in TASKS.values()) for g in ("2d", "3d", "geometric", "semantic")}
    assert count == {"2d": 7, "3d": 8, "geometric": 2, "semantic": 3}
    assert all(name == task.name for name, task in TASKS.items())
    assert len({hash(task) for task in TASKS.values()}) == 20
    with pytest.raises(dataclasses.FrozenInstanceError):
        TASKS["edge2d"].channels = 2


@pytest.mark.parametrize("name", slow_but(QUICK, TASKS))
def test_shapes_of_targets(name):
    task = TASKS[name]
    n, h, w = 6, 64, 64
    shape = {
        "image": (n, h, w, task.channels),
        "vector": (n, task.channels),
        "classes": (n,),
        "distribution": (n, task.channels),
        "segmentation": (n, h, w),
        "embedding": (n, h, w),
    }[task.kind]
    got = target(name)
    assert got.shape == shape
    assert got.dtype == (jnp.int32 if task.kind in ("classes", "segmentation", "embedding") else jnp.float32)
    assert np.isfinite(got).all()
    one = (task.target if task.on_host else compiled(task.target))(jax.tree.map(lambda a: a[2], views()))
    np.testing.assert_allclose(got[2], one, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "near"), [("edge3", "edge3d"), ("vanishing_points", "vanishing_point"), ("depth", "rgb2depth")]
)
def test_unknown_names_list_near_ones(name, near):
    with pytest.raises(ValueError, match=f"{name!r}.*{near}"):
        tasks.named(name)


def test_an_absurd_name_lists_all():
    with pytest.raises(ValueError, match="autoencoder, denoise"):
        tasks.named("zzzz")


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("rgb", lambda a: a[0], r"View.rgb has shape \(64, 64, 3\)"),
        ("rgb", lambda a: a[..., :2], r"View.rgb has shape \(6, 64, 64, 2\)"),
        ("depth", lambda a: a[:, :32], r"View.depth has shape \(6, 32, 64\)"),
        ("normals", lambda a: a[..., 0], "View.normals"),
        ("axes", lambda a: a[:3], "View.axes"),
        ("focal", lambda a: a[0], "View.focal"),
    ],
)
def test_views_of_the_wrong_shape(field, change, message):
    wrong = views()._replace(**{field: change(getattr(views(), field))})
    with pytest.raises(ValueError, match=message):
        tasks.targets(TASKS["rgb2depth"], wrong)


# Filters.
def test_blur_is_a_gaussian():
    spot = np.zeros((64, 64), np.float32)
    spot[32, 32] = 1
    got = np.asarray(filters.blur(jnp.asarray(spot), 2.0))
    y, x = np.mgrid[-32:32, -32:32]
    np.testing.assert_allclose(got, np.exp(-(x**2 + y**2) / 8) / (8 * np.pi), atol=4e-4)
    assert got.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(filters.blur(jnp.full((64, 64, 2), 3.0), 1.5), 3, rtol=1e-6)


@pytest.mark.parametrize("by", [-9, -2, 0, 1, 5, 70])
@pytest.mark.parametrize("axis", [0, 1])
def test_shift_repeats_the_edge(by, axis):
    a = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    expected = np.take(a, np.clip(np.arange(8) + by, 0, 7), axis)
    np.testing.assert_array_equal(filters.shift(jnp.asarray(a), by, axis), expected)


# Pictures.
def test_gray_and_color_make_the_picture():
    one = jax.tree.map(lambda a: a[0], views())
    color = np.asarray(image.colorization(one)) * image.CHROMA_UNIT
    gray = np.asarray(preprocessing.decolored(one.rgb))[..., 0]
    np.testing.assert_allclose(gray + color[..., 0], one.rgb[..., 2], atol=1e-6)
    np.testing.assert_allclose(gray + color[..., 1], one.rgb[..., 0], atol=1e-6)
    np.testing.assert_allclose(image.colorization(picture(np.full((64, 64), 0.3))), 0, atol=1e-5)


def test_noise_is_keyed_and_of_its_size():
    rgb = jnp.full((64, 64, 3), 0.5)
    noisy = TASKS["denoise"].corrupt(rgb, jax.random.key(0))
    np.testing.assert_array_equal(noisy, TASKS["denoise"].corrupt(rgb, jax.random.key(0)))
    assert float(jnp.std(noisy)) == pytest.approx(image.NOISE, rel=0.05)
    assert not np.array_equal(noisy, TASKS["denoise"].corrupt(rgb, jax.random.key(1)))


def test_inpainting_hides_a_quarter():
    rgb = views().rgb[0]
    seen = np.asarray(TASKS["inpainting"].corrupt(rgb, jax.random.key(0)))
    assert (seen[16:48, 16:48] == 0.5).all()
    outside = np.asarray(preprocessing.hidden(64, 64))[..., 0] == 0
    np.testing.assert_array_equal(seen[outside], np.asarray(rgb)[outside])
    assert outside.mean() == 0.75


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"denoise", "inpainting", "colorization"}))
def test_other_inputs_are_unchanged(name):
    rgb = views().rgb[0]
    np.testing.assert_array_equal(TASKS[name].corrupt(rgb, jax.random.key(0)), rgb)


def test_a_step_is_an_edge_of_known_height():
    step = np.where(np.arange(256) < 128, 0.2, 0.7)
    view = plain()._replace(rgb=np.broadcast_to(step[None, :, None], (256, 256, 3)).astype(np.float32))
    got = np.asarray(compiled(image.edge2d)(view))[..., 0] * image.EDGE_UNIT
    assert got.max() == pytest.approx(0.5 / np.sqrt(2 * np.pi), rel=0.02)
    assert set(got.argmax(1)) <= {127, 128}
    np.testing.assert_allclose(got[:, :100], 0, atol=1e-5)


def test_a_blob_is_a_keypoint_of_known_strength_and_an_edge_is_none():
    y, x = np.mgrid[-32:32, -32:32]
    s, sigma, height = 4.0, image.KEYPOINT_SCALE, 0.6
    blob = compiled(image.keypoint2d)(picture(0.2 + height * np.exp(-(x**2 + y**2) / (2 * s**2))))
    got = np.asarray(blob)[..., 0] * image.KEYPOINT_UNIT
    assert np.unravel_index(got.argmax(), got.shape) == (32, 32)
    assert got.max() == pytest.approx(height * sigma**2 * s**2 / (s**2 + sigma**2) ** 2, rel=0.1)
    step = np.where(np.arange(64) < 32, 0.2, 0.7) + np.zeros((64, 1))
    np.testing.assert_allclose(compiled(image.keypoint2d)(picture(step)), 0, atol=0.02)
    corner = np.asarray(compiled(image.keypoint2d)(picture(np.where((x < 0) & (y < 0), 0.7, 0.2))))[..., 0]
    found = np.unravel_index(corner.argmax(), corner.shape)
    assert max(abs(found[0] - 31.5), abs(found[1] - 31.5)) < 3


# Surfaces.
def test_depth_and_distance_are_logs():
    view = cast(balls=[BALL])
    np.testing.assert_allclose(
        geometry.MIDDLE * np.exp(geometry.DEPTH_UNIT * geometry.rgb2depth(view))[..., 0], view.depth, rtol=1e-5
    )
    far = geometry.MIDDLE * np.exp(geometry.DEPTH_UNIT * geometry.rgb2mist(view))[..., 0]
    np.testing.assert_allclose(far, np.linalg.norm(view.points, axis=-1), rtol=1e-5)
    assert (far >= view.depth).all()


def test_normals_of_a_plane_are_its_axis():
    wall = cast(axes=turned(), room=(50.0, 50.0, 8.0), center=(0, 0, 0))
    np.testing.assert_allclose(geometry.rgb2sfnorm(wall), np.broadcast_to([0, 0, -1.0], (64, 64, 3)), atol=1e-6)


def test_shading_is_one_in_the_middle_of_a_ball_and_zero_at_its_rim():
    view = cast(256, balls=[BALL])
    got = np.asarray(compiled(geometry.reshade)(view))[..., 0] * geometry.SHADING_UNIT + 0.5
    assert got[128, 128] == pytest.approx(1, abs=1e-3)
    on = view.instance == 50
    assert got[on].min() < 0.15
    assert got.min() >= 0


def test_a_ball_has_curvature_one_over_its_radius():
    for radius in (0.3, 0.6):
        view = cast(256, balls=[((0.0, 0.0, 2.0), radius)])
        got = np.asarray(compiled(geometry.principal_curvatures)(view))[118:138, 118:138]
        np.testing.assert_allclose(got, 1 / radius, rtol=0.02)
        squashed = np.asarray(compiled(geometry.curvature)(view))[126:130, 126:130] * geometry.CURVATURE_UNIT
        k = geometry.RADIUS / radius
        np.testing.assert_allclose(squashed, k / np.sqrt(1 + k**2), rtol=0.02)


def test_an_inside_is_negative_and_a_plane_zero():
    view = cast(balls=[BALL])
    inside_out = view._replace(normals=-view.normals)
    np.testing.assert_allclose(compiled(geometry.principal_curvatures)(inside_out)[30:34, 30:34], -2, rtol=0.05)
    around = [np.roll(view.instance, by, axis) for axis in (0, 1) for by in (-1, 1)]
    flat = (view.instance < 6) & (np.stack(around) == view.instance).all(0)
    flat[[0, -1]] = flat[:, [0, -1]] = False
    assert flat.sum() > 1000
    assert np.abs(compiled(geometry.principal_curvatures)(view))[flat].max() < 1e-2
    room = np.asarray(compiled(geometry.principal_curvatures)(cast()))
    assert np.mean(room > 1e-2) < 1e-3  # a room is concave; a corner may differ
    assert room.min() < -3


def test_creases_and_slopes_are_no_occlusions_but_steps_are():
    for axes in (turned(0.3, 0.2), turned(-0.6, 0.0), turned(0.0, 0.5)):
        assert float(np.max(compiled(geometry.jump)(cast(axes=axes)))) < 1e-4
    view = cast(axes=turned(), boxes=[((0.0, 0.0, 2.5), (1.0, 1.0, 1.0))], center=(0.0, 0.0, 0.0), room=(8.0, 8.0, 8.0))
    jump = np.asarray(compiled(geometry.jump)(view))
    box = view.instance == 10
    assert jump.max() == pytest.approx(1 - 2.0 / 4.0, abs=1e-3)
    rim = box & ~(np.roll(box, 1, 0) & np.roll(box, -1, 0) & np.roll(box, 1, 1) & np.roll(box, -1, 1))
    assert (jump[rim] > 0.4).all()
    assert jump[28:36, 28:36].max() < 1e-4
    edges = np.asarray(compiled(geometry.edge3d)(view))[..., 0]
    assert edges[rim].min() > 3 * edges.mean()


def test_the_rim_of_a_ball_is_an_occlusion():
    view = cast(balls=[BALL])
    jump, on = np.asarray(compiled(geometry.jump)(view)), view.instance == 50
    rim = on & ~(np.roll(on, 1, 0) & np.roll(on, -1, 0) & np.roll(on, 1, 1) & np.roll(on, -1, 1))
    assert np.median(jump[rim]) > 0.15
    assert jump[26:38, 26:38].max() < 1e-4


def test_the_corner_of_a_room_is_a_keypoint_and_its_creases_are_none():
    axes = turned(np.pi / 4, 0.4)
    view = cast(axes=axes, room=(4.0, 3.0, 4.0), center=(0.0, 0.0, 0.0))
    got = np.asarray(compiled(geometry.keypoint3d)(view))[..., 0]
    below = [axes.T @ (np.array([s, 1.5, t]) * [1, 1, 1]) for s in (-2, 2) for t in (-2, 2)]
    seen = [64 * (1.2 * p[[1, 0]] / p[2] + 1) / 2 for p in below if p[2] > 0 and np.abs(p[:2] / p[2]).max() < 0.7]
    assert len(seen) == 1
    found = np.array(np.unravel_index(got.argmax(), got.shape)) + 0.5
    assert np.abs(found - seen[0]).max() < 3
    crease = np.asarray(
        compiled(geometry.keypoint3d)(cast(axes=turned(0.0, 0.5), room=(90.0, 3.0, 6.0), center=(0.0, 0.0, 0.0)))
    )
    assert crease.max() < 0.05 * got.max()


@pytest.mark.parametrize("name", ["edge3d", "keypoint3d", "curvature"])
def test_a_plane_has_no_features(name):
    wall = cast(axes=turned(0.5, 0.3), room=(90.0, 90.0, 8.0), center=(0.0, 0.0, 0.0))
    assert len(np.unique(wall.instance)) == 1
    got = np.asarray(compiled(TASKS[name].target)(wall))
    np.testing.assert_allclose(got[8:-8, 8:-8], 0, atol=0.05)
    np.testing.assert_allclose(got, 0, atol=0.2)  # repeating the border bends a slope


# Segments.
def test_segments_of_colors_and_of_planes():
    view = cast(axes=turned(), boxes=[((0.0, 0.0, 2.5), (1.0, 1.0, 1.0))], center=(0.0, 0.0, 0.0), room=(8.0, 8.0, 6.0))
    gray = view._replace(rgb=np.full((64, 64, 3), 0.5, np.float32))
    assert len(np.unique(segments.segment2d(gray))) == 1
    flat = view._replace(
        normals=np.broadcast_to(np.float32([0, 0, -1]), (64, 64, 3)), points=np.ones((64, 64, 3), np.float32)
    )
    assert len(np.unique(segments.segment25d(flat))) == 1
    assert len(np.unique(segments.segment2d(flat))) >= 2
    planes = segments.segment25d(gray)
    assert planes.dtype == np.int32
    assert len(np.unique(planes[28:36, 28:36])) == 1  # the front of the box
    assert len(np.unique(planes[24:40, 2])) == 1  # the wall behind it, which is parallel
    assert planes[32, 32] != planes[32, 2]


# Vectors.
@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (0.3, 0.2), (-0.7, -0.3), (0.6, 0.5)])
def test_vanishing_points_forget_order_and_sign(yaw, pitch):
    axes = turned(yaw, pitch).astype(np.float32)
    for order in vectors.ORDERS:
        for signs in np.ndindex(2, 2, 2):
            shuffled = (axes * (1 - 2 * np.array(signs))[:, None])[order].astype(np.float32)
            np.testing.assert_allclose(vectors.canonical_axes(jnp.asarray(shuffled)), axes, atol=1e-6)


def test_a_quarter_turn_is_no_turn():
    a, b = (vectors.canonical_axes(jnp.asarray(turned(y), jnp.float32)) for y in (0.2, 0.2 + np.pi / 2))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_layout_is_the_same_for_every_order_of_the_axes():
    view = cast()
    expected = vectors.room_layout(view)
    for order in vectors.ORDERS:
        other = view._replace(axes=-view.axes[order], room_size=view.room_size[order])
        np.testing.assert_allclose(vectors.room_layout(other), expected, atol=1e-5)
    matrix = np.zeros((3, 3))
    matrix[vectors.TRIANGLE] = expected[3:]
    matrix = matrix + np.triu(matrix, 1).T
    np.testing.assert_allclose(np.exp(np.linalg.eigvalsh(matrix)), np.sort(view.room_size), rtol=1e-4)
    np.testing.assert_array_equal(expected[:3], view.room_center)


def test_layout_is_continuous_where_vanishing_points_jump():
    below, above = (cast(8, turned(np.pi / 4 + e)) for e in (-1e-3, 1e-3))
    assert np.abs(vectors.room_layout(below) - vectors.room_layout(above)).max() < 0.02
    assert np.abs(vectors.vanishing_point(below) - vectors.vanishing_point(above)).max() > 0.5


def test_shares_of_objects():
    semantic = np.zeros((64, 64), np.int32)
    semantic[:2], semantic[2], semantic[3] = 3, 18, 1
    got = np.asarray(vectors.class_object(plain()._replace(semantic=semantic)))
    assert got.shape == (len(OBJECTS),)
    np.testing.assert_allclose(got[[0, 15]], [2 / 3, 1 / 3], rtol=1e-6)
    assert got.sum() == pytest.approx(1)
    assert not np.any(vectors.class_object(plain()._replace(semantic=np.zeros_like(semantic))))


# Losses.
def perfect(name):
    """Output that answers rightly, or as nearly as logits and embeddings can."""
    task, truth = TASKS[name], target(name)
    if task.kind in ("classes", "segmentation"):
        return 20 * jax.nn.one_hot(truth, task.channels)
    if task.kind == "distribution":
        return jnp.log(truth + 1e-12)
    if task.kind == "embedding":
        return 2 * jax.nn.one_hot(truth, int(truth.max()) + 1)
    return truth


@pytest.mark.parametrize("name", slow_but(QUICK, TASKS))
def test_right_answers_beat_the_constant(name):
    task = TASKS[name]
    assert float(losses.skill(task, perfect(name), target(name))) > 0.99
    assert float(losses.constant_loss(task, target(name))) > 0.01


@pytest.mark.parametrize("name", slow_but(QUICK[:4], JUDGED))
def test_gradients_are_finite_and_lead_down(name):
    task, truth = TASKS[name], target(name)
    measured = jax.jit(jax.value_and_grad(task.loss))
    for scale in (0.0, 1.0):
        start = scale * jax.random.normal(jax.random.key(0), perfect(name).shape[:-1] + (task.channels,))
        loss, slope = measured(start, truth)
        assert np.isfinite(loss)
        assert np.isfinite(slope).all()
        step = 1e-2 / max(float(jnp.linalg.norm(slope)), 1e-12)
        assert scale == 0 or float(measured(start - step * slope, truth)[0]) < float(loss)


@pytest.mark.parametrize("name", slow_but(QUICK[:4], [n for n in JUDGED if TASKS[n].kind != "embedding"]))
def test_no_other_constant_is_better(name):
    task, truth = TASKS[name], target(name)
    best = losses.constant_prediction(task, truth)
    least = float(losses.constant_loss(task, truth))
    for k in range(4):
        other = best + 0.05 * jax.random.normal(jax.random.key(k), best.shape)
        assert float(task.loss(jnp.broadcast_to(other, (6, *best.shape)), truth)) > least
    assert float(losses.skill(task, jnp.broadcast_to(best, (6, *best.shape)), truth)) == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["segment2d", "segment25d"])
def test_no_constant_embedding_is_better(name):
    task, truth = TASKS[name], target(name)
    least = float(losses.constant_loss(task, truth))
    assert 0 < least <= 0.25
    y, x = jnp.mgrid[0:64, 0:64] / 64
    ramp = jnp.stack([x, y], -1)
    for constant in (jnp.zeros((64, 64, 2)), ramp, jax.random.normal(jax.random.key(0), (64, 64, 8)) / 4):
        assert float(task.loss(jnp.broadcast_to(constant, (6, *constant.shape)), truth)) > least


@pytest.mark.parametrize("name", slow_but(QUICK[:4], JUDGED))
def test_batch_is_the_mean_of_images(name):
    task, truth = TASKS[name], target(name)
    weights = jnp.linspace(0.5, 1.5, task.channels)
    output = jax.random.normal(jax.random.key(1), perfect(name).shape[:-1] + (task.channels,))
    each = jax.vmap(task.loss, (0, 0, None))(output, truth, weights)
    assert each.shape == (6,)
    np.testing.assert_allclose(task.loss(output, truth, weights), each.mean(), rtol=1e-5)


@pytest.mark.parametrize("name", JUDGED)
def test_outputs_of_the_wrong_shape(name):
    with pytest.raises(ValueError, match=r"prediction has shape \(6, 5, 5, 1\)"):
        TASKS[name].loss(jnp.zeros((6, 5, 5, 1)), target(name))


def test_pairs_by_hand():
    pairs = losses.Pairs(count=50, margin=2.0)
    label = np.random.default_rng(0).integers(0, 2, (8, 8)).astype(np.int32)
    out = np.random.default_rng(1).normal(size=(8, 8, 3)).astype(np.float32)
    a, b = pairs.draw(8, 8)
    assert a.max() < 64
    assert b.max() < 64
    d = np.linalg.norm(out.reshape(64, 3)[a] - out.reshape(64, 3)[b], axis=1)
    same = label.ravel()[a] == label.ravel()[b]
    expected = (np.mean(d[same] ** 2) + np.mean(np.maximum(2 - d[~same], 0) ** 2)) / 2
    assert float(pairs(jnp.asarray(out), jnp.asarray(label))) == pytest.approx(expected, rel=1e-3)


def test_inpainting_counts_the_hidden_half():
    truth = jnp.zeros((2, 64, 64, 3))
    wrong = preprocessing.hidden(64, 64) * jnp.ones((2, 64, 64, 3))
    assert float(TASKS["inpainting"].loss(wrong, truth)) == pytest.approx(0.5)


def test_class_weights_balance():
    label = jnp.array([0] * 90 + [1] * 10)
    for power, ratio in ((0.0, 1), (0.5, 3), (1.0, 9)):
        w = losses.class_weights(label, 3, power)
        assert float(w[1] / w[0]) == pytest.approx(ratio, rel=1e-5)
        assert float(jnp.mean(w[label])) == pytest.approx(1, rel=1e-5)
        assert w[2] == 0


def test_standardize_gives_unit_variance():
    targets = target("room_layout")
    mean, sd = losses.standardize(targets)
    scaled = (targets - mean) / sd
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(0), 1, atol=1e-4)
    mean, sd = losses.standardize(target("rgb2sfnorm"))
    assert mean.shape == sd.shape == (3,)


@pytest.mark.parametrize("name", [n for n in DENSE if TASKS[n].channels < 3])
def test_targets_are_about_of_unit_variance(name):
    assert 0.2 < float(jnp.std(target(name))) < 5


@pytest.mark.slow
def test_skill_of_a_target_that_never_changes_is_undefined():
    flat = jnp.zeros((3, 8, 8, 1))
    assert np.isnan(losses.skill(TASKS["edge2d"], flat, flat))


@pytest.mark.slow
def test_sizes_follow_the_world():
    assert TASKS["segmentsemantic"].channels == len(CLASSES)
    assert TASKS["class_scene"].channels == len(SCENES)
