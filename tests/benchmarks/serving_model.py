"""The network on ONNX Runtime, for the servers in Python that vit-server is measured against."""

import numpy as np
import onnxruntime

MAX_BATCH = 32
# Of the training images; the network takes (pixel / 255 - mean) / deviation.
MEAN, DEVIATION = 0.1307, 0.3081
SCALE, SHIFT = np.float32(1 / 255 / DEVIATION), np.float32(MEAN / DEVIATION)


class Model:
    """The network: pixels in, probabilities out. Thread-safe."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        for size in range(1, MAX_BATCH + 1):
            self.run([bytes(28 * 28)] * size)

    def run(self, images: list[bytes]) -> np.ndarray:
        return self.run_pixels(np.frombuffer(b"".join(images), np.uint8))

    def run_pixels(self, pixels: np.ndarray) -> np.ndarray:
        pixels = pixels.reshape(-1, 1, 28, 28)
        (logits,) = self.session.run(None, {self.input: (pixels.astype(np.float32) * SCALE - SHIFT)})
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
