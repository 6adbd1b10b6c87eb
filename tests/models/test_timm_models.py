"""timm is not needed here: a small stand-in takes its place, or its import is made to fail."""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from kdsweep.errors import UserError
from tests.models.helpers import make


class Net(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 4, 3, padding=1)
        self.act = nn.SiLU(inplace=True)
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.ReLU()),
        )
        self.classifier = nn.Linear(8, classes)

    def forward(self, x):
        return self.classifier(self.blocks(self.act(self.conv_stem(x))).mean((2, 3)))


@pytest.fixture
def timm(monkeypatch):
    module = ModuleType("timm")
    module.asked = []

    def create_model(name, *, pretrained, num_classes):
        module.asked.append((name, pretrained, num_classes))
        if pretrained and name == "offline":
            raise OSError("We couldn't connect to the hub\nCheck your connection.")
        net = Net(num_classes)
        if pretrained:
            nn.init.constant_(net.conv_stem.weight, 0.5)
        return net

    module.create_model = create_model
    module.is_model = lambda name: name in module.list_models()
    module.list_models = lambda: ["tiny_net", "tiny_vit", "offline"]
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


def error_of(name: str, **options) -> str:
    with pytest.raises(UserError) as error:
        make(name, **options)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_model_by_name(timm):
    model = make("timm/tiny_net", classes=7)
    assert timm.asked == [("tiny_net", False, 7)]
    assert model.stages == ("net.blocks.0", "net.blocks.1")
    assert model.classifier == "net.classifier"
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    assert not model.net.act.inplace


def test_timms_own_weights(timm):
    model = make("timm/tiny_net", classes=7, weights="DEFAULT")
    assert timm.asked == [("tiny_net", True, 7)]
    assert (model.net.conv_stem.weight == 0.5).all()


@pytest.mark.parametrize("classes", [5, 7])
def test_a_files_weights(timm, classes, tmp_path):
    source = Net(5)
    torch.save(source.state_dict(), tmp_path / "x.pt")
    model = make("timm/tiny_net", classes=classes, weights=str(tmp_path / "x.pt"))
    assert timm.asked == [("tiny_net", False, classes)]
    assert torch.equal(model.net.conv_stem.weight, source.conv_stem.weight)
    assert model.net.classifier.out_features == classes
    assert torch.equal(model.net.classifier.weight, source.classifier.weight) == (classes == 5)


def test_a_missing_file(timm):
    message = error_of("timm/tiny_net", weights="a1_in1k")
    assert message == "pair.student.weights=a1_in1k: no such file"


def test_unknown_model(timm):
    assert error_of("timm/tiny_met") == (
        "pair.student.name=timm/tiny_met: no such model; did you mean timm/tiny_net or "
        "timm/tiny_vit? timm.list_models() has their names"
    )
    assert "no such model; timm.list_models()" in error_of("timm/")


def test_no_network(timm):
    assert error_of("timm/offline", weights="DEFAULT") == (
        "pair.student.name=timm/offline: timm can't make it with pair.student.weights=DEFAULT "
        "(We couldn't connect to the hub); without a network, fetch its weights elsewhere and "
        "give pair.student.weights=FILE"
    )


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert error_of("timm/resnet18") == (
        'pair.student.name=timm/resnet18: timm is not installed; python -m pip install "timm>=1.0"'
    )


def test_timm_is_not_imported_for_other_models(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert make("resnet8").classifier == "fc"
