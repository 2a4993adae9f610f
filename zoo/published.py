"""The best published errors that results are held against, in percent of the whole test set, l_inf balls."""

from typing import NamedTuple


class Published(NamedTuple):
    """A figure of the literature; its error at the radius is proven, not attacked."""

    dataset: str
    eps: float
    network: str
    standard: float | None  # None where the source does not say
    verified: float
    source: str


V1 = "CROWN-IBP, Zhang et al., arXiv 1906.06316v1"
V2 = "CROWN-IBP, Zhang et al., ICLR 2020"
LYU = "CROWN-IBP and ParamRamp, Lyu et al., CVPR 2021"
SORTNET = "SortNet, Zhang et al., NeurIPS 2022"
SOK = "CROWN-IBP, Zhang et al., ICLR 2020, in Li et al., SoK: Certified Robustness for Deep Neural Networks, 2023"
DISTANCE = "l_inf-distance net and MLP, Zhang et al., ICML 2021"
CTBENCH = "MTL-IBP with branch and bound, Mao et al., CTBench, 2024"

PUBLISHED = (
    Published("mnist", 0.1, "DM-Large", None, 2.24, SOK),
    Published("mnist", 0.1, "SortNet", None, 1.86, SORTNET),
    Published("mnist", 0.2, "DM-Large", 1.82, 4.13, V2),
    Published("mnist", 0.2, "DM-Medium", 2.78, 4.48, LYU),
    Published("mnist", 0.2, "DM-Large", 1.59, 3.57, LYU),
    Published("mnist", 0.3, "DM-Large", None, 7.46, V1),
    Published("mnist", 0.3, "DM-Large", 1.82, 7.02, V2),
    Published("mnist", 0.3, "DM-Medium", 2.74, 6.87, LYU),
    Published("mnist", 0.3, "DM-Large", 1.76, 5.98, LYU),
    Published("mnist", 0.4, "DM-Large", None, 12.96, V1),
    Published("mnist", 0.4, "DM-Large", 2.17, 12.06, V2),
    Published("mnist", 0.4, "DM-Medium", 2.75, 11.53, LYU),
    Published("mnist", 0.4, "DM-Large", 2.36, 10.61, LYU),
    Published("fashion-mnist", 0.1, "l_inf-distance net", None, 20.77, DISTANCE),
    Published("cifar10", 2 / 255, "DM-Large", 28.48, 46.03, V2),
    Published("cifar10", 2 / 255, "CNN7", 21.18, 35.59, CTBENCH),
    Published("cifar10", 8 / 255, "DM-Large", 54.02, 66.94, V2),
    Published("cifar10", 8 / 255, "SortNet", 45.16, 59.61, SORTNET),
)


def published(dataset: str, eps: float) -> list[Published]:
    """What the literature has for a data set and radius; 0.0314 is 8/255 as well."""
    return [row for row in PUBLISHED if row.dataset == dataset and abs(row.eps - eps) < 1e-4]
