"""Architectures against the sizes that follow from their published description, and what can be asked of each."""

import pytest
import torch
from torch import nn

import boundgraph
import zoo
from boundgraph.training import robust_cross_entropy
from zoo.layers import ClippedReLU, Normalize
from zoo.models import ACTIVATIONS, INPUT_SHAPES, MODELS, find, measure, names

# In the paper's order. Name: parameters, ReLU neurons.
MNIST_SIZES = {
    "cnn_2layer_width_1": (52_182, 1_304),
    "cnn_2layer_width_2": (205_730, 2_608),
    "cnn_4layer_linear_256_width_1": (170_598, 6_392),
    "cnn_4layer_linear_256_width_2": (275_714, 12_272),
    "cnn_4layer_linear_512_width_1": (470_630, 6_904),
    "cnn_4layer_linear_512_width_2": (676_098, 12_784),
    "cnn_3layer_fixed_kernel_3_width_1": (27_170, 9_864),
    "cnn_3layer_fixed_kernel_3_width_2": (107_130, 19_728),
    "cnn_3layer_fixed_kernel_5_width_1": (21_090, 7_664),
    "cnn_3layer_fixed_kernel_5_width_2": (82_682, 15_328),
    "cnn_4layer_linear_256_width_4": (1_096_442, 24_544),
    "cnn_4layer_linear_512_width_4": (1_096_442, 24_544),
    "cnn_4layer_linear_512_width_8": (1_974_762, 48_064),
    "cnn_4layer_linear_512_width_16": (3_881_930, 95_104),
    "cnn_3layer_fixed_kernel_5_width_16": (2_833_802, 122_112),
    "cnn_3layer_fixed_kernel_5_width_8": (1_302_986, 61_312),
    "cnn_3layer_fixed_kernel_5_width_4": (625_130, 30_912),
    "cnn_3layer_fixed_kernel_3_width_8": (1_695_690, 78_912),
}
CIFAR10_SIZES = {
    "cnn_2layer_width_2": (267_426, 3_328),
    "cnn_4layer_linear_256_width_1": (201_390, 8_192),
    "cnn_4layer_linear_256_width_2": (337_298, 15_872),
    "cnn_4layer_linear_512_width_1": (532_142, 8_704),
    "cnn_4layer_linear_512_width_2": (799_122, 16_384),
    "cnn_3layer_fixed_kernel_3_width_1": (2_187_786, 102_912),
    "cnn_3layer_fixed_kernel_3_width_2": (137_994, 25_728),
    "cnn_3layer_fixed_kernel_5_width_1": (27_946, 10_328),
    "cnn_3layer_fixed_kernel_5_width_2": (109_706, 20_656),
    "cnn_2layer_width_8": (560_106, 12_416),
    "cnn_2layer_width_16": (2_234_314, 24_832),
    "cnn_4layer_linear_256_width_8": (1_218_602, 61_952),
    "cnn_4layer_linear_256_width_16": (2_569_290, 123_392),
    "cnn_4layer_linear_512_width_8": (2_466_858, 62_464),
    "cnn_4layer_linear_512_width_16": (4_866_122, 123_904),
    "cnn_3layer_fixed_kernel_3_width_8": (1_136_394, 102_656),
    "cnn_3layer_fixed_kernel_3_width_16": (4_537_866, 205_312),
}
PAPER = [
    (dataset, name, size)
    for dataset, sizes in (("mnist", MNIST_SIZES), ("fashion-mnist", MNIST_SIZES), ("cifar10", CIFAR10_SIZES))
    for name, size in sizes.items()
]
OTHER_PARAMETERS = {
    ("mnist", "dm-small"): 329_606,
    ("cifar10", "dm-small"): 470_918,
    ("mnist", "dm-medium"): 893_418,
    ("cifar10", "dm-medium"): 1_188_906,
    ("mnist", "dm-large"): 13_257_290,
    ("cifar10", "dm-large"): 17_190_602,
}
EVERY_MODEL = [(dataset, name) for dataset in MODELS for name in MODELS[dataset]]
METHODS = ("ibp", "crown-ibp", "crown")


def untrained(dataset: str, name: str, **options: object) -> nn.Sequential:
    torch.manual_seed(0)
    return zoo.build(name, dataset, **options)


def images(dataset: str, count: int = 2) -> torch.Tensor:
    return torch.rand(count, *INPUT_SHAPES[dataset], generator=torch.Generator().manual_seed(1))


def test_paper_models_are_53_in_its_order() -> None:
    assert zoo.paper_models() == tuple((dataset, name) for dataset, name, _ in PAPER)
    assert len(set(zoo.paper_models())) == 53


@pytest.mark.parametrize(("dataset", "name", "size"), PAPER)
def test_paper_models_have_the_published_sizes(dataset: str, name: str, size: tuple[int, int]) -> None:
    assert measure(untrained(dataset, name), INPUT_SHAPES[dataset])[:2] == size


def test_wrong_names_of_the_paper_are_said() -> None:
    wrong = {(dataset, name): find(name, dataset).true_name for dataset, name in EVERY_MODEL}
    assert {key: true for key, true in wrong.items() if true} == {
        ("mnist", "cnn_4layer_linear_256_width_4"): "cnn_4layer_linear_512_width_4",
        ("fashion-mnist", "cnn_4layer_linear_256_width_4"): "cnn_4layer_linear_512_width_4",
        ("cifar10", "cnn_3layer_fixed_kernel_3_width_1"): "cnn_3layer_fixed_kernel_3_linear_512_width_8",
    }


@pytest.mark.parametrize(("dataset", "name"), OTHER_PARAMETERS)
def test_gowals_models_have_the_published_sizes(dataset: str, name: str) -> None:
    assert measure(untrained(dataset, name), INPUT_SHAPES[dataset]).parameters == OTHER_PARAMETERS[dataset, name]


@pytest.mark.parametrize(("dataset", "relus"), [("mnist", 176_128), ("cifar10", 229_888)])
def test_dm_large_and_the_widest_cnn7_are_alike_but_for_batch_norm(dataset: str, relus: int) -> None:
    large = measure(untrained(dataset, "dm-large"), INPUT_SHAPES[dataset])
    assert large.relus == relus
    assert measure(untrained(dataset, "cnn7_width_64", batch_norm=False), INPUT_SHAPES[dataset]) == large


def test_cnn7_halves_the_image_once_or_twice() -> None:
    sizes = [measure(untrained("mnist", name), (1, 28, 28)).macs for name in ("cnn7_width_16", "cnn7_width_16_stride")]
    assert [round(macs / 1e6, 1) for macs in sizes] == [8.0, 2.0]


@pytest.mark.parametrize(("dataset", "name"), EVERY_MODEL)
def test_every_model_maps_its_images_to_ten_logits(dataset: str, name: str) -> None:
    assert untrained(dataset, name).eval()(images(dataset)).shape == (2, 10)


@pytest.mark.parametrize(("dataset", "name"), EVERY_MODEL)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_an_activation_follows_every_layer_but_the_last(dataset: str, name: str, batch_norm: bool) -> None:
    with torch.device("meta"):
        body = zoo.build(name, dataset, batch_norm=batch_norm)
    kinds = [type(layer).__name__ for layer in body if not isinstance(layer, nn.Flatten | Normalize)]
    hidden, last = kinds[:-1], kinds[-1]
    step = 3 if batch_norm else 2
    if name == "resnet_small":  # a residual block counts as one layer, and ends in its BatchNorm itself
        hidden = [kind for kind in hidden if not kind.startswith("BatchNorm")]
        step = 2
    assert last == "Linear"
    assert set(hidden[step - 1 :: step]) == {"ReLU"}
    assert set(hidden[::step]) <= {"Conv2d", "Linear", "Residual"}
    if step == 3:
        assert set(hidden[1::3]) == {"BatchNorm2d", "BatchNorm1d"}


def test_defaults_of_batch_norm_and_both_choices() -> None:
    def norms(name: str, batch_norm: bool | None) -> int:
        layers = zoo.build(name, batch_norm=batch_norm).modules()
        return sum(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in layers)

    assert [norms("cnn_2layer_width_1", choice) for choice in (None, False, True)] == [0, 0, 3]
    assert [norms("cnn7_width_8", choice) for choice in (None, False, True)] == [6, 0, 6]
    assert [norms("resnet_small", choice) for choice in (None, False, True)] == [10, 0, 10]


def test_ramp_replaces_every_relu_and_adds_a_ceiling_per_neuron() -> None:
    for name in ("cnn_3layer_fixed_kernel_5_width_1", "resnet_small"):
        plain, clipped = untrained("cifar10", name), untrained("cifar10", name, activation="ramp")
        assert not any(isinstance(layer, nn.ReLU) for layer in clipped.modules())
        sizes = measure(plain, (3, 32, 32)), measure(clipped, (3, 32, 32))
        assert sizes[1].relus == sizes[0].relus
        assert sizes[1].parameters == sizes[0].parameters + sizes[0].relus
        ceilings = [layer.ceiling for layer in clipped.modules() if isinstance(layer, ClippedReLU)]
        assert sum(ceiling.numel() for ceiling in ceilings) == sizes[0].relus


def certified_step(dataset: str, name: str, **options: object) -> None:
    """Compile with every method, then take one step of IBP training on four images."""
    model = untrained(dataset, name, **options)
    x, labels = images(dataset, 4), torch.tensor([3, 7, 0, 9])
    bounded = {method: boundgraph.compile(model, method=method) for method in METHODS}
    # untrained deep networks widen intervals by up to 1e8, and those from 0 to every ceiling give weights no gradient
    loss = robust_cross_entropy(bounded["ibp"].margins(x, labels, eps=1e-8, clip=(0, 1))).mean()
    loss.backward()
    gradients = {parameter: weight.grad for parameter, weight in model.named_parameters()}
    assert loss.isfinite()
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    # a ceiling that nothing reaches gets none
    assert all(gradients[parameter].any() for parameter in gradients if parameter.endswith("weight"))


A_FEW = [
    ("mnist", "cnn_2layer_width_1"),
    ("fashion-mnist", "cnn_4layer_linear_256_width_1"),
    ("cifar10", "cnn_3layer_fixed_kernel_5_width_1"),
    ("mnist", "dm-small"),
    ("mnist", "cnn7_width_8"),
    ("cifar10", "resnet_small"),
]


@pytest.mark.parametrize(("dataset", "name"), A_FEW)
@pytest.mark.parametrize("options", [{}, {"activation": "ramp", "batch_norm": True}], ids=["as is", "ramp and norm"])
def test_a_step_of_certified_training(dataset: str, name: str, options: dict[str, object]) -> None:
    certified_step(dataset, name, **options)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("dataset", "name"), EVERY_MODEL)
def test_a_step_of_certified_training_of_every_model(dataset: str, name: str, activation: str) -> None:
    certified_step(dataset, name, activation=activation)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dataset", "name"), [("cifar10", "cnn_2layer_width_2"), ("mnist", "resnet_small")])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bounds_hold_for_points_in_the_ball(dataset: str, name: str, activation: str, method: str) -> None:
    model = untrained(dataset, name, activation=activation).eval()
    x, eps = images(dataset), 2 / 255
    bounds = boundgraph.compile(model, method=method)(x, eps=eps)
    for _ in range(20):
        values = model(x + eps * (2 * torch.randint(0, 2, x.shape) - 1))
        assert (values >= bounds.lower - 1e-5).all()
        assert (values <= bounds.upper + 1e-5).all()


def test_macs_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))
    assert measure(model, (2, 4, 4)) == (57 + 245, 48, 16 * 3 * 18 + 240)


def test_measuring_changes_nothing_and_sees_into_any_module() -> None:
    model = untrained("mnist", "resnet_small")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    size = measure(model, (1, 28, 28))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    block = untrained("mnist", "resnet_small")[3]  # two 3x3 convolutions of 16 channels, a ReLU between
    assert measure(block, (16, 14, 14))[1:] == (16 * 14 * 14, 2 * 14 * 14 * 16 * 16 * 9)
    assert size.relus == 16 * 14 * 14 * 3 + 32 * 7 * 7 * 2 + 64 * 4 * 4 * 2 + 128


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(zoo.ZooError, match="unknown model 'cnn' for digits; there are: digits_cnn"):
        zoo.build("cnn", "digits")
    with pytest.raises(zoo.ZooError, match=r"unknown model 'digits_cnn' for mnist \(digits_cnn is for digits\)"):
        zoo.build("digits_cnn")
    with pytest.raises(zoo.ZooError, match="unknown data set 'svhn'; there are models for: digits, mnist, fashion-mn"):
        zoo.build("dm-small", "svhn")
    with pytest.raises(zoo.ZooError, match="unknown activation 'tanh'; there are: relu, ramp"):
        zoo.build("dm-small", activation="tanh")
    assert names("digits") == ["digits_cnn"]
