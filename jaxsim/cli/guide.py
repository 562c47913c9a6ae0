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

DEMO = """Run the whole pipeline on 12 made-up networks: affinity with intervals, tree with branch support,
ranking, plots and a short report. The features are generated, not trained: four groups of three networks that
share latent factors, so the tree must find the four groups.

Writes in DIR:
  features.npz   the features, to try the other commands on
  affinity.npz, affinity.csv, affinity.png, resamples.npz, intervals.csv, ranking.png,
  taxonomy.npz, taxonomy.png   as the other commands do
  report.txt     what came out, also printed

examples:
  jaxsim demo --out demo
  jaxsim demo --measure dds-laplacian --resamples 500 --out demo_dds"""
