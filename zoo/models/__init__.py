"""The models: the 53 of the CROWN-IBP paper, and others that certified training is measured on.

All take images with pixels in [0, 1] and give ten logits.
"""

from torch import nn

from zoo.errors import ZooError
from zoo.layers import Normalize
from zoo.models.body import ACTIVATIONS, CLASSES, Body
from zoo.models.size import ModelSize, measure
from zoo.models.table import MODELS, Model, paper_models

__all__ = [
    "ACTIVATIONS",
    "CLASSES",
    "INPUT_SHAPES",
    "MODELS",
    "Model",
    "ModelSize",
    "build",
    "find",
    "measure",
    "names",
    "paper_models",
]

INPUT_SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
# Mean and deviation of each channel, where models begin by normalising; these are the CROWN-IBP paper's.
NORMALIZATION = {"cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))}


def names(dataset: str = "mnist") -> list[str]:
    """Names of the models for one data set.

    Raises:
        ZooError: the data set is unknown.
    """
    if dataset not in MODELS:
        raise ZooError(f"unknown data set {dataset!r}; there are models for: {', '.join(MODELS)}")
    return list(MODELS[dataset])


def find(name: str, dataset: str = "mnist") -> Model:
    """What is known of a model: its architecture, its place in the paper, and its true name.

    Raises:
        ZooError: (a ValueError) the name or the data set is unknown.
    """
    known = names(dataset)
    if name not in known:
        elsewhere = [other for other in MODELS if name in MODELS[other]]
        hint = f" ({name} is for {' and '.join(elsewhere)})" if elsewhere else ""
        raise ZooError(f"unknown model {name!r} for {dataset}{hint}; there are: {', '.join(known)}")
    return MODELS[dataset][name]


def build(
    name: str, dataset: str = "mnist", *, activation: str = "relu", batch_norm: bool | None = None
) -> nn.Sequential:
    """Untrained model, with PyTorch's default initialisation, for images of the data set with pixels in [0, 1].

    Args:
        name: as `python -m zoo.list` lists it.
        dataset: gives the shape of the images. Models for CIFAR-10 begin by normalising them.
        activation: "relu", or "ramp" for a clipped ReLU whose ceilings are trained (Lyu et al. 2021).
        batch_norm: whether BatchNorm follows every hidden layer; None is the architecture's own choice.

    Raises:
        ZooError: (a ValueError) the name, the data set or the activation is unknown.
    """
    known = find(name, dataset)
    body = Body(INPUT_SHAPES[dataset], activation, known.batch_norm if batch_norm is None else batch_norm)
    if dataset in NORMALIZATION:
        body.layers.append(Normalize(*NORMALIZATION[dataset]))
    return known.architecture(body)
