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
`jaxsim affinity`, a CSV or npz matrix with names, or a pickle released with Taskonomy; TRUTH may be `rooms`, the
transfer measured in the built-in world. Names align the two.

With --resamples, from `jaxsim bootstrap --scheme bootstrap`, it adds intervals of the mean: over images (bias
shown and corrected), over targets, and over both; each says what it conditions on.

With --out DIR it writes agreement.csv (the table), agreement.npz (the record without the diagonal),
agreement.png (the correlations per target) and with --resamples intervals.csv.

examples:
  jaxsim evaluate results/affinity.npz transfer.csv
  jaxsim evaluate demo/affinity.npz rooms
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
  jaxsim rooms --images 400 --steps 100 --task rgb2depth --task rgb2sfnorm --out small_world"""

REPRODUCE = """The experiments of RSA 2019 and DDS 2020 on the built-in world: does each claim hold on other networks,
tasks and pictures? Experiments, or all:
  rsa-matrix depth trees selection images            of RSA, on the encoders at hand
  small new-task stages sizes                        of RSA; they train networks: hours for all twenty tasks,
                                                     minutes with --quick; --work goes on with a stopped run
  grid methods subsets layers                        of DDS, on the encoders at hand

Writes in DIR:
  NAME.csv, NAME.png         table and figure of each experiment
  summary.csv, summary.md    claim, paper, here, whether it holds

examples:
  jaxsim reproduce --quick --out reproduced
  jaxsim reproduce grid methods --out reproduced
  jaxsim reproduce stages sizes --work work --out reproduced"""

CONVERT = """Convert a checkpoint of a public network to a safetensors file for
`jaxsim.vision.models.from_safetensors`. Every tensor is used, or left out for a reason that is shown; else nothing is
written, and an error names those that do not fit.

networks (--network):
  resnet50             ResNet-50 with the names of torchvision, which timm and the Places networks keep
  resnet50-taskonomy   encoders of Taskonomy: its own checkpoints, or its PyTorch port visual-prior

CHECKPOINT is
  FILE.safetensors     tensors by name
  FILE.pth, FILE.pt    what torch.save wrote: a state dict, alone or within a dict of a training run. It needs
                       PyTorch, which reads weights only: no code in the file runs
  PREFIX               a TensorFlow V2 checkpoint, PREFIX.index and PREFIX.data-00000-of-00001; needs no TensorFlow

examples:
  jaxsim convert resnet50.pth --network resnet50 --out resnet50.safetensors
  jaxsim convert rgb2depth/model.permanent-ckpt --network resnet50-taskonomy --out depth.safetensors
  jaxsim convert tuned.pth --network resnet50 --leave-out "head.*" --out tuned.safetensors"""

FEATURES = """Take the features that encoders have of pictures, for the commands that compare them.

Encoders are files of `jaxsim convert` or `jaxsim rooms`. Each is shown what it was trained on, by its kind:
  ResNet-50 of torchvision   imagenet: short side to 256 pixels, center of 224, ImageNet's mean and deviation
  networks of Taskonomy      center square of 256 pixels in [-1, 1] and, by the name of the encoder, which must be
                             that of its task: low saturation, the lightness alone, or the center hidden
  small encoders             unit: pictures in [0, 1] at their own size, or that of --size; those of the built-in
                             world at the size they were trained on, gray for colorization
--preprocessing rgb2depth gives another for all encoders, --preprocessing ENCODER=rgb2depth for one.

Writes the folder DIR, complete or not at all:
  ENCODER.npy, or ENCODER.LAYER.npy where an encoder has several layers: (images, ..., channels), float32
  image_ids.npy, features.json   which image each row is of; how the features were made
Until then they are in DIR.part. After an error, Ctrl-C or a kill the same command goes on there; a picture that
cannot be read may be mended or removed in between. Memory does not grow with the number of pictures.

examples:
  jaxsim features pictures --encoder depth.safetensors --encoder normals.safetensors --out features
  jaxsim features VOC2012 --split val --encoder resnet50.safetensors --layer "block*" --out voc
  jaxsim features nyu_depth_v2_labeled.mat --encoder resnet50.safetensors --pool --out features"""

_DATA = """DATA is a dataset's folder: VOC2012 (with SBD beside it, if there), PASCAL_MT, the official NYUv2 files,
NYUD_MT, Taskonomy in any of its layouts, or any pictures where no labels are needed. The layout is detected."""

LAYERS = f"""Which layer of an encoder to branch from for each task: similarity of every layer with encoders of tasks,
on pictures of a folder (DDS 2020, figures 3 and 4).

{_DATA}
The encoder is that of a file of `jaxsim convert` or `jaxsim rooms`, or the built-in one of object classes; the
encoders of tasks are those of --bank, or the built-in ones.

Writes in DIR:
  layers.csv           similarity of every layer with every task, its interval, how often the layer ranks first
  recommendation.csv   the most similar layer of each task
  layers.npz           the scores; jaxsim.load reads it
  layers.png           the scores as a heat map

examples:
  jaxsim layers pictures --out layers
  jaxsim layers VOCdevkit/VOC2012 --encoder resnet50.safetensors --bank taskonomy.safetensors --out layers"""

BRANCH = f"""Train a branch from every layer of an encoder for every task, beside what similarity recommends (DDS 2020,
Table 5): each branch is the encoder up to that layer with a decoder, all of it trained.

{_DATA}
Tasks: edge (Canny's), depth, normals, semantic, and of Taskonomy object and scene, where there are labels.
After a ResNet, run at output stride 16, the decoder is DeepLab's on channels tiled to one number; after a small
encoder it is a small pyramid. Training is DDS's: SGD, momentum 0.9, weight decay 1e-4, "poly" rate, flips,
rotations, scales and crops; 60 epochs, 200 for NYUv2. Pictures are brought to squares of the encoder's own size
(--size 512 is the papers'), at which the metrics are taken too, so they do not compare with the printed Table 5.
Several --encoder that differ in their seed alone are averaged over.

Writes in DIR:
  branches.csv     a row a layer: each task's metric, its deviation over runs, the layer's similarity
  runs.csv         the metric of every branch
  similarity.csv   the similarity of every layer of every encoder

examples:
  jaxsim branch NYUD_MT --task edge --task depth --task semantic --quick --out branches
  jaxsim branch rooms --task edge --task depth --task semantic --task scene --encoder a.safetensors
    --encoder b.safetensors --optimizer adam --learning-rate 3e-3 --epochs 10 --work work --out branches"""

TRANSFER = f"""Which network to start from for a new task: train a small network on it, rank all initializations by
similarity with that, fine-tune from each, and correlate (the Pascal experiment of RSA 2019 and DDS 2020).

{_DATA}
Initializations are the encoders of --bank, or the built-in ones; training is as in `jaxsim branch`.

Writes in DIR:
  transfer.csv      a row an initialization: its metric after fine-tuning, its similarity, its ranks
  runs.csv          the metric of every run
  correlation.csv   rank and linear correlation of similarity with the metric; p of no relation
  transfer.png      metric over similarity

examples:
  jaxsim transfer VOCdevkit --task semantic --quick --out transfer
  jaxsim transfer NYUD_MT --task depth --bank encoders.safetensors --epochs 200 --work work --out transfer"""
