"""Products of two operands that both carry bounds, and sums of such products.

With |x - cx| <= rx and |y - cy| <= ry, each s in [-1, 1] gives a plane below and one above the product x y, measured
from the centres (McCormick 1976; s = -1 and s = 1 are his):

    x y - cx cy >= -rx ry + (cy + s ry) (x - cx) + (cx + s rx) (y - cy)
    x y - cx cy <=  rx ry + (cy + s ry) (x - cx) + (cx - s rx) (y - cy)

# sound: they say that (x - cx) (y - cy) lies between -rx ry + s (ry (x - cx) + rx (y - cy)) and
# rx ry + s (ry (x - cx) - rx (y - cy)). Both hold for s = -1 and s = 1, where they are products of two factors of known
# sign, such as (rx - (x - cx)) (ry - (y - cy)) >= 0, and so in between.

For all s between -cx / rx and -cy / ry, cut at -1 and 1, the least value of the lower plane on the box is the least
product, the most that it can be; so it is with the upper plane for those between cx / rx and -cy / ry. With p = cx / rx
and q = cy / ry, cut at -1 and 1, the middles are s = -(p + q) / 2 and s = (p - q) / 2. There x and y stand apart, so
pulling coefficients A of a sum of products through its planes takes no more than sums of the same kind; x gets

    A (cy - q ry / 2) - p / 2 * (|A| ry)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from boundgraph.linear_forms import inner
from boundgraph.values import Interval

Product = Callable[[Tensor, Tensor], Tensor]


class Factor(NamedTuple):
    """What the planes of a product know of one factor; all of shape (batch | 1, *factor_shape)."""

    center: Tensor
    radius: Tensor
    lean: Tensor  # half of center / radius, cut at -1/2 and 1/2
    slope: Tensor  # center - lean * radius


class Products(NamedTuple):
    """Planes around a product, which may sum over some dimensions."""

    x: Factor
    y: Factor
    center: Tensor  # the product of the centres, (batch, *shape)
    radius: Tensor  # the product of the radii, (batch | 1, *shape)


def relaxed(x: Interval, y: Interval, product: Product) -> Products:
    return Products(_factor(x), _factor(y), product(x.center, y.center), product(x.radius, y.radius))


def _factor(x: Interval) -> Factor:
    farther = torch.maximum(x.center.abs(), x.radius)
    # where both are 0 any lean will do
    lean = x.center / (farther + farther.detach().eq(0)) * 0.5
    return Factor(x.center, x.radius, lean, x.center - lean * x.radius)


def through(
    coefficients: Tensor, products: Products, to_x: Product, to_y: Product
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Replace a product by its planes.

    to_x: (coefficients, y) -> those of x, for the linear map x -> product(x, y), y being (batch | 1, *y_shape). to_y:
    (coefficients, x) -> those of y.

    # sound: the planes are, with A >= 0 the lower one, with A < 0 the upper one.
    """
    x, y, center, radius = products
    size = coefficients.abs()
    of_x = to_x(coefficients, y.slope) - x.lean.unsqueeze(1) * to_x(size, y.radius)
    of_y = to_y(coefficients, x.slope) - y.lean.unsqueeze(1) * to_y(size, x.radius)
    at_centers = inner(coefficients, center) - inner(size, radius)
    return (of_x, of_y), at_centers - inner(of_x, x.center) - inner(of_y, y.center)


def interval_of_sum(x: Interval, y: Interval, product: Product) -> Interval:
    """An interval of a sum of products, from sums of products alone.

    With m = c cut at -r and r, and n = min(|mx| ry, rx |my|), the range of x y has the centre cx cy + sign(mx my) n and
    the radius |cx| ry + rx |cy| + rx ry - n.
    # sound: a smaller n moves the centre by as much as it adds to the radius, so one end stays and the other moves out;
    # here n = |mx| |my|, which is no larger because |m| <= r.
    The range is met exactly where a factor keeps its sign, or has the centre 0. Else the radius is at most
    4 - 2 sqrt(2) = 1.17 times as large.
    """
    cut_x, cut_y = (torch.clamp(factor.center, -factor.radius, factor.radius) for factor in (x, y))
    center = product(x.center, y.center) + product(cut_x, cut_y)
    radius = product(x.center.abs() + x.radius, y.radius) + product(x.radius, y.center.abs())
    return Interval.around(center, radius - product(cut_x.abs(), cut_y.abs()))
