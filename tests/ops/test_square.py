from boundgraph.ops.square import SQUARE
from boundgraph.testing import Perturbed, check_operator


def test_laws() -> None:
    check_operator(SQUARE, cases=[(Perturbed(3, 2),), (Perturbed(2, 3, 1),)])
