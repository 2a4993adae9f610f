"""Networks as people have them, small in size and whole in structure. Bounded by `python -m benchmarks.whole`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut (He et al., Deep residual learning, 2016)."""

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.downsample: nn.Module | None = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += shortcut
        return self.relu(out)


class ResNet18(nn.Module):
    def __init__(self, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = (width, width, 2 * width, 4 * width, 8 * width)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(BasicBlock(a, b, 1 if i == 0 else 2), BasicBlock(b, b))
                for i, (a, b) in enumerate(pairwise(widths))
            )
        )
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(self.stages(x)), 1))


class DenseLayer(nn.Module):
    """What all layers before have made, side by side, is its input (Huang et al., Densely connected networks, 2017)."""

    def __init__(self, inside: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inside), nn.BatchNorm2d(4 * growth)
        self.conv1 = nn.Conv2d(inside, 4 * growth, 1, bias=False)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        x = self.conv1(F.relu(self.norm1(torch.cat(features, 1)), inplace=True))
        return self.conv2(F.relu(self.norm2(x), inplace=True))


class DenseNet(nn.Module):
    def __init__(self, growth: int = 4, layers: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2 * growth, 3, 2, 1, bias=False)
        self.block = nn.ModuleList(DenseLayer((2 + i) * growth, growth) for i in range(layers))
        channels = (2 + layers) * growth
        self.transition = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.Conv2d(channels, channels // 2, 1), nn.AvgPool2d(2, 2)
        )
        self.classifier = nn.Linear(channels // 2, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for layer in self.block:
            features.append(layer(features))
        x = self.transition(torch.cat(features, 1))
        return self.classifier(F.adaptive_avg_pool2d(x, (1, 1)).flatten(1))


class VisionTransformer(nn.Module):
    """Patches of an image as a sequence, with a token for the class (Dosovitskiy et al., 2021)."""

    def __init__(self, size: int = 8, patch: int = 4, width: int = 16, layers: int = 2, classes: int = 10) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width) / 4)
        self.places = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width) / 4)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.places
        return self.head(self.encoder(x)[:, 0])


class UNet(nn.Module):
    """Down and up again, with what was there on the way down beside it (Ronneberger et al., 2015)."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.down1, self.down2 = self._convolutions(1, width), self._convolutions(width, 2 * width)
        self.bottom = self._convolutions(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.left2 = self._convolutions(4 * width, 2 * width)
        self.up1 = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.left1 = self._convolutions(3 * width, width)
        self.head = nn.Conv2d(width, 1, 1)

    @staticmethod
    def _convolutions(inside: int, outside: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.bottom(F.max_pool2d(second, 2))
        x = self.left2(torch.cat((self.up2(x), second), 1))
        x = self.left1(torch.cat((self.up1(x), first), 1))
        return self.head(x)


class SequenceFirst(nn.Module):
    """A transformer with its length first, as it is by default, with positions added to it."""

    def __init__(self, width: int = 12, layers: int = 2) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(20, 1, width) / 4)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(width, 3, 2 * width, dropout=0.1), layers)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(1, 0, 2)
        x = self.encoder(x * 2 + self.places[: x.size(0)])
        return self.head(x.mean(0))


class Tagger(nn.Module):
    """An LSTM in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, bidirectional=True, batch_first=True)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0])


class Network(NamedTuple):
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of one example
    eps: float
    examples: bool = False  # whether it needs example inputs


NETWORKS: dict[str, Network] = {
    "resnet-18": Network(ResNet18, (3, 32, 32), 1e-3),
    "densenet": Network(DenseNet, (3, 16, 16), 1e-3),
    "vit": Network(VisionTransformer, (3, 8, 8), 1e-3),
    "u-net": Network(UNet, (1, 16, 16), 1e-3),
    "sequence-first": Network(SequenceFirst, (5, 12), 1e-3),
    "tagger": Network(Tagger, (4, 6), 1e-2, examples=True),
}


def build(name: str) -> nn.Module:
    """The network in eval mode, with statistics that are not 0 and 1."""
    torch.manual_seed(0)
    model = NETWORKS[name].build()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.double().eval()


class FromEmbeddings(nn.Module):
    """A model of `transformers` as a function of the embeddings of its words, with a linear layer on one position."""

    def __init__(self, model: Any, position: int) -> None:
        super().__init__()
        self.model, self.position, self.head = model, position, nn.Linear(16, 3)

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.head(self.model(inputs_embeds=embeddings).last_hidden_state[:, self.position])


def language_model(name: str, attention: str = "sdpa") -> nn.Module:
    """BERT or GPT-2, tiny, with random weights, from the library `transformers`."""
    library: Any = importlib.import_module("transformers")
    torch.manual_seed(0)
    shared = {"vocab_size": 20, "attn_implementation": attention}
    if name == "bert":
        config = library.BertConfig(
            **shared, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=16,
        )  # fmt: skip
        return FromEmbeddings(library.BertModel(config), 0).double().eval()
    config = library.GPT2Config(
        **shared, n_embd=16, n_layer=2, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0, use_cache=False
    )
    return FromEmbeddings(library.GPT2Model(config), -1).double().eval()
