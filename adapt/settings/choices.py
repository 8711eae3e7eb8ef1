"""The names that settings choose from; each table of functions has the same keys (tested)."""

RESTYLES = ("histogram", "fda")
"""adapt.evaluation.restyle: new images in the old domain's look."""

NORMALISATIONS = ("sum", "mean")
"""Of Fisher information: adapt.penalties.fisher."""

HASH_BITS = 256
"""Of the hashes by which `scan` finds near-duplicates."""

TEACHER, B0, ADABN, RIDGE, B1, B2 = "teacher", "B0", "AdaBN", "ridge", "B1", "B2"
BASELINES = (TEACHER, B0, ADABN, *RESTYLES, RIDGE, B1, B2)
"""In the order of tables and figures; AdaBN and the restylings need no training."""

CHAIN = "_chain"
"""Ends the name of an objective whose students teach each other from date to date."""

NETWORKS = (
    "deeplab_vgg16", "deeplabv2_vgg16", "fcn32s_vgg16", "fcn16s_vgg16", "fcn8s_vgg16",
    "fcn32s_learnt_vgg16", "fcn32s_alexnet", "fcn32s_resnet18", "sunet64", "deeplabv2_resnet101",
    "dilated_resnet101", "pspnet_resnet50", "pspnet_resnet101", "encnet_resnet50",
    "encnet_resnet101", "fcn8s_efficientnet_lite0", "deeplabv3_resnet50", "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "fcn_resnet50", "fcn_resnet101", "lraspp_mobilenet_v3_large",
)  # fmt: skip
"""Segmentation networks: adapt.networks."""

CLASSIFIERS = (
    "alexnet", "convnext_base", "convnext_large", "convnext_small", "convnext_tiny", "densenet121",
    "densenet161", "densenet169", "densenet201", "efficientnet_b0", "efficientnet_b1",
    "efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "efficientnet_b5", "efficientnet_b6",
    "efficientnet_b7", "efficientnet_v2_l", "efficientnet_v2_m", "efficientnet_v2_s", "maxvit_t",
    "mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3", "mobilenet_v2", "mobilenet_v3_large",
    "mobilenet_v3_small", "regnet_x_16gf", "regnet_x_1_6gf", "regnet_x_32gf", "regnet_x_3_2gf",
    "regnet_x_400mf", "regnet_x_800mf", "regnet_x_8gf", "regnet_y_128gf", "regnet_y_16gf",
    "regnet_y_1_6gf", "regnet_y_32gf", "regnet_y_3_2gf", "regnet_y_400mf", "regnet_y_800mf",
    "regnet_y_8gf", "resnet101", "resnet152", "resnet18", "resnet34", "resnet50",
    "resnext101_32x8d", "resnext101_64x4d", "resnext50_32x4d", "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0", "squeezenet1_0",
    "squeezenet1_1", "swin_b", "swin_s", "swin_t", "swin_v2_b", "swin_v2_s", "swin_v2_t", "vgg11",
    "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "vit_b_16",
    "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32", "wide_resnet101_2", "wide_resnet50_2",
)  # fmt: skip
"""torchvision's networks for one label an image, without GoogLeNet and Inception v3, which have
further classifiers inside and weights for another normalisation."""

BACKBONE, FORMER_BACKBONE = "backbone:", "body:"
"""`start=backbone:FILE`: a file's weights without the layers whose shapes depend on the classes.
Records of earlier versions have the other name."""


def start_named(start: str) -> str:
    """A start with its present prefix: `body:FILE` -> `backbone:FILE`."""
    file = start.removeprefix(FORMER_BACKBONE)
    return start if file == start else BACKBONE + file


PENALTIES = ("none", "l2", "l2_sp", "l2_sp_fisher", "l1_sp", "gl_sp", "gl_sp_fisher")
"""adapt.penalties: where the weights are pulled to."""

DISTANCES = ("norm", "sum", "mean", "relative", "variance", "l1", "cosine", "pearson", "cwd")
"""adapt.objective.distances: between the maps of student and teacher."""

FIXED = "fixed"
WEIGHTINGS = (FIXED, "log", "dwa", "rlw", "famo", "ramp")
"""adapt.objective.weighting: how the weights of regressed layers follow the training."""

DATASETS = (
    "scenes", "camvid", "voc", "context", "person_part", "d3", "lip", "cityscapes", "pairs",
    "caltech256", "indoor67", "dogs120", "food101", "folders",
)  # fmt: skip
"""adapt.data: the layouts of files that are read."""

FITS = STRETCH, CROP, PAD = ("stretch", "crop", "pad")
"""adapt.data.augment: how an image gets the shape of `data.resize`."""

TERMS = ("regression", "kd", "pseudo", "supervised", "stitch")
"""adapt.objective.terms; each has its settings in ObjectiveConfig."""

SCHEDULES = ("poly", "step", "cosine", "constant")
"""adapt.training.schedules."""

FILTERS = ("photocopy", "ripple", "cubism", "camera")
"""transforms: what makes a new domain of an old one."""

ANALYSES = ("fisher", "weights", "activations", "source")
"""adapt.analysis.analyse."""

EXPORTS = ("safetensors", "onnx")
"""adapt.export: formats of an exported network."""

LOGGERS = ("tensorboard", "wandb", "mlflow")
"""adapt.training.loggers."""

BATCH_NORM = ("eval", "affine", "train")
"""adapt.networks.batchnorm: what of the student's batch norm may change."""

DEFAULT_TAP = "pool5"
"""The layer that `adapt` regresses unless told otherwise: the paper's, and the objective's name."""

AUXILIARY_HEAD = "aux_classifier"
"""The layer that classifies maps of a middle layer, in training only; torchvision's name."""
