"""Compare encoders by attribution maps: the pixels that their outputs depend on.

Each --rule gives every encoder of the bank a map of each picture. The score of two encoders is the cosine of
their maps, averaged over channels, and then over pictures (Song et al. 2019; a baseline of DDS 2020).
  saliency          the gradient's absolute value
  gradient-x-input  the input times its gradient
  deeplift          differences from a black picture, or a gray one for inputs in [-1, 1]; rescale rule
  epsilon-lrp       layer-wise relevance propagation, epsilon 1e-4; with ReLUs it equals gradient x input

Encoders are files from `jaxsim convert` or `jaxsim rooms`; without --bank the twenty shipped ones are used. Each
sees the pictures as it was trained: `jaxsim features --help` lists the defaults of --preprocessing and --size.
Maps are not kept: memory does not grow with the number of pictures.

Writes to DIR, or with several rules to DIR/RULE:
  image_scores.npz  the scores on every picture; jaxsim.load reads it
  affinity.npz      their means; jaxsim.load, `jaxsim taxonomy` and `jaxsim evaluate` read it
  resamples.npz     the means over half-samples of the pictures
  intervals.csv     per pair: estimate, standard error, low, high
  matrix.png        the matrix, with intervals where they fit; scores whose interval contains zero are faded

Examples:
  jaxsim attribution pictures --out attribution
  jaxsim attribution pictures --rule saliency --rule deeplift --out attribution
  jaxsim attribution VOC2012 --split val --bank taskonomy.safetensors --batch 8 --out voc
"""

from argparse import ArgumentParser, Namespace

from jaxsim import extras, resampling
from jaxsim.cli.affinity import describe, heatmap
from jaxsim.cli.arguments import add_draws, add_output, count
from jaxsim.cli.bootstrap import pairs
from jaxsim.cli.features import add_pictures, read_pictures, read_preprocessed
from jaxsim.cli.output import note, progress, records, report, save_figure, staged, subfolders, with_notes, write_rows
from jaxsim.io.files import counted, repeated
from jaxsim.results.tables import flagged

FILES = ("image_scores.npz", "affinity.npz", "resamples.npz", "intervals.csv", "matrix.png")
DEFAULT = ("gradient-x-input",)


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    text = "safetensors file with one or more encoders; repeatable; default: the twenty shipped encoders"
    command.add_argument("--bank", metavar="FILE", action="append", help=text)
    text = f"attribution rule; see above; repeatable; default: {', '.join(DEFAULT)}"
    command.add_argument("--rule", metavar="NAME", action="append", help=text)
    add_pictures(command)
    text = "number of half-samples for the intervals; default: %(default)s"
    command.add_argument("--resamples", type=count, default=100, metavar="B", help=text)
    add_draws(command)
    add_output(command)


def run(arguments: Namespace) -> None:
    """Score all pairs of encoders by each rule, with intervals."""
    with extras.needed("attribution needs"):
        from jaxsim.vision import attribution
    rules = {name: attribution.named(name) for name in arguments.rule or DEFAULT}
    if twice := repeated(arguments.rule or ()):
        raise ValueError(f"--rule {twice[0]} is given twice; give it once.")
    folders = subfolders(rules)
    names = [folder + name for folder in folders.values() for name in FILES]
    with staged(arguments, names) as out:
        pictures = read_pictures(arguments)
        encoders, preprocessing = read_preprocessed(arguments, arguments.bank or ["rooms"], "--bank")
        note(arguments, f"{counted(len(pictures), 'picture')} ({pictures.layout}); {counted(len(encoders), 'encoder')}")
        found = attribution.image_scores(
            pictures,
            encoders,
            list(rules.values()),
            preprocessing=preprocessing,
            size=arguments.size,
            batch=arguments.batch,
            progress=progress(arguments, "pictures"),
        )
        shown, notes, values = {}, {}, []
        for name, scores in zip(rules, found, strict=True):
            folder, affinity = out / folders[name], scores.affinity()
            folder.mkdir(exist_ok=True)
            resamples = resampling.resample_scores(scores, n_resamples=arguments.resamples, key=arguments.seed)
            rows = pairs(resamples, arguments.level)
            scores.save(folder / FILES[0])
            affinity.save(folder / FILES[1])
            resamples.save(folder / FILES[2])
            write_rows(folder / FILES[3], *rows)
            save_figure(arguments, heatmap(arguments, resamples, level=arguments.level), folder / FILES[4])
            made = affinity.provenance.measure
            shown[made], notes[made] = describe(affinity), flagged(resamples.flags)
            values.append({"rule": name, "pairs": records(*rows), "flags": resamples.flags})
    settings = {"pictures": len(pictures), "level": arguments.level, "seed": arguments.seed}
    report(arguments, with_notes(shown, notes), settings | {"attribution": values}, names)
