"""Coefficients on windows: the algebra against whole images, and nested walks against walks without windows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import boundgraph
from boundgraph import linear_forms, tightening
from boundgraph.ops import add, conv, div, mul
from boundgraph.regions import minimum_on_box
from boundgraph.values import Interval, Line, Relaxation
from boundgraph.windows import Field, Tiles, Windows, cut, fitted, joined, whole, within

CLOSE = {"rtol": 1e-11, "atol": 1e-11}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def windows(
    sizes: tuple[int, ...] = (3, 2), field: Field | None = None, grid: tuple[int, ...] = (5, 4), seed: int = 0
) -> Windows:
    """Some tiles of a batch of two, with windows that reach over the edges of an image of 6 x 5."""
    positions = torch.cartesian_prod(torch.arange(2), *(torch.arange(n) for n in grid))[::3]
    tiles = Tiles(positions[:, 0], positions[:, 1:], grid)
    field = Field((1, 1), (-1, 0)) if field is None else field
    return Windows(random(len(positions), 3, 2, *sizes, seed=seed), tiles, field, (6, 5), inside=False)


def by_hand(form: Windows, image: tuple[int, int] = (6, 5)) -> Tensor:
    """Coefficients over the whole image, one pixel at a time."""
    assert form.field is not None
    found = torch.zeros(*form.values.shape[:3], *image, dtype=torch.float64)
    for tile, position in enumerate(form.tiles.position.tolist()):
        begin = [s * p + b for s, p, b in zip(form.field.stride, position, form.field.start, strict=True)]
        for i in range(form.values.shape[3]):
            for j in range(form.values.shape[4]):
                y, x = begin[0] + i, begin[1] + j
                if 0 <= y < image[0] and 0 <= x < image[1]:
                    found[tile, :, :, y, x] = form.values[tile, :, :, i, j]
    return found


def lines(batch: int = 2) -> Relaxation:
    parts = [random(batch, 2, 6, 5, seed=seed) for seed in range(4)]
    return Relaxation(Line(parts[0], parts[1]), Line(parts[2], parts[3]))


def of_tiles(value: Tensor, form: Windows) -> Tensor:
    return value[form.tiles.example] if len(value) > 1 else value


FIELDS = [
    Field((1, 1), (-1, 0)), Field((2, 1), (-2, -3)), Field((1, 2), (0, -1)), Field((1, 1), (0, 0)), Field((0, 0), (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_whole(field: Field) -> None:
    form = windows(field=field)
    torch.testing.assert_close(whole(form).values, by_hand(form))
    assert whole(form).field is None
    assert whole(whole(form)) is not form


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("batch", [1, 2])
def test_products_with_what_was_cut_out(field: Field, batch: int) -> None:
    """<A, v> on windows is <A, v> on images, for values of each example and for shared ones."""
    form, value = windows(field=field), random(batch, 2, 6, 5, seed=9)
    expected = (by_hand(form) * of_tiles(value, form).unsqueeze(1)).flatten(2).sum(2)
    torch.testing.assert_close(linear_forms.inner(form, value), expected)
    torch.testing.assert_close(linear_forms.inner(whole(form), value), expected)
    assert cut(value, form).shape == (len(form.values), 2, 3, 2)


@pytest.mark.parametrize("batch", [1, 2])
def test_lines(batch: int) -> None:
    form, relaxation = windows(), lines(batch)
    pulled, offset = linear_forms.lower_through(form, relaxation)
    of_each = Relaxation(*(Line(*(of_tiles(part, form) for part in line)) for line in relaxation))
    expected, expected_offset = linear_forms.lower_through(by_hand(form), of_each)
    torch.testing.assert_close(whole(pulled).values, expected)
    torch.testing.assert_close(offset, expected_offset)
    assert pulled.inside
    torch.testing.assert_close(within(pulled._replace(inside=False)).values, pulled.values)


def test_boxes() -> None:
    form, radius = windows(), random(2, 2, 6, 5).abs()
    expected = minimum_on_box(by_hand(form), of_tiles(radius, form))
    torch.testing.assert_close(minimum_on_box(form, radius), expected)


def test_joined_windows_of_other_sizes_and_strides() -> None:
    first, second = windows(), windows((1, 4), Field((1, 1), (0, -2)), seed=5)
    expected = by_hand(first) + by_hand(second)
    torch.testing.assert_close(by_hand(joined(first, second)), expected)
    torch.testing.assert_close(whole(joined(first, whole(second))).values, expected)
    other = windows((2, 2), Field((2, 1), (0, 0)), seed=6)
    torch.testing.assert_close(whole(joined(first, other)).values, by_hand(first) + by_hand(other))


def test_windows_as_large_as_the_image_become_the_image() -> None:
    assert fitted(windows((6, 5))).field is None
    assert fitted(windows((5, 5))).field is not None


GEOMETRIES = [
    {}, {"padding": 1}, {"stride": 2, "padding": 1}, {"stride": (1, 2), "padding": (2, 0)}, {"dilation": 2, "padding": 2},
    {"groups": 2, "padding": 1}, {"padding": "same"},
]  # fmt: skip


@pytest.mark.parametrize("options", GEOMETRIES)
def test_convolution(options: dict) -> None:
    """The transposed convolution of windows is that of the images they are windows of."""
    image, kernel = (9, 8), (2, 3) if options.get("padding") == "same" else (3, 3)
    weight = random(2, 4 // options.get("groups", 1), *kernel, seed=3)
    x = Interval(random(2, 4, *image), random(2, 4, *image) + 1)
    arguments = (x, weight, None, *({"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | options).values())
    y = conv.forward(x.lower, *arguments[1:])
    grid = tuple(y.shape[2:])
    form = windows((2, 1), Field((1, 1), (-1, 0)), grid)._replace(image=grid)
    found = conv.backward(form, *arguments)
    assert isinstance(found, Windows)
    assert found.image == image
    expected = conv.backward(by_hand(form, grid), *arguments)
    torch.testing.assert_close(whole(found).values, expected)
    torch.testing.assert_close(conv.backward(whole(form), *arguments).values, expected)


@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 1, 1), (1, 6, 5), (1,), (), (2, 2, 6, 5), (2, 2, 1, 1)])
@pytest.mark.parametrize("operand", [(2, 2, 6, 5), (2, 1, 6, 5), (2, 2, 1, 5), (2, 2, 1, 1)])
def test_arithmetic_with_constants_and_broadcasting(shape: tuple[int, ...], operand: tuple[int, ...]) -> None:
    """Also where an operand is broadcast over the image, so that no window of the result is one of it."""
    constant, x = random(*shape, seed=4) + 3, Interval(random(*operand), random(*operand) + 1)
    if torch.broadcast_shapes(shape, operand) != (2, 2, 6, 5):
        return
    form = windows()
    each = constant[form.tiles.example] if constant.dim() == 4 else constant
    of_tile = Interval(x.lower[form.tiles.example], x.upper[form.tiles.example])
    for rule in (mul.backward, div.backward, add.backward):
        found, expected = rule(form, x, constant), rule(by_hand(form), of_tile, each)
        torch.testing.assert_close(whole(found).values, expected)
        assert found.image == operand[2:]


# ---------------------------------------------------------------------- nested walks


class Residual(nn.Module):
    """Normalised input, blocks with strides, ways around them, a layer used twice, and two kinds of activation."""

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        convolution, norm = {1: (nn.Conv1d, nn.BatchNorm1d), 2: (nn.Conv2d, nn.BatchNorm2d)}[dims]
        self.first, self.inner = convolution(2, 4, 3, padding=1), convolution(4, 4, 3, 1, 1)
        self.down, self.around = convolution(4, 6, 3, 2, 1), convolution(4, 6, 1, 2)
        self.norm, self.last = norm(6), convolution(6, 5, 2, padding=1, groups=1)
        self.head = nn.Linear(5 * 5**dims, 3)
        self.register_buffer("deviation", torch.rand(2, *[1] * dims) + 0.5)
        self.register_buffer("shade", torch.rand(4, *[8] * dims) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first((x - 0.4) / self.deviation))
        h = torch.relu(self.inner(h)) - self.shade * h
        h = torch.tanh(self.inner(h))
        h = F.leaky_relu(self.norm(self.down(h)) + self.around(-h), 0.1)
        return self.head(torch.relu(self.last(h)).flatten(1))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.code, self.first, self.second = nn.Linear(6, 32), nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        image = torch.relu(self.code(x)).reshape(-1, 2, 4, 4)
        return torch.relu(self.second(torch.relu(self.first(image)))).flatten(1)


def with_statistics(model: nn.Module, *shape: int) -> nn.Module:
    with torch.no_grad():
        model.train()(torch.rand(16, *shape, dtype=torch.float64))
    return model.eval()


def models() -> dict[str, Callable[[], tuple[nn.Module, Tensor]]]:
    def residual(dims: int) -> tuple[nn.Module, Tensor]:
        model = with_statistics(Residual(dims).double(), 2, *[8] * dims)
        return model, torch.rand(3, 2, *[8] * dims, dtype=torch.float64)

    def volume() -> tuple[nn.Module, Tensor]:
        layers = nn.Conv3d(1, 2, 2), nn.ReLU(), nn.Conv3d(2, 3, 2, stride=2, padding=1), nn.ReLU(), nn.Conv3d(3, 2, 2)
        model = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)).double()
        x = torch.rand(2, 1, 5, 5, 5, dtype=torch.float64)
        model(x)
        return model, x

    def deep() -> tuple[nn.Module, Tensor]:
        """Windows outgrow the image."""
        layers: list[nn.Module] = [nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU()]
        for _ in range(4):
            layers += [nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2)).double()
        x = torch.rand(2, 1, 9, 9, dtype=torch.float64)
        model(x)
        return model, x

    def decoder() -> tuple[nn.Module, Tensor]:
        """Windows cannot pass the linear layer, so there are none."""
        return Decoder().double(), torch.rand(2, 6, dtype=torch.float64)

    return {"1d": lambda: residual(1), "2d": lambda: residual(2), "3d": volume, "deep": deep, "decoder": decoder}


@pytest.mark.parametrize("name", list(models()))
@pytest.mark.parametrize("readable", [True, False])
def test_windows_change_nothing(name: str, readable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pre-activation and the output, in one piece and in chunks of a few rows, wanted ones or all."""
    torch.manual_seed(1)
    model, x = models()[name]()
    with monkeypatch.context() as patch:
        patch.setattr("passes.tightening._takes_windows", lambda node: False)
        plain = boundgraph.compile(model, "crown")
        expected = plain.intermediate_bounds(x, eps=0.03), plain(x, eps=0.03)
    if not readable:
        monkeypatch.setattr("boundgraph.tightening.readable", lambda tensor: False)
    for memory in (None, 100_000):
        bounded = boundgraph.compile(model, boundgraph.method("crown", memory_budget=memory))
        found = bounded.intermediate_bounds(x, eps=0.03), bounded(x, eps=0.03)
        for node, interval in expected[0].items():
            for end, other in zip(found[0][node], interval, strict=True):
                torch.testing.assert_close(end, other, **CLOSE, msg=lambda text, node=node: f"{node}: {text}")
        torch.testing.assert_close(found[1][:2], expected[1][:2], **CLOSE)


class TwoReaders(nn.Module):
    """Every neuron is wanted, since one of its readers is smooth."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.second(torch.relu(self.first(x)))
        return torch.relu(h) + torch.tanh(h)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu((self.layer(x) - 0.1) * 2)


def affine(kernel: int, padding: int) -> Callable[[], nn.Module]:
    """Nothing tells which neurons are unstable before the first relaxation, so all of them walk."""
    return lambda: nn.Sequential(nn.Conv2d(1, 2, kernel, 1, padding), nn.Conv2d(2, 3, kernel, 1, padding), nn.ReLU())


BARE = affine(3, 0)


@pytest.mark.parametrize("build", [affine(3, 1), BARE, TwoReaders, Scaled], ids=["padded", "bare", "readers", "scale"])
@pytest.mark.parametrize("side", [2, 3, 5, 8])
@pytest.mark.parametrize("batch", [1, 3])
def test_all_elements_walk(build: Callable[[], nn.Module], side: int, batch: int) -> None:
    """In one piece and tile by tile, and where windows are soon as large as the image."""
    torch.manual_seed(0)
    model, x = build().double(), torch.rand(batch, 1, side, side, dtype=torch.float64)
    if side < 5 and build is BARE:
        pytest.skip("no image is left")
    found = [
        boundgraph.compile(model, boundgraph.method("crown", memory_budget=m))(x, eps=0.1) for m in (None, 1, 9_000)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("passes.tightening._takes_windows", lambda node: False)
        expected = boundgraph.compile(model, "crown")(x, eps=0.1)
    for bounds in found:
        torch.testing.assert_close(bounds[:2], expected[:2], **CLOSE)


def test_windows_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    monkeypatch.setattr(
        tightening, "at_tiles", lambda values, tiles: seen.append(tiles.grid) or _at_tiles(values, tiles)
    )
    model, x = models()["2d"]()
    boundgraph.compile(model, "crown")(x, eps=0.03)
    assert set(seen) == {(8, 8), (4, 4), (5, 5)}


_at_tiles = tightening.at_tiles


def test_gradients_pass_through_windows() -> None:
    """As through walks without them."""
    model, x = models()["2d"]()
    found = []
    for memory in (None, 50_000):
        bounded = boundgraph.compile(model, boundgraph.method("crown", memory_budget=memory))
        bounds = bounded(x, eps=0.03)
        found.append(
            torch.autograd.grad((bounds.lower - bounds.upper).sum(), list(model.parameters()), allow_unused=True)
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("passes.tightening._takes_windows", lambda node: False)
        bounds = boundgraph.compile(model, "crown")(x, eps=0.03)
    expected = torch.autograd.grad((bounds.lower - bounds.upper).sum(), list(model.parameters()), allow_unused=True)
    for gradients in found:
        for one, other in zip(gradients, expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_only_examples_with_unstable_neurons_walk() -> None:
    """An example that is certain everywhere takes no part, and keeps its interval."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    x = torch.rand(3, 1, 6, 6)
    eps = torch.tensor([0.0, 0.3, 0.0])
    with torch.no_grad():
        walked, plain = (
            boundgraph.compile(model, method).intermediate_bounds(x, eps=eps) for method in ("crown", "ibp")
        )
    width, before = (
        (bounds["conv2d_2"].upper - bounds["conv2d_2"].lower).amax((1, 2, 3)) for bounds in (walked, plain)
    )
    assert width[[0, 2]].max() < 1e-6
    assert width[1] < before[1]


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.data())
def test_random_stacks_of_convolutions(data: st.DataObject) -> None:
    """Any kernel, stride, padding and dilation that leaves an image: bounds with windows are those without."""
    first = side = data.draw(st.integers(5, 9))
    channels = 2
    layers: list[nn.Module] = []
    for _ in range(data.draw(st.integers(2, 5))):
        kernel, padding = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 2))
        stride, dilation = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
        after = (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        if after < 1:
            continue
        layers.append(nn.Conv2d(channels, 3, kernel, stride, padding, dilation))
        layers += [[nn.ReLU()], [nn.Tanh()], []][data.draw(st.integers(0, 2))]
        side, channels = after, 3
    torch.manual_seed(data.draw(st.integers(0, 99)))
    model = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2)).double()
    x = torch.rand(2, 2, first, first, dtype=torch.float64)
    model(x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("passes.tightening._takes_windows", lambda node: False)
        expected = boundgraph.compile(model, "crown")(x, eps=0.05)
    for memory in (None, 60_000):
        found = boundgraph.compile(model, boundgraph.method("crown", memory_budget=memory))(x, eps=0.05)
        torch.testing.assert_close(found[:2], expected[:2], **CLOSE)
