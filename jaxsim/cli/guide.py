"""What `--help` says about each command."""

_FEATURES = """FEATURES is a directory with one file per network, or one file that holds several: npy, npz,
safetensors or HDF5. Each array is (images, ..., channels), with the same images in the same order."""

AFFINITY = f"""Similarity of every network with every other, or of two sets of networks.

{_FEATURES}

Writes in DIR (with several measures in DIR/MEASURE):
  affinity.npz   scores, number of images, names and provenance; jaxsim.load reads it
  affinity.csv   the scores, names in the first row and column
  affinity.png   the matrix in the order of its tree

examples:
  jaxsim affinity features.npz --measure rsa --out results
  jaxsim affinity features/ --measure cka-linear --measure dds:zscore,laplacian --out results
  jaxsim affinity layers.npz --against regions.npz --measure rsa --out layers_by_regions"""

BOOTSTRAP = f"""How sure one can be of an affinity matrix: resample the images and score each resample.

{_FEATURES}

schemes (--scheme):
  halves        random halves of the images, each with its complement, everything refitted; the default, whose
                intervals cover as they say (Fisher's scale, Student's t)
  bootstrap     images drawn with replacement; percentile intervals, too narrow at high scores
  bayesian      continuous random weights on the images; percentile intervals
  subsample     --size images without replacement, transform and bandwidth refitted (the DDS protocol)
  jackknife     each image left out once; normal intervals
  permutation   images of one network shuffled: p values for "no similarity", no intervals

Writes in DIR (with several measures in DIR/MEASURE):
  resamples.npz  all resampled matrices; jaxsim.load reads it, `jaxsim taxonomy --support` uses it
  intervals.csv  per pair: estimate, standard error, low, high (p_values.csv for permutation)
  ranking.png    sources of one target with intervals and how often each ranks first (not for permutation)

examples:
  jaxsim bootstrap features.npz --measure rsa --seed 0 --out results
  jaxsim bootstrap features.npz --measure rsa --scheme bootstrap --resamples 1000 --out results
  jaxsim bootstrap features.npz --measure dds-laplacian --scheme subsample --size 50 --out subsets
  jaxsim bootstrap features.npz --target depth --level 0.9 --out results"""

TAXONOMY = """Cluster networks by their affinities into a tree.

INPUT is features (see `jaxsim affinity --help`), or a matrix: affinity.npz of `jaxsim affinity`, a CSV or npz
matrix with names (name its array with --key), or a pickle released with Taskonomy.

Writes in DIR:
  taxonomy.npz   the tree; jaxsim.load reads it
  taxonomy.txt   the tree in plain text, with the Newick format below it
  taxonomy.png   the dendrogram, with the support of each branch where it is known
  heatmap.png    the affinity matrix in the order of the tree (square matrices)

examples:
  jaxsim taxonomy results/affinity.npz --support results/resamples.npz --out tree
  jaxsim taxonomy features.npz --measure cka-linear --clusters 4 --out tree
  jaxsim taxonomy all_affinities.pkl --linkage transfer --out transfer_tree"""

EVALUATE = """Agreement of an affinity matrix with measured transfer, target by target: Spearman correlation
with and without the target itself as a source, and whether the source predicted best is among the truly best.

AFFINITY and TRUTH are matrices with sources as rows, targets as columns and higher meaning better: a file of
`jaxsim affinity`, a CSV or npz matrix with names, or a pickle released with Taskonomy. Names align the two.

With --resamples, from `jaxsim bootstrap --scheme bootstrap`, it adds intervals of the mean: over images (bias
shown and corrected), over targets, and over both; each says what it conditions on.

With --out DIR it writes agreement.csv (the table), agreement.npz (the record without the diagonal),
agreement.png (the correlations per target) and with --resamples intervals.csv.

examples:
  jaxsim evaluate results/affinity.npz transfer.csv
  jaxsim evaluate results/affinity.npz transfer.csv --resamples results/resamples.npz --out agreement
  jaxsim evaluate results/affinity.npz matrices.npz --key affinity --subset --out agreement
  jaxsim evaluate results/affinity.csv all_affinities.pkl --json"""

MEASURES = """The measures that have a name, what each is made of, and where it comes from.

Any cell of duality diagram similarity is written dds:TRANSFORM,PAIRWISE, as in dds:zscore,laplacian.

examples:
  jaxsim measures
  jaxsim measures --json"""

DEMO = """Run the whole pipeline on the built-in world: render pictures of furnished rooms, take the features of
the twenty shipped encoders, one trained on each task of the RSA paper, and compute their affinity with intervals,
the task tree with branch support, the ranking of sources for depth, plots and a short report. With --made-up it
uses 12 generated networks, none trained, in four known groups.

Writes in DIR:
  pictures.png   the first pictures
  features.npz   the features, to try the other commands on
  affinity.npz, affinity.csv, affinity.png, resamples.npz, intervals.csv, ranking.png,
  taxonomy.npz, taxonomy.png   as the other commands do
  report.txt     what came out, also printed

examples:
  jaxsim demo --out demo
  jaxsim demo --measure dds-laplacian --images 1000 --out demo_dds"""

ROOMS = """Make the built-in world from nothing: render pictures with the exact targets of twenty tasks, train one
small encoder a task, and measure transfer of every encoder to every task. What ships with the package was made so.
A run that was stopped goes on where it was when the same command is given again.

Writes in DIR:
  encoders.safetensors   the encoders, with checksums and validation skills
  training.csv           validation losses, those of the best constant, and skills
  transfer.npz           per-image losses, win rates, tournament eigenvectors and their reliability
  recipe.json            what was asked for; also pictures (npz) and checkpoints, which may be deleted

examples:
  jaxsim rooms --out world
  jaxsim rooms --pictures 400 --steps 100 --task rgb2depth --task rgb2sfnorm --out small_world"""

REPRODUCE = """The experiments of RSA 2019 and DDS 2020 on the built-in world: does each claim hold on other networks,
tasks and pictures? Experiments: rsa-matrix depth trees selection images grid methods subsets, or all.

Writes in DIR:
  NAME.csv, NAME.png         table and figure of each experiment
  summary.csv, summary.md    claim, paper, here, whether it holds

examples:
  jaxsim reproduce --quick --out reproduced
  jaxsim reproduce grid methods --out reproduced"""
