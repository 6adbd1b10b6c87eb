import re
from collections import OrderedDict
from urllib.error import URLError

import pytest
import torch
import torchvision.models
from safetensors.torch import save_file
from torch import nn

from kdsweep.errors import UserError
from kdsweep.models import layer_names, load_weights
from tests.models.helpers import embedding, make, parameters, tap

COUNTS = {"resnet18": 11_689_512, "resnet50": 25_557_032}  # at 1000 classes, as torchvision has it


def error_of(name: str, **options) -> str:
    with pytest.raises(UserError) as error:
        make(name, **options)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def resnet18():
    torch.manual_seed(0)
    return make("torchvision/resnet18").eval()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of downloads, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def refuse(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(("name", "features"), [("resnet18", 512), ("resnet50", 2048)])
def test_system_2s_pair(name, features):
    model = make(f"torchvision/{name}", classes=10)
    assert parameters(model) == COUNTS[name] - 990 * (features + 1)
    published = torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]
    assert published == COUNTS[name]


def test_stages_and_classifier_of_a_resnet(resnet18):
    assert resnet18.stages == ("net.layer1", "net.layer2", "net.layer3", "net.layer4")
    assert resnet18.classifier == "net.fc"
    assert "net.layer4.1.conv2" in layer_names(resnet18)
    images = torch.randn(2, 3, 64, 64)
    seen = tap(resnet18, [*reversed(resnet18.stages), "net.fc"], images)
    assert list(seen) == [*resnet18.stages, "net.fc"]
    assert [output.shape[-1] for output, _ in seen.values()] == [16, 8, 4, 2, 10]
    assert all(torch.equal(output, copy) for output, copy in seen.values())
    assert embedding(resnet18, images).shape == (2, 512)


def test_other_families_by_the_general_rule():
    model = make("torchvision/mobilenet_v2", classes=7, image_size=64).eval()
    assert model.classifier == "net.classifier.1"
    assert model.stages == tuple(f"net.features.{i}" for i in (1, 3, 6, 13, 18))
    images = torch.randn(2, 3, 64, 64)
    seen = tap(model, model.stages, images)
    assert [output.shape[-1] for output, _ in seen.values()] == [32, 16, 8, 4, 2]
    assert all(torch.equal(output, copy) for output, copy in seen.values())
    assert model(images).shape == (2, 7)


def test_auxiliary_heads_are_left_out(tmp_path):
    model = make("torchvision/googlenet", classes=7, image_size=64).train()
    logits = model(torch.randn(2, 3, 64, 64))
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (2, 7)
    assert not model.net.transform_input
    state = model.net.state_dict() | {"aux1.fc2.weight": torch.zeros(1000, 1024)}
    torch.save(state, tmp_path / "googlenet.pth")
    weights = str(tmp_path / "googlenet.pth")
    again = make("torchvision/googlenet", classes=7, image_size=64, weights=weights)
    assert torch.equal(again.net.fc.weight, model.net.fc.weight)
    assert again.net.transform_input


def test_named_weights_come_from_torchvisions_cache(hub, resnet18):
    torch.manual_seed(1)
    source = torchvision.models.resnet18()
    torch.save(source.state_dict(), hub / "resnet18-f37072fd.pth")
    torch.manual_seed(0)
    model = make("torchvision/resnet18", weights="IMAGENET1K_V1", classes=10)
    assert torch.equal(model.net.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert model.net.fc.out_features == 10
    kept = make("torchvision/resnet18", weights="DEFAULT", classes=1000)
    assert torch.equal(kept.net.fc.weight, source.fc.weight)


def test_no_network(hub):
    message = error_of("torchvision/resnet18", weights="IMAGENET1K_V1")
    assert message == (
        "pair.student.weights=IMAGENET1K_V1: can't be downloaded from "
        "https://download.pytorch.org/models/resnet18-f37072fd.pth (<urlopen error no route to "
        "host>); fetch that file elsewhere and give pair.student.weights=FILE"
    )


def test_unknown_weights():
    message = error_of("torchvision/resnet50", weights="IMAGENET1K_V3")
    assert message == (
        "pair.student.weights=IMAGENET1K_V3: not one of torchvision's weights for resnet50, which "
        "are IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT; a file needs its path and its ending"
    )


@pytest.mark.parametrize("classes", [10, 7])
def test_a_files_head_is_kept_if_it_fits_and_replaced_if_not(classes, resnet18, tmp_path):
    path = tmp_path / "resnet18.pth"
    torch.save(resnet18.net.state_dict(), path)  # as torchvision's own scripts save it
    model = make("torchvision/resnet18", weights=str(path), classes=classes)
    assert torch.equal(model.net.conv1.weight, resnet18.net.conv1.weight)
    assert model.net.fc.out_features == classes
    assert torch.equal(model.net.fc.weight, resnet18.net.fc.weight) == (classes == 10)


def test_the_wrapped_models_own_state_dict_is_a_file_too(resnet18, tmp_path):
    torch.save(resnet18.state_dict(), tmp_path / "wrapped.pt")
    model = make("torchvision/resnet18", weights=str(tmp_path / "wrapped.pt")).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(images), resnet18(images))
    again = make("torchvision/resnet18")
    torch.save(resnet18.net.state_dict(), tmp_path / "bare.pt")
    load_weights(again, str(tmp_path / "bare.pt"), option="teacher.checkpoint")
    assert torch.equal(again.net.fc.weight, resnet18.net.fc.weight)


def test_a_file_of_another_architecture(resnet18, tmp_path):
    torch.save(resnet18.net.state_dict(), tmp_path / "resnet18.pth")
    message = error_of("torchvision/resnet34", weights=str(tmp_path / "resnet18.pth"))
    assert message.endswith(
        "layer1.2.conv1.weight is not in the file (and 79 more); it is of another architecture"
    )


def test_densenets_old_names_are_read(tmp_path, monkeypatch):
    def small(name, *, weights):
        assert weights is None
        return torchvision.models.DenseNet(growth_rate=4, block_config=(2, 1), num_init_features=8)

    monkeypatch.setattr(torchvision.models, "get_model", small)
    model = make("torchvision/densenet121")
    old = {
        re.sub(r"(norm|conv)([12])\.", r"\1.\2.", key) if "denselayer" in key else key: value
        for key, value in model.net.state_dict().items()
    }
    assert "features.denseblock1.denselayer2.conv.2.weight" in old
    torch.save(old, tmp_path / "densenet.pth")
    again = make("torchvision/densenet121", weights=str(tmp_path / "densenet.pth"))
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_a_network_whose_loading_depends_on_its_version(kind, tmp_path, monkeypatch):
    def small(name, *, weights):
        assert weights is None
        return torchvision.models.MNASNet(alpha=0.1, num_classes=10)

    monkeypatch.setattr(torchvision.models, "get_model", small)
    model = make("torchvision/mnasnet0_5")
    path = tmp_path / f"mnasnet.{kind}"
    (torch.save if kind == "pt" else save_file)(model.state_dict(), path)
    again = make("torchvision/mnasnet0_5", weights=str(path))
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_unknown_model():
    message = error_of("torchvision/resnet19")
    assert message == (
        "pair.student.name=torchvision/resnet19: no such model; did you mean "
        "torchvision/resnet18 or torchvision/resnet152 or torchvision/resnet101? "
        "torchvision.models.list_models() has their names"
    )
    assert "no such model; torchvision.models" in error_of("torchvision/?")


def test_a_network_without_a_linear_classifier():
    assert error_of("torchvision/squeezenet1_1", image_size=64) == (
        "pair.student.name=torchvision/squeezenet1_1: does not end in a linear layer, so kdsweep "
        "can't give it a new head"
    )


def test_images_of_a_size_that_the_network_does_not_take():
    message = error_of("torchvision/maxvit_t", image_size=32)
    assert message.startswith(
        "pair.student.name=torchvision/maxvit_t: takes no images of 32 x 32 pixels ("
    )
    assert message.endswith("choose another data.image_size")


@pytest.fixture
def small_vit(monkeypatch):
    def small(name, *, weights, image_size):
        assert weights is None
        return torchvision.models.VisionTransformer(
            image_size=image_size,
            patch_size=8,
            num_layers=1,
            num_heads=2,
            hidden_dim=8,
            mlp_dim=16,
        )

    monkeypatch.setattr(torchvision.models, "get_model", small)


def test_vision_transformers_are_made_for_the_images(small_vit):
    model = make("torchvision/vit_b_16", classes=3, image_size=16)
    assert model.classifier == "net.heads.head"
    assert model.stages == ("net.conv_proj",)
    assert isinstance(model.net.heads.head, nn.Linear)
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 3)


def test_vision_transformers_old_names_are_read(small_vit, tmp_path):
    model = make("torchvision/vit_b_16", image_size=16)
    torch.save(model.net.state_dict(), tmp_path / "new.pth")
    state = torch.load(tmp_path / "new.pth")
    old = OrderedDict(
        (key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."), value)
        for key, value in state.items()
    )
    versions = {key: value | {"version": 1} for key, value in state._metadata.items()}
    vars(old)["_metadata"] = versions
    torch.save(old, tmp_path / "old.pth")
    again = make("torchvision/vit_b_16", image_size=16, weights=str(tmp_path / "old.pth"))
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_vision_transformers_of_another_image_size(small_vit, tmp_path):
    model = make("torchvision/vit_b_16", image_size=16)
    torch.save(model.state_dict(), tmp_path / "x.pth")
    message = error_of("torchvision/vit_b_16", image_size=32, weights=str(tmp_path / "x.pth"))
    assert message.endswith(
        "encoder.pos_embedding is [1, 5, 8] in the file but [1, 17, 8] in the model; "
        "the file is of another architecture, width or image size"
    )
