"""Small models, data sets and certified training runs that go with boundgraph.

`python -m zoo.train`, `python -m zoo.evaluate CHECKPOINT` and `python -m zoo.list` are the command lines;
`zoo.build(name, dataset)` makes an untrained model, `zoo.load(name)` a trained one, and `zoo.paper_models()` names the 53
of the CROWN-IBP paper.
"""

from zoo.errors import ZooError
from zoo.models import build, paper_models
from zoo.weights import load

__all__ = ["ZooError", "build", "load", "paper_models"]
