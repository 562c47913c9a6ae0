"""Readers and writers of dataset folders: round trips in the labels' units, formats read by other means."""

import shutil

import h5py
import jax
import numpy as np
import pytest

pytest.importorskip("flax", reason="datasets need the nn extra")
pytest.importorskip("PIL", reason="datasets need the nn extra")

from PIL import Image
from scipy.io import loadmat, savemat

from jaxsim.studies.rooms import (
    export,
    furniture,
    pictures,
    render,
    scenes,
)
from jaxsim.studies.rooms import tasks as rooms_tasks
from jaxsim.studies.rooms.export.nyuv2_layout import ALL, FORTY
from jaxsim.studies.rooms.export.taskonomy_layout import STORED
from jaxsim.studies.rooms.targets import geometry, image
from jaxsim.vision import datasets
from jaxsim.vision.datasets import image_files, pascal_layouts, taskonomy_encodings

HEIGHT, WIDTH, COUNT = 20, 60, 9


def made_up(number, height=HEIGHT, width=WIDTH):
    """Random labels in blocks of four pixels, every target of the layouts among them; not square."""
    rng = np.random.default_rng(number)

    def blocks(high):
        return np.kron(rng.integers(0, high, (height // 4, width // 4)), np.ones((4, 4), int))

    def plane(*channels, scale=1.0):
        return rng.normal(size=(height, width, *channels)).astype(np.float32) * np.float32(scale)

    normals = plane(3)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    depth = np.exp(plane(scale=0.5)) * 2.5
    depth[0, :3] = [127.9, 128.0, 500.0]
    targets = {name: np.abs(plane(1)) for name in ("edge2d", "keypoint2d", "edge3d", "keypoint3d")}
    targets |= {"reshade": plane(1), "curvature": plane(2, scale=3)}
    targets |= {"segment2d": blocks(256), "segment25d": blocks(9)}
    targets |= {"class_object": rng.dirichlet(np.ones(16)).astype(np.float32), "class_scene": np.array(number % 8)}
    semantic = blocks(len(furniture.CLASSES))
    rgb = rng.integers(0, 256, (height // 4, width // 4, 3)).astype(np.uint8)
    rgb = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))
    return export.Labeled(rgb, depth, 1.1 * depth, normals, semantic, 40 + blocks(5), targets)


SHOWN = [made_up(k) for k in range(COUNT)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders of all layouts."""
    root = tmp_path_factory.mktemp("layouts")
    for name, writer in export.WRITERS.items():
        writer.write(root / name, SHOWN)
    return root


@pytest.fixture
def copied(made, tmp_path):
    """A function that copies the folder of a layout, to be spoilt."""
    return lambda name: shutil.copytree(made / name, tmp_path / name)


def number_of(name):
    return int(name.split("_")[-1])


def numbers(dataset):
    return [number_of(name) for name in dataset.ids]


def voc_oracle(picture, unlabeled=True):
    """VOC classes by a loop over pixels; a hundredth of 60 pixels is one."""
    objects = np.where(picture.semantic >= 3, picture.semantic - 2, 0)
    thing = np.where(objects > 0, picture.instance, -1)
    out = objects.copy()
    for row, column in np.ndindex(*out.shape) if unlabeled else ():
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            r, c = row + down, column + right
            if 0 <= r < HEIGHT and 0 <= c < WIDTH and thing[r, c] != thing[row, column]:
                out[row, column] = 255
    return out


# The plain folder


def test_a_plain_folder_gives_its_pictures_bit_for_bit(made):
    found = datasets.folder(made / "folder")
    assert len(found) == COUNT
    assert found.targets == ()
    for k, example in enumerate(found):
        np.testing.assert_array_equal(example.image, SHOWN[k].rgb)
        assert example.image.dtype == np.uint8


def test_a_plain_folder_goes_into_folders_and_leaves_hidden_files(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / ".cache").mkdir()
    for place in ("z.PNG", "b/y.png", "b/c/x.jpg", ".hidden.png", ".cache/w.png"):
        Image.new("L", (5, 4), 7).save(tmp_path / place)
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.warns(
        UserWarning, match="left out 1 of 4 files, because Pillow does not read their suffixes: notes.txt"
    ):
        found = datasets.folder(tmp_path)
    assert found.ids == ("b/c/x.jpg", "b/y.png", "z.PNG")
    assert found[1].image.tolist() == np.full((4, 5, 3), 7).tolist()
    (tmp_path / "notes.txt").unlink()
    Image.new("L", (5, 4), 7).save(tmp_path / "b" / "y.jpg")
    with pytest.warns(
        UserWarning, match="2 pictures have the same name as another .* all of them are read: b/y.jpg, b/y.png"
    ):
        assert len(datasets.folder(tmp_path)) == 4


def test_linked_folders_are_followed_but_not_into_themselves(tmp_path):
    for place in ("pictures/train", "elsewhere"):
        (tmp_path / place).mkdir(parents=True)
        Image.new("L", (5, 4), 7).save(tmp_path / place / "0.png")
    (tmp_path / "pictures" / "val").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pictures" / "train" / "loop").symlink_to(tmp_path / "pictures")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "pictures")
    assert datasets.folder(tmp_path / "pictures").ids == ("train/0.png", "val/0.png")


def test_every_format_that_pillow_reads_is_read(tmp_path):
    endings = {".bmp", ".gif", ".ico", ".j2k", ".jfif", ".jp2", ".pcx", ".pgm", ".qoi", ".sgi", ".tga", ".tif", ".webp"}
    endings |= {".avif"} & set(image_files.suffixes())
    assert endings <= set(image_files.suffixes())
    assert not {".h5", ".hdf", ".mpg", ".pdf", ".txt", ".npy"} & set(image_files.suffixes())
    for ending in endings:
        Image.new("RGB", (32, 32), "red").save(tmp_path / f"x{ending[1:]}{ending}")
    found = datasets.folder(tmp_path)
    assert {name[name.index(".") :] for name in found.ids} == endings
    assert all(np.abs(example.image[16, 16].astype(int) - [255, 0, 0]).max() < 20 for example in found)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright_and_pictures_with_labels_are_not(tmp_path, orientation):
    image = np.arange(24, dtype=np.uint8).reshape(4, 6)
    upright = {3: image[::-1, ::-1], 6: np.rot90(image, -1), 8: np.rot90(image), 2: image[:, ::-1], 4: image[::-1]}
    upright |= {5: image.T, 7: image[::-1, ::-1].T}
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(datasets.folder(tmp_path)[0].image[..., 0], upright.get(orientation, image))
    np.testing.assert_array_equal(image_files.picture(tmp_path / "x.png")[..., 0], image)
    Image.fromarray(image).save(tmp_path / "x.tif", exif=exif)  # which Pillow turns itself, in every reader
    for read in (image_files.picture, lambda path: image_files.class_map(path, 24).values[..., None]):
        np.testing.assert_array_equal(read(tmp_path / "x.tif")[..., 0], upright.get(orientation, image))


def test_a_picture_whose_exif_is_damaged_is_read_as_it_is_stored(tmp_path):
    image = np.arange(24, dtype=np.uint8).reshape(4, 6)
    Image.fromarray(image).save(tmp_path / "x.png", exif=b"Exif\0\0no EXIF at all")
    np.testing.assert_array_equal(datasets.folder(tmp_path)[0].image[..., 0], image)


def test_animations_are_refused_and_previews_of_a_photograph_are_not(tmp_path):
    red, blue = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
    red.save(tmp_path / "x.gif", save_all=True, append_images=[blue, red])
    with pytest.raises(ValueError, match="x.gif is an animation or has several pages, 3 in all; save the one"):
        datasets.folder(tmp_path)[0]
    (tmp_path / "x.gif").unlink()
    red.save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=[blue])
    assert datasets.folder(tmp_path)[0].image[4, 4, 0] > 250


def test_pictures_that_cannot_be_read_are_left_out_and_all_named(made, tmp_path):
    root = shutil.copytree(made / "folder", tmp_path / "folder")
    for k in (2, 5):
        (root / f"{k:06d}.png").write_bytes(b"no picture")
    with pytest.warns(
        UserWarning,
        match="left out 2 of 9 pictures that cannot be read: .*000002.png is damaged.*000005.png is damaged",
    ):
        found = datasets.folder(root).readable()
    assert found.ids == tuple(f"{k:06d}.png" for k in range(COUNT) if k not in (2, 5))
    assert found.readable().ids == found.ids
    with pytest.raises(ValueError, match="none of the 2 pictures can be read: .*000002.png is damaged"):
        datasets.folder(root).select(["000002.png", "000005.png"]).readable()


# Pascal VOC


def test_voc_of_another_year_is_named_and_several_are_refused(copied):
    root = copied("voc")
    devkit = root / "VOCdevkit"
    assert datasets.voc(root).layout == "VOC2012"
    shutil.copytree(devkit / "VOC2012", devkit / "VOC2010")
    for place in (root, devkit):
        with pytest.raises(ValueError, match=r"VOC2010 and VOC2012; give the folder of one"):
            datasets.voc(place)
    shutil.rmtree(devkit / "VOC2012")
    assert datasets.recognize(root) == datasets.recognize(devkit) == "voc"
    for place in (root, devkit, devkit / "VOC2010"):
        found = datasets.voc(place, "val")
        assert (found.layout, len(found)) == ("VOC2010", 2)
    learn, judge = datasets.layout_named("voc").train_and_val(root, ("semantic",))
    assert (len(learn), len(judge)) == (5, 2)
    with pytest.raises(
        ValueError, match="the VOC2010 layout has no split 'trainaug'; choose from train, val, trainval"
    ):
        datasets.voc(root, "trainaug")


def test_hidden_files_are_passed_over_in_every_reader(copied):
    root = copied("voc")
    place = root / "VOCdevkit" / "VOC2012" / "SegmentationClassAug"
    before = datasets.voc(root, "trainaug").ids
    (place / "._2012_000002.png").write_bytes(b"\0\5\x16\7")
    (place / ".DS_Store").write_bytes(b"")
    assert datasets.voc(root, "trainaug").ids == before
    for layout, read in (("taskonomy", datasets.taskonomy), ("nyud_mt", datasets.nyud_mt), ("folder", datasets.folder)):
        root = copied(layout)
        before = read(root).ids
        for path in [path for path in root.rglob("*") if path.is_file()]:
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
        assert read(root).ids == before
        assert datasets.recognize(root) == layout


@pytest.mark.parametrize("split", ["train", "val", "trainval"])
def test_voc_splits_and_masks(made, split):
    found = datasets.voc(made / "voc", split)
    in_val = {"train": [False], "val": [True], "trainval": [False, True]}[split]
    assert numbers(found) == [k for k in range(COUNT) if k % 4 != 2 and (k % 4 == 3) in in_val]
    for k, example in zip(numbers(found), found, strict=True):
        expected = voc_oracle(SHOWN[k])
        np.testing.assert_array_equal(example.targets["semantic"], expected)
        np.testing.assert_array_equal(example.masks["semantic"], expected != 255)
        assert example.targets["semantic"].dtype == np.uint8
        assert np.abs(example.image.astype(int) - SHOWN[k].rgb).mean() < 4


def test_voc_masks_have_the_palette_and_the_indices_of_voc(made):
    with Image.open(made / "voc/VOCdevkit/VOC2012/SegmentationClass/2012_000000.png") as mask:
        assert mask.mode == "P"
        assert mask.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
        np.testing.assert_array_equal(np.asarray(mask), voc_oracle(SHOWN[0]))


@pytest.mark.parametrize("from_sbd", [True, False])
def test_trainaug_is_train_and_sbd_less_val_with_masks_of_voc_first(made, from_sbd):
    root = made / "voc"
    found = datasets.voc(root, "trainaug", sbd=root / "benchmark_RELEASE" if from_sbd else None)
    lists = [root / "VOCdevkit/VOC2012/ImageSets/Segmentation", root / "benchmark_RELEASE/dataset"]
    voc, sbd = ({p: set((place / f"{p}.txt").read_text().split()) for p in ("train", "val")} for place in lists)
    assert sbd["val"]
    assert sbd["val"] <= voc["val"]
    assert set(found.ids) == (voc["train"] | sbd["train"] | sbd["val"]) - voc["val"]
    assert len(found.ids) == len(set(found.ids)) == 7
    for k, example in zip(numbers(found), found, strict=True):
        expected = voc_oracle(SHOWN[k], unlabeled=k % 4 != 2)
        np.testing.assert_array_equal(example.targets["semantic"], expected)


def test_sbd_is_written_as_it_is_published(made):
    truth = loadmat(made / "voc/benchmark_RELEASE/dataset/cls/2012_000002.mat")["GTcls"][0][0]
    np.testing.assert_array_equal(truth[1], voc_oracle(SHOWN[2], unlabeled=False))
    assert truth.dtype.names == ("Boundaries", "Segmentation", "CategoriesPresent")


def test_mirrors_of_voc_are_read(copied):
    root = copied("voc") / "VOCdevkit" / "VOC2012"
    (root / "SegmentationClassAug").rename(root / "inner")
    (root / "SegmentationClassAug").mkdir()
    (root / "inner").rename(root / "SegmentationClassAug" / "SegmentationClassAug")
    assert len(datasets.voc(root, "trainaug")) == len(datasets.voc(root.parent, "trainaug")) == 7
    (root / "JPEGImages" / "2012_000002.jpg").unlink()
    sbd = root.parent.parent / "benchmark_RELEASE" / "dataset"
    found = datasets.voc(root, "trainaug", sbd=sbd).select(["2012_000002"])
    np.testing.assert_array_equal(found[0].image, np.asarray(Image.open(sbd / "img" / "2012_000002.jpg")))
    with pytest.raises(FileNotFoundError, match=r"JPEGImages lacks 1 of the 7 files that split 'trainaug' names"):
        datasets.voc(root, "trainaug")


# PASCAL_MT


def test_pascal_mt_prefers_voc_masks_and_zeroes_unknown_normals(made):
    found = datasets.pascal_mt(made / "pascal_mt", "train")
    assert numbers(found) == [k for k in range(COUNT) if k % 4 != 3]
    assert numbers(datasets.pascal_mt(made / "pascal_mt", "val")) == [3, 7]
    for k, example in zip(numbers(found), found, strict=True):
        np.testing.assert_array_equal(example.targets["semantic"], voc_oracle(SHOWN[k]))
        known = SHOWN[k].semantic != furniture.CLASSES.index("appliance")
        np.testing.assert_array_equal(example.masks["normals"], known)
        assert (example.targets["normals"][~known] == 0).all()
        assert np.abs(example.targets["normals"] - SHOWN[k].normals)[known].max() <= 0.5 / 127.5 + 1e-6
        names = {158: "floor", 349: "shelf", 170: "appliance"}
        for number, name in names.items():
            there = example.targets["context"] == number
            np.testing.assert_array_equal(there, SHOWN[k].semantic == furniture.CLASSES.index(name))


def test_pascal_mt_takes_the_mask_of_voc_where_both_are(copied):
    root = copied("pascal_mt")
    other = root / "semseg" / "pascal-context"
    Image.new("L", (WIDTH, HEIGHT), 20).save(other / "2010_000000.png")
    assert datasets.pascal_mt(root, targets=["semantic"])[0].targets["semantic"].max() != 20
    (root / "semseg" / "VOC12" / "2010_000000.png").unlink()
    assert (datasets.pascal_mt(root, targets=["semantic"])[0].targets["semantic"] == 20).all()


def test_classes_of_known_normals_are_those_both_datasets_name():
    assert len(pascal_layouts.NORMALS_KNOWN) == 170
    by_name = {"wall": 440, "floor": 158, "bed": 18, "toilet": 408, "sink": 357, "tvmonitor": 427, "bicycle": 23}
    absent = {"unknown": 431, "fridge": 170, "sky": 360, "tree": 419, "aeroplane": 2}
    assert set(by_name.values()) <= pascal_layouts.NORMALS_KNOWN
    assert set(absent.values()) - pascal_layouts.NORMALS_KNOWN == {431, 170, 360, 2}


# NYUv2


def test_the_official_nyu_file_comes_back_bit_for_bit(made):
    root = made / "nyu"
    found = datasets.nyu(root / "nyu_depth_v2_labeled.mat")
    assert found.ids == tuple(f"{k:04d}" for k in range(1, COUNT + 1))
    for k, example in enumerate(found):
        np.testing.assert_array_equal(example.image, SHOWN[k].rgb)
        np.testing.assert_array_equal(example.targets["depth"], SHOWN[k].depth)
        np.testing.assert_array_equal(example.targets["semantic"], ALL[SHOWN[k].semantic])
        assert example.targets["depth"].dtype == np.float32
        assert example.masks["depth"].all()


def test_nyu_splits_count_from_one_and_classes_are_mapped(made):
    root = made / "nyu"
    how = {"splits": root / "splits.mat", "classes": root / "classMapping40.mat"}
    test = datasets.nyu(root / "nyu_depth_v2_labeled.mat", "test", **how)
    assert test.ids == ("0004", "0008")
    np.testing.assert_array_equal(test[0].image, SHOWN[3].rgb)
    np.testing.assert_array_equal(test[0].targets["semantic"], FORTY[SHOWN[3].semantic])
    train = datasets.nyu(root / "nyu_depth_v2_labeled.mat", "train", ["depth"], **how)
    assert (len(train), train.targets) == (COUNT - 2, ("depth",))


def test_the_official_nyu_file_is_written_as_it_is_published(made):
    path = made / "nyu" / "nyu_depth_v2_labeled.mat"
    assert path.read_bytes().startswith(b"MATLAB 7.3 MAT-file")
    with h5py.File(path) as file:
        shapes = {name: (file[name].shape, file[name].dtype) for name in file}
        np.testing.assert_array_equal(file["images"][2].transpose(2, 1, 0), SHOWN[2].rgb)
    assert shapes["images"] == ((COUNT, 3, WIDTH, HEIGHT), np.uint8)
    assert shapes["depths"] == ((COUNT, WIDTH, HEIGHT), np.float32)
    assert shapes["labels"] == ((COUNT, WIDTH, HEIGHT), np.uint16)
    table = loadmat(made / "nyu" / "classMapping40.mat")["mapClass"]
    assert table.shape == (1, 894)
    assert table[0, 21 - 1] == 1  # wall
    assert loadmat(made / "nyu" / "splits.mat")["testNdxs"].tolist() == [[4], [8]]


def test_unlabeled_pixels_and_missing_depth_of_nyu_are_masked(copied):
    path = copied("nyu") / "nyu_depth_v2_labeled.mat"
    with h5py.File(path, "r+") as file:
        file["labels"][0, 5, 3], file["depths"][0, 7, 2], file["depths"][0, 8, 2] = 0, 0, np.nan
    example = datasets.nyu(path)[0]
    assert [tuple(p) for p in np.argwhere(~example.masks["semantic"])] == [(3, 5)]
    assert [tuple(p) for p in np.argwhere(~example.masks["depth"])] == [(2, 7), (2, 8)]


def test_gray_normals_of_nyud_mt_are_unknown(made, tmp_path):
    root = shutil.copytree(made / "nyud_mt", tmp_path / "nyud_mt")
    first = sorted(root.glob("normals/*.jpg"))[0]
    values = np.asarray(Image.open(first)).copy()
    values[:8, :8] = 127
    Image.fromarray(values).save(first, quality=100, subsampling=0)
    mask = datasets.nyud_mt(root, "train", ["normals"])[0].masks["normals"]
    assert not mask[1:7, 1:7].any()
    assert mask[10:, 10:].all()


def test_nyud_mt_comes_back(made):
    found = datasets.nyud_mt(made / "nyud_mt")
    assert [int(name) - 1 for name in found.ids] == [k for k in range(COUNT) if k % 4 != 3]
    assert datasets.nyud_mt(made / "nyud_mt", "val").ids == ("0004", "0008")
    for name, example in zip(found.ids, found, strict=True):
        shown = SHOWN[int(name) - 1]
        np.testing.assert_array_equal(example.targets["semantic"], FORTY[shown.semantic])
        np.testing.assert_array_equal(example.targets["depth"], shown.depth)
        assert np.abs(example.targets["normals"] - shown.normals).mean() < 1.5 / 127.5
        beside = np.zeros((HEIGHT, WIDTH), bool)
        beside[:, 1:] |= shown.instance[:, 1:] != shown.instance[:, :-1]
        beside[:, :-1] |= shown.instance[:, 1:] != shown.instance[:, :-1]
        beside[1:] |= shown.instance[1:] != shown.instance[:-1]
        beside[:-1] |= shown.instance[1:] != shown.instance[:-1]
        np.testing.assert_array_equal(example.targets["edge"], beside)
        assert all(mask.all() for mask in example.masks.values())


@pytest.mark.parametrize("deep", [False, True])
def test_mat_files_of_both_formats_are_read(copied, deep):
    root = copied("nyud_mt")
    depth = np.arange(HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    path = root / "depth" / "0001.mat"
    path.unlink()
    if deep:
        with h5py.File(path, "w", userblock_size=512) as file:
            file["depth"] = depth.T
    else:
        savemat(path, {"depth": depth})
    example = datasets.nyud_mt(root, targets=["depth"])[0]
    np.testing.assert_array_equal(example.targets["depth"], depth)
    assert np.argwhere(~example.masks["depth"]).tolist() == [[0, 0]]


# Taskonomy

DEEP = {
    "edge_texture": ("edge2d", image.EDGE_UNIT),
    "keypoints2d": ("keypoint2d", image.KEYPOINT_UNIT),
    "edge_occlusion": ("edge3d", geometry.EDGE_UNIT),
    "keypoints3d": ("keypoint3d", geometry.KEYPOINT_UNIT),
}


@pytest.mark.parametrize("layout", ["original", "omnitools", "tiny", "sample"])
def test_taskonomy_comes_back_from_every_layout(tmp_path, layout):
    export.taskonomy(tmp_path / "world", SHOWN, layout)
    found = datasets.taskonomy(tmp_path / "world", tuple(taskonomy_encodings.DOMAINS))
    assert found.layout == f"Taskonomy ({layout})"
    assert len(found) == COUNT
    if layout == "sample":
        assert found.ids[-1] == "world/point_4_view_0"
    else:
        assert found.ids[:5] == (
            *(f"room000/point_{p}_view_{v}" for p in (0, 1) for v in (0, 1)),
            "room001/point_0_view_0",
        )
    for shown, example in zip(SHOWN, found, strict=True):
        check_taskonomy(shown, example)


def check_taskonomy(shown, example):
    np.testing.assert_array_equal(example.image, shown.rgb)
    targets, masks = example.targets, example.masks
    for name, meters in (("depth_zbuffer", shown.depth), ("depth_euclidean", shown.distance)):
        known = np.round(meters * 512) < 65535
        np.testing.assert_array_equal(masks[name], known)
        assert not known.all()
        assert np.abs(targets[name] - meters)[known].max() <= 1 / 1024
    assert np.abs(targets["normal"] - shown.normals).max() <= 1 / 254 + 1e-6
    objects = np.where(shown.semantic >= 3, shown.semantic - 1, 1)
    np.testing.assert_array_equal(targets["segment_semantic"], objects)
    for name, (task, unit) in DEEP.items():
        expected = np.clip(shown.targets[task][..., 0] * unit, 0, 1)
        assert np.abs(targets[name] - expected).max() <= 1 / 131070 + 1e-7
    shade = np.clip(shown.targets["reshade"][..., 0] * geometry.SHADING_UNIT + 0.5, 0, 1)
    assert np.abs(targets["reshading"] - shade).max() <= 1 / 510 + 1e-7
    bent = np.clip(shown.targets["curvature"] * geometry.CURVATURE_UNIT, -1, 128 / 127)
    assert np.abs(targets["principal_curvature"] - bent).max() <= 1 / 254 + 1e-6
    np.testing.assert_array_equal(targets["segment_unsup2d"], shown.targets["segment2d"])
    np.testing.assert_array_equal(targets["segment_unsup25d"], shown.targets["segment25d"])
    np.testing.assert_array_equal(targets["class_object"], shown.targets["class_object"])
    assert targets["class_scene"].argmax() == shown.targets["class_scene"]
    assert set(targets) - set(masks) == {"class_object", "class_scene"}


def test_taskonomy_archives_unpacked_in_their_own_folders_are_read(copied):
    root = copied("taskonomy")
    for domain in ("rgb", "normal"):
        for building in (root / domain).iterdir():
            shutil.copytree(building, root / "unpacked" / f"{building.name}_{domain}" / domain)
    found = datasets.taskonomy(root / "unpacked", ["normal"])
    assert found.layout == "Taskonomy (tiny)"
    np.testing.assert_array_equal(found[3].image, SHOWN[3].rgb)


def test_other_parts_of_omnidata_are_left_alone(tmp_path):
    export.taskonomy(tmp_path / "world", SHOWN[:4], "omnitools")
    for domain in ("rgb", "normal"):
        shutil.copytree(tmp_path / "world" / domain / "taskonomy", tmp_path / "world" / domain / "replica")
    found = datasets.taskonomy(tmp_path / "world", ["normal"])
    assert (found.layout, len(found)) == ("Taskonomy (omnitools)", 4)


def test_the_file_encodings_of_taskonomy(made):
    root = made / "taskonomy"
    path = root / "depth_zbuffer" / "room000" / "point_0_view_0_domain_depth_zbuffer.png"
    with Image.open(path) as picture:
        assert picture.mode == "I;16"
        stored = np.asarray(picture)
    assert stored[0, :3].tolist() == [round(127.9 * 512), 65535, 65535]
    with Image.open(root / "normal/room000/point_0_view_0_domain_normal.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.round(127 + 127 * SHOWN[0].normals))
    assert (root / "mask_valid/room000/point_0_view_0_domain_depth_zbuffer.png").is_file()
    assert (root / "segment_semantic/room000/point_0_view_0_domain_segmentsemantic.png").is_file()


def test_holes_of_the_mesh_are_masked_in_what_was_made_from_it(copied):
    root = copied("taskonomy")
    holes = np.full((HEIGHT, WIDTH), 255, np.uint8)
    holes[4, 9] = 0
    Image.fromarray(holes).save(root / "mask_valid/room000/point_0_view_0_domain_depth_zbuffer.png")
    path = root / "segment_semantic/room000/point_0_view_0_domain_segmentsemantic.png"
    with Image.open(path) as picture:
        semantic = np.array(picture)
    semantic[2, 3] = 0
    Image.fromarray(semantic).save(path)
    masks = datasets.taskonomy(root, ["normal", "edge_texture", "segment_semantic"])[0].masks
    assert np.argwhere(~masks["normal"]).tolist() == [[4, 9]]
    assert np.argwhere(~masks["segment_semantic"]).tolist() == [[2, 3]]
    assert masks["edge_texture"].all()
    shutil.rmtree(root / "mask_valid")
    assert datasets.taskonomy(root, ["normal"])[0].masks["normal"].all()


def test_points_and_views_are_ordered_as_numbers(tmp_path):
    for point, view in ((10, 0), (2, 11), (2, 3)):
        for domain, mode in (("rgb", "RGB"), ("reshading", "L")):
            place = tmp_path / domain / "hanson"
            place.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (6, 4)).save(place / f"point_{point}_view_{view}_domain_{domain}.png")
    found = datasets.taskonomy(tmp_path, ["reshading"])
    assert found.ids == ("hanson/point_2_view_3", "hanson/point_2_view_11", "hanson/point_10_view_0")


def test_taskonomy_splits_have_lone_carriage_returns(made):
    path = made / "taskonomy" / "train_val_test_rooms.csv"
    raw = path.read_bytes()
    assert raw.startswith(b"id,train,val,test\rroom000,1,0,0\r")
    assert b"\n" not in raw
    assert datasets.read_buildings(path, "train") == ("room000",)
    assert datasets.read_buildings(path, "val") == ("room001",)
    found = datasets.taskonomy(made / "taskonomy", ["normal"], buildings=datasets.read_buildings(path, "test"))
    assert found.ids == ("room002/point_0_view_0",)
    np.testing.assert_array_equal(found[0].image, SHOWN[8].rgb)


def test_training_targets_of_taskonomy_by_hand():
    def one(domain, value):
        return float(np.ravel(taskonomy_encodings.as_trained(domain, np.full((3, 3), value)).values)[0])

    assert one("depth_zbuffer", 2.0) == pytest.approx(np.log(1025) / np.log(65536))
    assert taskonomy_encodings.as_trained("depth_euclidean", np.array([64499, 64500]) / 512).mask.tolist() == [
        True,
        False,
    ]
    assert [one("keypoints2d", v) for v in (0, 0.0025, 0.1)] == [-1, 0, 1]
    assert one("edge_occlusion", 0.0125) == pytest.approx(3)
    assert one("reshading", 0.75) == one("keypoints3d", 0.75) == 0.5
    assert one("normal", 1.0) == pytest.approx(2 * 254 / 255 - 1)
    bytes_ = np.array([[[155.494, 98.442]]])
    curved = taskonomy_encodings.as_trained("principal_curvature", (bytes_ - 127) / 127).values
    np.testing.assert_allclose(curved, [[[1, -1]]], atol=1e-9)
    spike = np.zeros((65, 65))
    spike[32, 32] = 0.00625
    blurred = taskonomy_encodings.as_trained("edge_occlusion", spike).values + 1
    assert blurred[32, 32] == pytest.approx(2 / (2 * np.pi * 16), rel=1e-3)
    with pytest.raises(ValueError, match="segment_semantic"):
        taskonomy_encodings.as_trained("segment_semantic", spike)


# The built-in world


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Five pictures of rooms as official NYUv2 and as Taskonomy, rendered once, and their views."""
    root = tmp_path_factory.mktemp("rooms")
    names = ("edge2d", "class_scene")
    shown = list(export.labeled(5, seed=3, resolution=32, names=names))
    export.nyu(root / "nyu", shown)
    export.voc(root / "voc", shown)
    export.taskonomy(root / "taskonomy", shown)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(3), np.arange(5))
    views = render.views(keys, scenes.ROOMS, 32)
    return root, views, {name: np.asarray(rooms_tasks.targets(rooms_tasks.TASKS[name], views)) for name in names}


@pytest.mark.slow
def test_rooms_come_back_in_their_units(rendered):
    root, views, targets = rendered
    same = pictures.make(5, seed=3, resolution=32).rgb
    by_nyu = datasets.nyu(root / "nyu" / "nyu_depth_v2_labeled.mat")
    by_taskonomy = datasets.taskonomy(root / "taskonomy", ["depth_euclidean", "edge_texture", "class_scene"])
    for k in range(5):
        np.testing.assert_array_equal(by_nyu[k].image, same[k])
        np.testing.assert_array_equal(by_nyu[k].targets["depth"], views.depth[k])
        np.testing.assert_array_equal(by_nyu[k].targets["semantic"], ALL[np.asarray(views.semantic[k])])
        found = by_taskonomy[k].targets
        assert np.abs(found["depth_euclidean"] - views.distance[k]).max() <= 1 / 1024
        assert np.abs(found["edge_texture"] - targets["edge2d"][k, ..., 0] * image.EDGE_UNIT).max() <= 1 / 131070 + 1e-7
        assert found["class_scene"].argmax() == targets["class_scene"][k]
    masks = datasets.voc(root / "voc", "trainval")
    for example in masks:
        semantic = np.asarray(views.semantic[number_of(example.id)])
        np.testing.assert_array_equal(example.targets["semantic"], np.where(semantic > 2, semantic - 2, 0))


def test_every_domain_of_a_task_names_one_of_rooms():
    assert set(STORED) <= set(taskonomy_encodings.DOMAINS)
    assert {task for task, _ in STORED.values()} <= set(rooms_tasks.TASKS)
