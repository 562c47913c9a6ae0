"""Draw the pictures of the documentation again.

`python docs/figures.py` draws that of the front page, in half a minute. `python docs/figures.py --gallery WORK` draws a
contact sheet of every figure of every command, in some minutes; the commands' output is kept in WORK. With `--as gray`
or `--as deuteranopia` the same sheet, as a printer or a color-blind reader sees it, is written to WORK instead.
`python docs/figures.py --report WORK` writes the report of the demo and a picture of it (extra `browser`, Chromium).
"""

import argparse
import contextlib
import csv
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import jaxsim as js
from jaxsim import plotting
from jaxsim.cli import main
from jaxsim.studies.reproduce import model_sizes, source_selection, training_stages
from jaxsim.studies.rooms import encoders, export, pictures

FIGURES = Path(__file__).parent / "_static"
RESULTS = Path(__file__).parents[1] / "benchmarks/results/reproduce"
COLUMN, ACROSS, GAP, DPI = 3.3, 4, 0.15, 110
"""Inches of a paper's column, columns of the contact sheet, inches between figures, and dots per inch."""
SEEN = {
    "color": np.eye(3),
    "gray": np.full((3, 3), [0.299, 0.587, 0.114]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
}
"""Colors as they are seen, as matrices of RGB (Machado, Oliveira and Fernandes 2009 for deuteranopia)."""
FEW = {
    "few": ("rgb2depth", "edge2d", "class_object", "denoise", "curvature"),
    "others": ("rgb2mist", "edge3d", "reshade"),
}
COMMANDS = {
    "demo": "demo --images 200",
    "affinity": "affinity WORK/few.npz --against WORK/others.npz --measure cka-linear",
    "bootstrap": "bootstrap WORK/few.npz",
    "bootstrap-two-sets": "bootstrap WORK/few.npz --against WORK/others.npz --measure cka-linear --target edge3d",
    "permutation": "bootstrap WORK/few.npz --scheme permutation --resamples 200",
    "taxonomy": "taxonomy WORK/demo/affinity.npz --support WORK/demo/resamples.npz",
    "evaluate": "evaluate WORK/demo/affinity.npz rooms",
    "layers": "layers WORK/pictures --quick",
    "transfer": "transfer WORK/pictures --task semantic --quick --epochs 1 --init rgb2depth --init edge2d "
    "--init class_object --init segment2d",
    "reproduce": "reproduce --quick --work WORK/reproduce-work rsa-matrix depth trees selection images grid methods "
    "subsets layers",
}
TABLES = {
    "small": (model_sizes.Small, model_sizes.draw_small),
    "new-task": (source_selection.Source, source_selection.draw_new_task),
    "stages": (training_stages.Stage, training_stages.draw_stages),
    "sizes": (model_sizes.Size, model_sizes.draw_sizes),
}
"""Experiments that train for hours: their committed tables are drawn."""


def affinity():
    """Similarity of the twenty shipped encoders on 500 new pictures under RSA, in the order of its tree."""
    made = pictures.make(500, seed=5_000_000)
    found = js.affinity(encoders.features(encoders.shipped(), made.rgb), js.RSA)
    return plotting.affinity_heatmap(found, js.taxonomy.tree(found))


def run(work: Path) -> list[Path]:
    """Run every command that draws, unless WORK has its folder, and return its figures."""
    if not (work / "pictures").exists():
        export.write_world(work / "pictures", "voc", 40)
    for name, command in COMMANDS.items():
        if not (work / name).exists():
            argv = [*command.replace("WORK", str(work)).split(), "--out", str(work / name), "--quiet"]
            if main(argv):
                raise SystemExit(f"jaxsim {command} failed.")
        if name == "demo":
            features = np.load(work / "demo/features.npz")
            for stem, names in FEW.items():
                np.savez(work / f"{stem}.npz", **{one: features[one] for one in names})
    for name in TABLES:
        table(name).savefig(work / f"reproduce/{name}.png", dpi=200)
    return [path for name in COMMANDS for path in sorted((work / name).glob("*.png"))]


def table(name: str):
    """The figure of a committed table of `jaxsim reproduce`."""
    kind, draw = TABLES[name]
    with open(RESULTS / f"{name}.csv", newline="") as file:
        return draw([kind(**{key: read(cell) for key, cell in row.items()}) for row in csv.DictReader(file)])


def read(cell: str):
    """A number, text, or None for an empty cell."""
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell


def sheet(paths: list[Path], seen: str) -> Image.Image:
    """The figures at the width of a column, each below the shortest column so far, under their names."""
    wide, gap = int(COLUMN * DPI), int(GAP * DPI)
    heights, placed = [gap] * ACROSS, []
    for path in paths:
        picture = Image.open(path).convert("RGB")
        scale = min(wide / picture.width, DPI / 200)
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
        )
        column = int(np.argmin(heights))
        placed.append((path, picture, gap + column * (wide + gap), heights[column]))
        heights[column] += picture.height + 20 + 2 * gap
    whole = Image.new("RGB", (gap + ACROSS * (wide + gap), max(heights)), "white")
    draw = ImageDraw.Draw(whole)
    for path, picture, left, top in placed:
        draw.text((left, top), f"jaxsim {path.parent.name}: {path.name}", fill="#8a8a8a")
        whole.paste(picture, (left, top + 20))
    colors = np.clip(np.asarray(whole, dtype=float) @ SEEN[seen].T, 0, 255)
    return Image.fromarray(colors.astype(np.uint8))


def report(work: Path) -> None:
    """Write the report of the demo, and a picture of its first screen."""
    from playwright.sync_api import sync_playwright

    with contextlib.chdir(work):
        if not Path("demo/report.html").exists() and main(["demo", "--out", "demo", "--report"]):
            raise SystemExit("jaxsim demo failed.")
    made = shutil.copy(work / "demo/report.html", FIGURES / "report.html")
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or playwright.chromium.executable_path
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 860})
        page.goto(Path(made).as_uri())
        picture = Image.open(BytesIO(page.screenshot()))
        browser.close()
    picture.convert("P", palette=Image.Palette.ADAPTIVE).save(FIGURES / "report.png", optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--gallery", type=Path, metavar="WORK")
    parser.add_argument("--as", dest="seen", choices=SEEN, default="color")
    parser.add_argument("--report", type=Path, metavar="WORK")
    given = parser.parse_args()
    if given.report is not None:
        given.report.mkdir(parents=True, exist_ok=True)
        report(given.report)
    elif given.gallery is None:
        affinity().savefig(FIGURES / "affinity.png", dpi=110)
    else:
        given.gallery.mkdir(parents=True, exist_ok=True)
        path = FIGURES / "gallery.png" if given.seen == "color" else given.gallery / f"gallery-{given.seen}.png"
        sheet(run(given.gallery), given.seen).save(path, optimize=True)
