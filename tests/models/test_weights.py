import pytest
import torch
from safetensors.torch import save_file

from kdsweep.errors import UserError
from kdsweep.models.weights import load_weights, read_state, rename, without_prefix
from tests.models.helpers import make


@pytest.fixture
def trained():
    torch.manual_seed(0)
    return make("resnet8").eval()


def error_of(path, model=None) -> str:
    with pytest.raises(UserError) as error:
        load_weights(model or make("resnet8"), str(path), option="pair.teacher.weights")
    message = str(error.value)
    assert message.startswith(f"pair.teacher.weights={path}: ")
    assert "\n" not in message
    return message.removeprefix(f"pair.teacher.weights={path}: ")


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "best_acc": torch.tensor(79.4)},
        lambda state: {f"module.{key}": value for key, value in state.items()},
    ],
)
def test_state_dicts_as_training_scripts_save_them(trained, wrap, tmp_path):
    torch.save(wrap(trained.state_dict()), tmp_path / "weights.pth")
    model = make("resnet8")
    load_weights(model, str(tmp_path / "weights.pth"), option="teacher.checkpoint")
    for key, value in trained.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights"])
def test_safetensors_under_any_name(name, trained, tmp_path):
    save_file(trained.state_dict(), tmp_path / name)
    model = make("resnet8")
    load_weights(model, str(tmp_path / name), option="teacher.checkpoint")
    assert torch.equal(model.conv1.weight, trained.conv1.weight)


def test_a_missing_file(tmp_path):
    assert error_of(tmp_path / "none.pt") == "no such file"
    assert error_of(tmp_path) == "no such file"


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello\nworld", b"\x89PNG\r\n\x1a\n" + bytes(64)])
def test_a_file_of_something_else(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert error_of(tmp_path / name).startswith(
        "can't be read as safetensors, or as a torch file "
    )


def test_a_truncated_file(trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / "whole.pt")
    content = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(content[: len(content) // 2])
    assert error_of(tmp_path / "half.pt").startswith("can't be read")


def test_a_pickled_model_is_not_executed(trained, tmp_path):
    torch.save(trained, tmp_path / "model.pt")
    assert error_of(tmp_path / "model.pt").startswith("can't be read")


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"epoch": 3}, {"model": "resnet8"}])
def test_a_file_without_a_state_dict(content, tmp_path):
    torch.save(content, tmp_path / "x.pt")
    assert error_of(tmp_path / "x.pt") == "holds no state dict; save model.state_dict() alone"


def test_another_class_count(tmp_path):
    torch.save(make("resnet8", classes=100).state_dict(), tmp_path / "x.pt")
    assert error_of(tmp_path / "x.pt") == (
        "fc.weight is [100, 64] in the file but [10, 64] in the model; "
        "the file is for 100 classes, the data has 10"
    )


def test_another_width(tmp_path):
    torch.save(make("cifar_student", width=2).state_dict(), tmp_path / "x.pt")
    assert error_of(tmp_path / "x.pt", make("cifar_student")) == (
        "block1.0.weight is [32, 3, 3, 3] in the file but [16, 3, 3, 3] in the model; "
        "the file is of another architecture, width or image size"
    )


def test_a_deeper_model(trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / "x.pt")
    assert error_of(tmp_path / "x.pt", make("resnet20")) == (
        "layer1.1.conv1.weight is not in the file (and 59 more); it is of another architecture"
    )


def test_a_shallower_model(tmp_path):
    torch.save(make("resnet20").state_dict(), tmp_path / "x.pt")
    assert error_of(tmp_path / "x.pt").startswith(
        "layer1.1.conv1.weight is in the file but not in the model (and 71 more); "
    )


def test_one_tensor_too_many(trained, tmp_path):
    torch.save({**trained.state_dict(), "extra": torch.zeros(1)}, tmp_path / "x.pt")
    assert error_of(tmp_path / "x.pt") == (
        "extra is in the file but not in the model; it is of another architecture"
    )


def test_counters_of_batch_norms_may_be_missing(trained, tmp_path):
    state = {k: v for k, v in trained.state_dict().items() if "num_batches_tracked" not in k}
    save_file(state, tmp_path / "x.safetensors")
    model = make("resnet8")
    load_weights(model, str(tmp_path / "x.safetensors"), option="teacher.checkpoint")
    assert torch.equal(model.conv1.weight, trained.conv1.weight)
    del state["bn1.running_mean"]
    save_file(state, tmp_path / "y.safetensors")
    assert error_of(tmp_path / "y.safetensors").startswith("bn1.running_mean is not in the file;")


def test_versions_of_layers_stay_with_their_names(trained):
    state = rename(trained.state_dict(), lambda name: f"net.{name}")
    assert state._metadata["net.layer1.0.bn1"] == {"version": 2}
    again = rename(state, lambda name: without_prefix(name, "net."))
    assert list(again) == list(trained.state_dict())
    assert again._metadata["layer1.0.bn1"] == {"version": 2}
    assert without_prefix("net", "net.") == ""
    assert without_prefix("network.fc", "net.") == "network.fc"


def test_read_state_expands_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pt")
    assert read_state("~/x.pt", option="teacher.checkpoint")["a"].tolist() == [1, 1]
