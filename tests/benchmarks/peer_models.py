"""The networks that engines are measured on, and their files in the forms that the peers load."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "model/weights/mnist-vit.safetensors"
FILES = ROOT / "build/peers"
CHECKED_IMAGES = 256
CALIBRATION_IMAGES = 288
# The trained model: the one whose answers can be compared with the server's.
TRAINED_TOKENS = 17

sys.path.insert(0, str(ROOT / "model/training"))


@dataclasses.dataclass(frozen=True)
class Case:
    """A network, known by its number of tokens, and how many images it gets at once."""

    tokens: int
    batch: int

    def __str__(self) -> str:
        return f"{self.tokens}/{self.batch}"

    def file(self, name: str) -> pathlib.Path:
        """Where this case's file for a peer is."""
        return FILES / f"{self.tokens}-{self.batch}.{name}"


CASES = [Case(17, 1), Case(17, 8), Case(17, 32), Case(50, 1), Case(50, 32), Case(197, 1)]


@functools.cache
def network(tokens: int):
    """Returns the PyTorch model: trained weights for 17 tokens, else random ones of vit-bench's shapes."""
    import torch
    from safetensors import safe_open
    from vit import VisionTransformer, VitConfig

    torch.manual_seed(tokens)
    if tokens == TRAINED_TOKENS:
        with safe_open(WEIGHTS, framework="pt") as file:
            model = VisionTransformer(VitConfig(**json.loads(file.metadata()["vit.config"])))
            # The file also holds scales for int8, which are not PyTorch's.
            model.load_state_dict({name: file.get_tensor(name) for name in model.state_dict()})
    elif tokens == 50:
        model = VisionTransformer(VitConfig(patch_size=4))
    elif tokens == 197:
        shape = {"image_size": 224, "channels": 3, "patch_size": 16, "width": 192, "depth": 12, "heads": 3}
        model = VisionTransformer(VitConfig(**shape, mlp_width=768, classes=1000))
    else:
        raise ValueError(f"there is no network of {tokens} tokens; expected 17, 50 or 197")
    assert model.config.tokens == tokens
    return model.eval()


@functools.cache
def test_images() -> np.ndarray:
    """Returns the test images of MNIST, u8 [N, 28, 28]."""
    import data

    return data.load(ROOT / "tests/data/mnist", "t10k")[0].numpy()


def inputs(tokens: int, first: int, count: int) -> np.ndarray:
    """Returns normalised f32 [N, C, H, W]: MNIST's test images, or noise where the network asks for larger ones."""
    config = network(tokens).config
    if config.image_size != 28:
        shape = (count, config.channels, config.image_size, config.image_size)
        return np.random.default_rng(first).standard_normal(shape, np.float32)
    import data
    import torch

    return data.normalise(torch.from_numpy(test_images()[first : first + count])).numpy()


def reference_logits(tokens: int, count: int) -> np.ndarray:
    """Returns what PyTorch answers to the first `count` inputs."""
    import torch

    with torch.inference_mode():
        return network(tokens)(torch.from_numpy(inputs(tokens, 0, count))).numpy()


def _export_onnx(case: Case) -> None:
    import torch

    example = torch.from_numpy(inputs(case.tokens, 0, case.batch))
    names = {"input_names": ["images"], "output_names": ["logits"]}
    file = case.file("onnx")
    torch.onnx.export(network(case.tokens), (example,), file, dynamo=True, external_data=False, verbose=False, **names)


def _quantise_onnx(case: Case) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(case.file("onnx"), case.file("int8.onnx"))


def _quantise_openvino(case: Case) -> None:
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    # Behind the images of the check. Noise of ViT-Ti's size comes dearer, and its answers mean nothing.
    batches = max(1, (CALIBRATION_IMAGES if case.tokens < 197 else 8) // case.batch)
    images = [inputs(case.tokens, CHECKED_IMAGES + i * case.batch, case.batch) for i in range(batches)]
    quantised = nncf.quantize(
        openvino.convert_model(case.file("onnx")),
        nncf.Dataset(images),
        subset_size=batches,
        model_type=nncf.ModelType.TRANSFORMER,
    )
    openvino.save_model(quantised, case.file("int8.xml"), compress_to_fp16=False)


def write_files(case: Case, names: set[str]) -> None:
    """Writes those files of a case that are named, such as "int8.onnx"; what the tools say goes to a log."""
    FILES.mkdir(parents=True, exist_ok=True)
    makers = {"onnx": _export_onnx, "int8.onnx": _quantise_onnx, "int8.xml": _quantise_openvino}
    with (FILES / "files.log").open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        for name, make in makers.items():
            if name in names or (name == "onnx" and names):
                make(case)
