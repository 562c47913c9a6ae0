"""Dataset folders that are corrupt, incomplete, mixed or of another kind: one sentence that names file and cause."""

import os
import shutil

import h5py
import numpy as np
import pytest
from machine import full_disk

pytest.importorskip("flax", reason="datasets need the nn extra")
pytest.importorskip("PIL", reason="datasets need the nn extra")

import test_datasets as whole
from PIL import Image
from scipy.io import savemat

from jaxsim.studies.rooms import export
from jaxsim.vision import datasets

HEIGHT, WIDTH, COUNT, SHOWN = whole.HEIGHT, whole.WIDTH, whole.COUNT, whole.SHOWN
made, copied = whole.made, whole.copied


def test_writers_refuse_folders_that_are_there_and_leave_nothing_behind(made, tmp_path):
    with pytest.raises(FileExistsError, match="voc already exists; give another folder"):
        export.voc(made / "voc", SHOWN)
    for writer in export.WRITERS.values():
        with pytest.raises(ValueError, match="there are no pictures to write"):
            writer.write(tmp_path / "none", [])
    with pytest.raises(ValueError, match="must have the same size"):
        export.nyu(tmp_path / "sizes", [SHOWN[0], whole.made_up(0, 12, 16)])
    with pytest.raises(ValueError, match="'layout'|no Taskonomy layout 'odd'"):
        export.taskonomy(tmp_path / "odd", SHOWN, "odd")
    with pytest.raises(ValueError, match="there is no dataset layout 'odd'; choose from .*folder, nyu"):
        export.write_world(tmp_path / "odd", "odd", 1)
    with pytest.raises(ValueError, match="0 pictures were requested"):
        export.write_world(tmp_path / "odd", "voc", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_is_killed_leaves_nothing(tmp_path):
    def stopped():
        yield SHOWN[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export.nyud_mt(tmp_path / "half", stopped())
    assert list(tmp_path.iterdir()) == []


def spoil(path, how):
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "noise": b"\x00\x01\x02" * 100, "empty": b""}[how])


CORRUPT = {
    "folder": ("000002.png", lambda root: datasets.folder(root)),
    "voc": (
        "VOCdevkit/VOC2012/JPEGImages/2012_000004.jpg",
        lambda root: datasets.voc(root),
    ),
    "voc mask": (
        "VOCdevkit/VOC2012/SegmentationClass/2012_000004.png",
        lambda root: datasets.voc(root),
    ),
    "voc sbd": (
        "benchmark_RELEASE/dataset/cls/2012_000002.mat",
        lambda root: datasets.voc(root, "trainaug", sbd=root / "benchmark_RELEASE"),
    ),
    "pascal_mt": ("pascal-context/trainval/2010_000002.mat", lambda root: datasets.pascal_mt(root)),
    "nyud_mt": ("depth/0002.mat", lambda root: datasets.nyud_mt(root)),
    "nyud_mt normals": ("normals/0002.jpg", lambda root: datasets.nyud_mt(root)),
    "taskonomy": (
        "depth_zbuffer/room000/point_1_view_1_domain_depth_zbuffer.png",
        lambda root: datasets.taskonomy(root, ["depth_zbuffer"]),
    ),
    "taskonomy vector": (
        "class_scene/room000/point_1_view_1_domain_class_scene.npy",
        lambda root: datasets.taskonomy(root, ["class_scene"]),
    ),
}


@pytest.mark.parametrize("how", ["cut", "noise", "empty"])
@pytest.mark.parametrize("name", sorted(CORRUPT))
def test_a_corrupt_file_is_named_when_it_is_read(copied, name, how):
    path, read = CORRUPT[name]
    root = copied(name.split()[0])
    spoil(root / path, how)
    dataset = read(root)  # nothing is read yet
    with pytest.raises(ValueError, match="damaged, truncated or of another format") as caught:
        list(dataset)
    assert str(caught.value).startswith(str(root / path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["cut", "noise", "empty"])
@pytest.mark.parametrize("file", ["nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"])
def test_unreadable_mat_files_of_nyu_are_named(copied, file, how):
    root = copied("nyu")
    spoil(root / file, how)
    with pytest.raises(ValueError, match=f"{file} is damaged"):
        datasets.nyu(
            root / "nyu_depth_v2_labeled.mat", "train", splits=root / "splits.mat", classes=root / "classMapping40.mat"
        )


def test_nyu_files_of_other_content_are_refused(copied):
    root = copied("nyu")
    path = root / "nyu_depth_v2_labeled.mat"
    with h5py.File(path, "r+") as file:
        del file["labels"]
        file["labels"] = np.zeros((COUNT, HEIGHT, WIDTH), np.uint16)
    expected = r"its array 'labels' has shape \(9, 20, 60\), but 'images' requires \(9, 60, 20\)"
    with pytest.raises(ValueError, match=expected):
        datasets.nyu(path)
    assert len(datasets.nyu(path, targets=["depth"])) == COUNT
    with h5py.File(path, "r+") as file:
        del file["depths"]
    with pytest.raises(ValueError, match="array 'depths' is missing"):
        datasets.nyu(path)
    savemat(root / "splits.mat", {"trainNdxs": np.array([[1], [10], [0]])})
    with pytest.raises(FileNotFoundError, match=r"lacks 2 of the 3 files that .*splits.mat names: 10, 0"):
        datasets.nyu(path, "train", [], splits=root / "splits.mat")
    with pytest.raises(ValueError, match=r"splits.mat is damaged, .*: array 'testNdxs' is missing"):
        datasets.nyu(path, "test", [], splits=root / "splits.mat")
    with pytest.raises(ValueError, match="give the path of that file as `splits`"):
        datasets.nyu(path, "train", [])
    with pytest.raises(ValueError, match="no split 'val'; choose from train, test, or None"):
        datasets.nyu(path, "val", [])
    with pytest.raises(FileNotFoundError, match=r"none.mat does not exist"):
        datasets.nyu(root / "none.mat")


def test_a_picture_that_announces_too_many_pixels_is_refused(made, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ValueError, match="000000.png was not read: its header declares too many pixels"):
        datasets.folder(made / "folder")[0]


WRONG_SIZE = {
    "voc": ("VOCdevkit/VOC2012/SegmentationClass/2012_000000.png", "semantic", "L", lambda r: datasets.voc(r)),
    "pascal_mt": ("semseg/VOC12/2010_000000.png", "semantic", "L", lambda r: datasets.pascal_mt(r)),
    "nyud_mt": ("edge/0001.png", "edge", "L", lambda r: datasets.nyud_mt(r)),
    "taskonomy": (
        "normal/room000/point_0_view_0_domain_normal.png",
        "normal",
        "RGB",
        lambda r: datasets.taskonomy(r, ["normal"]),
    ),
}


@pytest.mark.parametrize("layout", sorted(WRONG_SIZE))
def test_a_label_of_another_size_is_named(copied, layout):
    path, target, mode, read = WRONG_SIZE[layout]
    root = copied(layout)
    Image.new(mode, (8, 4), None).save(root / path)
    shutil.rmtree(root / "mask_valid", ignore_errors=True)
    with pytest.raises(ValueError, match=f"has '{target}' of 4 x 8 pixels, but picture .* has 20 x 60") as caught:
        read(root)[0]
    assert str(caught.value).startswith(str(root / path))


MISSING = {
    "voc": ("VOCdevkit/VOC2012/SegmentationClass", lambda r: datasets.voc(r)),
    "voc pictures": ("VOCdevkit/VOC2012/JPEGImages", lambda r: datasets.voc(r)),
    "pascal_mt": ("normals_distill", lambda r: datasets.pascal_mt(r)),
    "nyud_mt": ("segmentation", lambda r: datasets.nyud_mt(r)),
    "nyud_mt pictures": ("images", lambda r: datasets.nyud_mt(r)),
    "taskonomy": ("reshading/room000", lambda r: datasets.taskonomy(r, ["reshading"])),
}


@pytest.mark.parametrize("name", sorted(MISSING))
def test_missing_files_are_counted_and_the_first_named(copied, name):
    path, read = MISSING[name]
    root = copied(name.split()[0])
    gone = sorted((root / path).iterdir())[:2]
    for file in gone:
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r" lacks 2 of the \d files that ") as caught:
        read(root)
    assert str(caught.value).startswith(str(root / path))
    assert str(caught.value).endswith(f": {gone[0].name}, {gone[1].name}.") or name == "taskonomy"
    shutil.rmtree(root / path)
    with pytest.raises(FileNotFoundError):
        read(root)


def test_a_split_that_names_absent_files_says_which_and_how_many(copied):
    root = copied("nyud_mt")
    split = root / "gt_sets" / "train.txt"
    split.write_text(split.read_text() + "\n".join(f"9{k:03d}" for k in range(5)) + "\n")
    with pytest.raises(FileNotFoundError) as caught:
        datasets.nyud_mt(root)
    expected = f"{root / 'images'} lacks 5 of the 12 files that {split} names: 9000.jpg, 9001.jpg, 9002.jpg and 2 more."
    assert str(caught.value) == expected


def test_splits_that_are_none(copied):
    root = copied("nyud_mt")
    split = root / "gt_sets" / "train.txt"
    with pytest.raises(FileNotFoundError, match=r"test.txt does not exist"):
        datasets.nyud_mt(root, "test")
    split.write_text("\n\n")
    with pytest.raises(ValueError, match="train.txt names no picture"):
        datasets.nyud_mt(root)
    split.write_text("0001\n0002 1\n0001\n")
    with pytest.raises(ValueError, match="train.txt names '0001' twice"):
        datasets.nyud_mt(root)
    split.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="train.txt is not a text file"):
        datasets.nyud_mt(root)
    with pytest.raises(ValueError, match="no split 'test'; choose from train, val, trainval, trainaug"):
        datasets.voc(copied("voc"), "test")


def test_taskonomy_csv_of_another_kind(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("id,train\nhanson,1\nallen,yes\n")
    with pytest.raises(ValueError, match="no split 'test'; it has train"):
        datasets.read_buildings(path, "test")
    with pytest.raises(ValueError, match="neither 0 nor 1 in column 'train' for allen"):
        datasets.read_buildings(path, "train")
    path.write_text("")
    with pytest.raises(ValueError, match="no column 'id'"):
        datasets.read_buildings(path, "train")


def test_mixed_layouts_are_refused(copied):
    root = copied("taskonomy")
    shutil.copytree(root / "rgb" / "room000", root / "hanson_rgb")
    with pytest.raises(ValueError, match="mixes Taskonomy layouts: .*room000 .original. and .*hanson_rgb .tiny."):
        datasets.taskonomy(root)
    shutil.rmtree(root / "hanson_rgb")
    shutil.copytree(root / "rgb" / "room000", root / "rgb" / "taskonomy" / "room000")
    with pytest.raises(ValueError, match="mixes Taskonomy layouts"):
        datasets.taskonomy(root)


def test_taskonomy_files_out_of_place_are_named(copied):
    root = copied("taskonomy")
    place = root / "normal" / "room000"
    shutil.copy(place / "point_0_view_0_domain_normal.png", place / "point_0_view_0_domain_rgb.png")
    with pytest.raises(
        ValueError, match="point_0_view_0_domain_rgb.png is a file of domain 'rgb' in the folder of 'normal'"
    ):
        datasets.taskonomy(root, ["normal"])
    (place / "point_0_view_0_domain_rgb.png").unlink()
    (place / "point_0_view_0_domain_normal.png").rename(place / "point_0_view_0_domain_normal.npy")
    with pytest.raises(ValueError, match="names its files in two ways"):
        datasets.taskonomy(root, ["normal"])
    with pytest.raises(FileNotFoundError, match="lacks rgb for 2 of the 3 buildings: ihlen, muleshoe"):
        datasets.taskonomy(root, buildings=["ihlen", "room000", "muleshoe"])
    shutil.rmtree(root / "reshading")
    with pytest.raises(FileNotFoundError, match="no folder of domain reshading"):
        datasets.taskonomy(root, ["reshading"])


def test_an_incomplete_taskonomy_is_read_on_request_with_numbers(copied):
    root = copied("taskonomy")
    shutil.copytree(root / "rgb" / "room000", root / "rgb" / "room009")
    (root / "normal" / "room000" / "point_0_view_0_domain_normal.png").unlink()
    for read in (lambda: datasets.taskonomy(root, ["normal"]), lambda: datasets.taskonomy(root, ["reshading"])):
        with pytest.raises(FileNotFoundError, match=r"lacks .* give complete_only=True \(--complete-only\)"):
            read()
    expected = r"1 of 4 buildings: room009 \(without normal, mask_valid\); and 1 of 9 pictures .*: 1 without normal\."
    with pytest.warns(UserWarning, match=expected):
        found = datasets.taskonomy(root, ["normal"], complete_only=True)
    assert "room000/point_0_view_0" not in found.ids
    assert len(list(found)) == COUNT - 1
    with pytest.warns(UserWarning, match="1 of 4 buildings"):
        whole = datasets.layout_named("taskonomy").complete().read(root, None, ())
    assert whole.ids == found.ids
    with pytest.raises(ValueError, match="complete_only .--complete-only. works only with the layout taskonomy"):
        datasets.layout_named("voc").complete()
    shutil.rmtree(root / "normal")
    (root / "normal" / "room008").mkdir(parents=True)
    with pytest.raises(
        ValueError, match="has no picture with files in all of rgb, normal, mask_valid; incomplete: room"
    ):
        datasets.taskonomy(root, ["normal"], complete_only=True)


def test_taskonomy_labels_without_a_picture_are_counted(copied):
    root = copied("taskonomy")
    (root / "rgb" / "room000" / "point_0_view_0_domain_rgb.png").unlink()
    (root / "rgb" / "room000" / "point_1_view_1_domain_rgb.png.part").touch()
    with pytest.warns(UserWarning, match="left out") as told:
        found = datasets.taskonomy(root, ["normal"])
    assert len(found) == COUNT - 1
    assert "files that have no rgb picture: 1 of normal, 1 of mask_valid." in str(told[0].message)
    assert "1 files whose names are not those of Taskonomy: point_1_view_1_domain_rgb.png.part" in str(told[1].message)
    shutil.rmtree(root / "rgb" / "room000")
    shutil.copytree(root / "reshading" / "room000", root / "rgb" / "room009")
    with pytest.raises(FileNotFoundError, match="lacks rgb for 1 of the 4 buildings: room000"):
        datasets.taskonomy(root, ["normal"])


EMPTY = [
    lambda root: datasets.folder(root),
    lambda root: datasets.voc(root),
    lambda root: datasets.pascal_mt(root),
    lambda root: datasets.nyud_mt(root),
    lambda root: datasets.taskonomy(root),
]


@pytest.mark.parametrize("read", EMPTY)
def test_empty_and_absent_folders_are_named(tmp_path, read):
    with pytest.raises((ValueError, FileNotFoundError), match=str(tmp_path)) as caught:
        read(tmp_path)
    assert str(caught.value).count("\n") == 0
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "none")):
        read(tmp_path / "none")


def test_a_taskonomy_folder_without_pictures(tmp_path):
    (tmp_path / "rgb" / "hanson").mkdir(parents=True)
    with pytest.raises(
        ValueError, match="has no Taskonomy folders. Folders must be arranged as DOMAIN/taskonomy/BUILDING"
    ):
        datasets.taskonomy(tmp_path)
    (tmp_path / "rgb" / "taskonomy" / "hanson").mkdir(parents=True)
    with pytest.raises(ValueError, match="has no Taskonomy pictures"):
        datasets.taskonomy(tmp_path)
    (tmp_path / "rgb").rename(tmp_path / "normal")
    with pytest.raises(ValueError, match="has no Taskonomy pictures: there is no folder of domain rgb"):
        datasets.taskonomy(tmp_path)


READERS = {
    "voc": lambda root, names: datasets.voc(root, targets=names),
    "pascal_mt": lambda root, names: datasets.pascal_mt(root, targets=names),
    "nyu": lambda root, names: datasets.nyu(root / "nyu_depth_v2_labeled.mat", targets=names),
    "nyud_mt": lambda root, names: datasets.nyud_mt(root, targets=names),
    "taskonomy": lambda root, names: datasets.taskonomy(root, names),
}


@pytest.mark.parametrize("layout", sorted(READERS))
def test_unknown_targets_are_refused_and_no_target_is_fine(made, layout):
    with pytest.raises(ValueError, match=r"layout has no target 'semantics'; (did you mean|there are) "):
        READERS[layout](made / layout, ["semantics"])
    assert READERS[layout](made / layout, [])[0].targets == {}


@pytest.mark.parametrize(
    ("array", "mode", "words"),
    [
        (np.full((HEIGHT, WIDTH), 21, np.uint8), "L", "has class 21, but only 0 to 20 and 255 are allowed"),
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), "RGB", r"3 channels \(mode RGB\); one class number per pixel"),
    ],
)
def test_masks_of_other_content_are_refused(copied, array, mode, words):
    root = copied("voc")
    picture = Image.fromarray(array)
    assert picture.mode == mode
    picture.save(root / "VOCdevkit/VOC2012/SegmentationClass/2012_000000.png")
    with pytest.raises(ValueError, match=words):
        datasets.voc(root)[0]


def test_taskonomy_files_of_other_depth_are_refused(copied):
    root = copied("taskonomy")
    flat, deep = Image.new("L", (WIDTH, HEIGHT)), Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16))
    flat.save(root / "depth_zbuffer/room000/point_0_view_0_domain_depth_zbuffer.png")
    with pytest.raises(ValueError, match=r"8-bit values in 1 channel \(mode L\); 16 bits and one channel are expected"):
        datasets.taskonomy(root, ["depth_zbuffer"])[0]
    deep.save(root / "reshading/room000/point_0_view_0_domain_reshading.png")
    with pytest.raises(ValueError, match=r"of 16-bit values in 1 channel \(mode I;16\); 8 bits per channel"):
        datasets.taskonomy(root, ["reshading"])[0]
    flat.save(root / "normal/room000/point_0_view_0_domain_normal.png")
    with pytest.raises(ValueError, match=r"8-bit values in 1 channel \(mode L\); 3 channels are expected"):
        datasets.taskonomy(root, ["normal"])[0]
    np.save(root / "class_scene/room000/point_0_view_0_domain_class_scene.npy", np.array([{}], object))
    with pytest.raises(ValueError, match="point_0_view_0_domain_class_scene.npy"):
        datasets.taskonomy(root, ["class_scene"])[0]


def test_sbd_files_of_other_content_are_refused(copied):
    root = copied("voc")
    savemat(root / "benchmark_RELEASE/dataset/cls/2012_000002.mat", {"GTcls": np.zeros((2, 2))})
    found = datasets.voc(root, "trainaug", sbd=root / "benchmark_RELEASE").select(["2012_000002"])
    with pytest.raises(ValueError, match="has no field 'Segmentation' in 'GTcls'"):
        found[0]
    with pytest.raises(FileNotFoundError, match="does not contain SBD"):
        datasets.voc(root, "trainaug", sbd=root / "VOCdevkit")
    with pytest.raises(ValueError, match="has no picture 2012_000003"):
        datasets.voc(root, "train").select(["2012_000000", "2012_000003"])


GRAY = np.arange(256).reshape(16, 16)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_pictures_of_more_than_8_bits_are_refused_and_not_clipped(tmp_path, dtype):
    Image.fromarray((GRAY * 257).astype(dtype)).save(tmp_path / "deep.tiff")
    with pytest.raises(
        ValueError, match=r"deep.tiff is a picture of .*; 8 bits per channel are expected; save it with 8 bits"
    ):
        datasets.folder(tmp_path)[0]


def test_every_kind_of_8_bit_picture_is_read_in_color(tmp_path):
    gray = Image.fromarray(GRAY.astype(np.uint8))
    color = Image.merge("RGB", [gray, gray, gray])
    kinds = {"gray": gray, "alpha": gray.convert("LA"), "rgba": color.convert("RGBA"), "palette": gray.convert("P")}
    for name, picture in kinds.items():
        picture.save(tmp_path / f"{name}.png")
    kinds["palette"].save(tmp_path / "transparent.png", transparency=bytes(range(256)))
    color.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    for example in datasets.folder(tmp_path):
        np.testing.assert_allclose(example.image.astype(int), np.stack([GRAY] * 3, -1), atol=4, err_msg=example.id)


def test_odd_things_in_a_folder_of_pictures(tmp_path, monkeypatch):
    root = tmp_path / "ünï cödé 日本"
    (root / "folder.png").mkdir(parents=True)
    (root / "again").symlink_to(".")
    for name in ("a b.png", "a b.jpg", "ä\n.png"):
        Image.new("RGB", (1, 1), "red").save(root / name)

    def warned(read):
        with pytest.warns(UserWarning, match="2 pictures have the same name as another except for the suffix"):
            return read()

    found = warned(lambda: datasets.folder(root))
    assert found.ids == ("a b.jpg", "a b.png", "ä\n.png")
    assert [example.image.shape for example in found] == [(1, 1, 3)] * 3
    for name, make in {"loop": lambda p: p.symlink_to(p.name), "pipe": os.mkfifo, "text": lambda p: p.touch()}.items():
        make(root / f"{name}.png")
        with pytest.raises(
            (ValueError, FileNotFoundError), match=f"{name}.png (is|does not exist or is not) "
        ) as caught:
            warned(lambda: datasets.folder(root)).select([f"{name}.png"])[0]
        assert "\n" not in str(caught.value)
    (root / "closed").mkdir()
    listed = os.scandir

    def refused(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError, match=r"closed could not be listed: permission denied\.$"):
        datasets.folder(root)


def test_splits_as_other_systems_write_them(copied):
    root = copied("nyud_mt")
    split = root / "gt_sets" / "train.txt"
    split.write_bytes(b"\xef\xbb\xbf\r\n0001\r\n\r\n  \r\n0002 1\r\n")
    assert datasets.nyud_mt(root).ids == ("0001", "0002")
    split.write_bytes(b"")
    with pytest.raises(ValueError, match="train.txt names no picture"):
        datasets.nyud_mt(root)
    table = root / "split.csv"
    table.write_bytes(b"\xef\xbb\xbfid,train,val\r\nhanson,1,0\r\n")
    assert datasets.read_buildings(table, "train") == ("hanson",)
    with pytest.raises(ValueError, match=r"split.csv names no buildings of split 'val'"):
        datasets.read_buildings(table, "val")
    table.write_text("id,train\n" + "x" * 200_000 + ",1\n")
    with pytest.raises(ValueError, match=r"split.csv is not a list of splits: field larger"):
        datasets.read_buildings(table, "train")


@pytest.mark.parametrize("odd", [41, -1, np.nan, 2.5])
def test_class_numbers_that_there_are_not_are_named(copied, odd):
    root = copied("nyud_mt")
    savemat(root / "segmentation/0001.mat", {"segmentation": np.full((HEIGHT, WIDTH), odd)})
    with pytest.raises(ValueError, match=r"0001.mat has class .*, but only 0 to 40 and 255 are allowed"):
        datasets.nyud_mt(root)[0]


def test_other_class_numbers_that_there_are_not(copied):
    root = copied("taskonomy")
    path = root / "segment_semantic/room000/point_0_view_0_domain_segmentsemantic.png"
    Image.fromarray(np.full((HEIGHT, WIDTH), 18, np.uint8)).save(path)
    with pytest.raises(ValueError, match=f"{path.name} has class 18, but only 0 to 17 are allowed"):
        datasets.taskonomy(root, ["segment_semantic"])[0]
    path = root / "class_scene/room000/point_0_view_0_domain_class_scene.npy"
    np.save(path, np.array([0.5, np.nan], np.float32))
    with pytest.raises(ValueError, match=f"{path.name} has values that are not finite"):
        datasets.taskonomy(root, ["class_scene"])[0]
    root = copied("pascal_mt")
    savemat(root / "pascal-context/trainval/2010_000000.mat", {"LabelMap": np.full((HEIGHT, WIDTH), np.nan)})
    with pytest.raises(ValueError, match=r"2010_000000.mat has class nan, but only 0 to 459 are allowed"):
        datasets.pascal_mt(root)[0]


def test_nyu_files_of_other_numbers_are_refused(copied):
    root = copied("nyu")
    path = root / "nyu_depth_v2_labeled.mat"
    with h5py.File(path, "r+") as file:
        file["labels"][0] = 895
    with pytest.raises(ValueError, match=r"has class 895, but only 0 to 894 in picture 0001 are allowed"):
        datasets.nyu(path)[0]
    savemat(root / "classMapping40.mat", {"mapClass": np.full((1, 894), 41)})
    with pytest.raises(ValueError, match=r"classMapping40.mat has class 41, but only 0 to 40 are allowed"):
        datasets.nyu(path, classes=root / "classMapping40.mat")
    for numbers in (np.zeros((0, 1)), np.array([[1.5]]), np.array([[np.nan]])):
        savemat(root / "splits.mat", {"trainNdxs": numbers})
        with pytest.raises(
            ValueError, match=r"splits.mat lists no pictures for split 'train', or does not list them by whole numbers"
        ):
            datasets.nyu(path, "train", splits=root / "splits.mat")
    with h5py.File(path, "r+") as file:
        images = file["images"][()].astype(np.uint16)
        del file["images"]
        file["images"] = images
    with pytest.raises(ValueError, match="its array 'images' has type uint16"):
        datasets.nyu(path)


@pytest.mark.parametrize("layout", sorted(export.WRITERS))
def test_a_writer_on_a_full_disk_leaves_nothing(tmp_path, layout):
    with full_disk(100), pytest.raises(OSError, match=rf"{layout} could not be written: [a-z ]+\.$"):
        export.WRITERS[layout].write(tmp_path / layout, SHOWN[:2])
    assert list(tmp_path.iterdir()) == []
