"""The rules by which stages and classifier are found, on small networks of each kind."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdsweep.errors import UserError
from kdsweep.models.foreign import ForeignClassifier
from tests.models.helpers import tap


def wrap(net: nn.Module, image_size: int = 16) -> ForeignClassifier:
    return ForeignClassifier(net, image_size=image_size, given="pair.teacher.name=timm/net")


def conv(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride=stride, padding=1)


class Net(nn.Module):
    """Calls its children in the order in which they are given, lists of layers one by one."""

    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x):
        for child in self.children():
            for layer in child if isinstance(child, nn.ModuleList) else [child]:
                x = layer(x)
        return x


def tail(channels: int, classes: int = 9) -> dict[str, nn.Module]:
    return {
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "head": nn.Linear(channels, classes),
    }


def test_layers_named_layer_are_the_stages():
    net = Net(
        stem=conv(3, 4, 2), layer1=conv(4, 4), layer2=conv(4, 8, 2), layers=conv(8, 8), **tail(8)
    )
    model = wrap(net)
    assert model.stages == ("net.layer1", "net.layer2")
    assert model.classifier == "net.head"


def test_else_the_last_layer_at_each_resolution_is_a_stage():
    net = Net(
        stem=conv(3, 4), act=nn.ReLU(), down=conv(4, 8, 2), more=conv(8, 8), low=conv(8, 8, 2),
        **tail(8),
    )  # fmt: skip
    assert wrap(net).stages == ("net.act", "net.more", "net.low")


def test_a_sequence_in_which_the_resolution_changes_is_opened_once():
    inner = nn.Sequential(nn.BatchNorm2d(8), conv(8, 8, 2))  # as ConvNeXt goes down
    features = nn.Sequential(
        conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 8), inner, nn.Dropout(0.5)
    )
    net = Net(features=features, rest=nn.Sequential(conv(8, 8), nn.ReLU()), **tail(8))
    assert wrap(net).stages == ("net.features.1", "net.features.3", "net.rest")


def test_lists_of_layers_are_opened():
    blocks = nn.ModuleList([conv(3, 4), conv(4, 4, 2), nn.Sequential(conv(4, 4), nn.ReLU())])
    net = Net(blocks=blocks, **tail(4))
    assert wrap(net).stages == ("net.blocks.0", "net.blocks.2")


def test_the_part_with_the_classifier_ends_no_stage():
    classifier = nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1), conv=nn.Conv2d(4, 8, 1), flat=nn.Flatten(),
            hidden=nn.Linear(8, 8), act=nn.Tanh(), out=nn.Linear(8, 5, bias=False),
        )
    )  # fmt: skip
    model = wrap(Net(stem=conv(3, 4), classifier=classifier))
    assert model.stages == ("net.stem",)
    assert model.classifier == "net.classifier.out"
    model.set_classes(3)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
    assert model.get_submodule("net.classifier.out").bias is None


def test_the_classifier_is_the_last_that_is_called_not_the_last_defined():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(8, 5)
            self.hidden = nn.Linear(3, 8)
            self.unused = nn.Linear(5, 5)

        def forward(self, x):
            return self.head(self.hidden(x.mean((2, 3))))

    model = wrap(Backwards())
    assert model.classifier == "net.head"
    assert model.stages == ()


def test_maps_with_the_channels_last_end_no_stage():
    class Last(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1)

    class First(nn.Module):
        def forward(self, x):
            return x.permute(0, 3, 1, 2)

    net = Net(stem=conv(3, 4), last=Last(), norm=nn.LayerNorm(4), first=First(), **tail(4))
    assert wrap(net).stages == ("net.first",)
    net = Net(stem=conv(3, 4), last=Last(), norm=nn.LayerNorm(4), flatten=nn.Flatten(),
              head=nn.Linear(1024, 9))  # fmt: skip
    assert wrap(net).stages == ("net.stem",)


def test_an_output_that_is_written_over_ends_no_stage():
    class Overwrite(nn.Module):
        def forward(self, x):
            return F.relu(x, inplace=True)

    net = Net(low=conv(3, 4), block=nn.Sequential(conv(4, 4), conv(4, 4)), act=Overwrite(),
              flatten=nn.Flatten(), head=nn.Linear(1024, 9))  # fmt: skip
    assert wrap(net).stages == ("net.act",)

    class Tail(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(4)
            self.low = conv(3, 4)
            self.head = nn.Linear(4, 9)

        def forward(self, x):
            return self.head(F.relu(self.norm(self.low(x)), inplace=True).mean((2, 3)))

    assert wrap(Tail()).stages == ("net.low",)


def test_a_layer_that_is_called_twice_counts_where_it_is_called_last():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = conv(3, 4)
            self.act = nn.ReLU()
            self.down = conv(4, 8, 2)
            self.head = nn.Linear(8, 9)

        def forward(self, x):
            return self.head(self.act(self.down(self.act(self.stem(x)))).mean((2, 3)))

    assert wrap(Shared()).stages == ("net.stem", "net.act")


def test_activations_no_longer_work_in_place():
    net = Net(stem=conv(3, 4), norm=nn.BatchNorm2d(4), act=nn.ReLU6(inplace=True), **tail(4))
    model = wrap(net)
    images = torch.randn(2, 3, 16, 16)
    for name, (output, copy) in tap(model, ["net.norm", "net.act"], images).items():
        assert torch.equal(output, copy), name


def test_looking_changes_nothing():
    torch.manual_seed(0)
    net = Net(stem=conv(3, 4), norm=nn.BatchNorm2d(4), drop=nn.Dropout(0.5), **tail(4))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = torch.get_rng_state()
    model = wrap(net)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before.items())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())


def test_the_head_is_replaced_only_if_its_outputs_differ():
    model = wrap(Net(stem=conv(3, 4), **tail(4, classes=9)))
    head = model.net.head
    model.set_classes(9)
    assert model.net.head is head
    model.set_classes(4)
    assert model.net.head.out_features == 4


@pytest.mark.parametrize("prefix", ["", "net."])
def test_weights_load_with_and_without_the_wrappers_prefix(prefix):
    source = Net(stem=conv(3, 4), **tail(4, classes=6))
    model = wrap(Net(stem=conv(3, 4), **tail(4, classes=9)))
    state = {prefix + key: value for key, value in source.state_dict().items()}
    model.load_pretrained(state, given="pair.teacher.weights=x.pt")
    assert torch.equal(model.net.head.weight, source.head.weight)
    assert torch.equal(model.net.stem.weight, source.stem.weight)


def test_weights_of_another_network_do_not_fit():
    state = Net(stem=conv(3, 5), **tail(5)).state_dict()
    model = wrap(Net(stem=conv(3, 4), **tail(4)))
    with pytest.raises(UserError) as error:
        model.load_pretrained(state, given="pair.teacher.weights=x.pt")
    assert str(error.value) == (
        "pair.teacher.weights=x.pt: stem.weight is [5, 3, 3, 3] in the file but [4, 3, 3, 3] "
        "in the model; the file is of another architecture, width or image size"
    )


def test_images_too_small():
    net = Net(stem=nn.Conv2d(3, 4, 11), **tail(4))
    with pytest.raises(UserError) as error:
        wrap(net, image_size=8)
    message = str(error.value)
    assert message.startswith("pair.teacher.name=timm/net: takes no images of 8 x 8 pixels (")
    assert message.endswith("); choose another data.image_size")
    assert "\n" not in message


def test_no_linear_layer():
    net = Net(stem=conv(3, 4), pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
    with pytest.raises(
        UserError, match=r"^pair\.teacher\.name=timm/net: does not end in a linear"
    ):
        wrap(net)
