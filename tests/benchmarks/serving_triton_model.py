"""The model as Triton's Python backend runs it: a batch is a list of requests. See serving_triton.py."""

import json
import sys
from typing import Any

import numpy as np
import triton_python_backend_utils as backend


class TritonPythonModel:
    """One instance of the model, in a process of its own. The names are those that Triton asks for."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        sys.path.insert(0, parameters["sources"]["string_value"])
        from serving_model import Model

        self.model = Model(parameters["model"]["string_value"])

    def execute(self, requests: list[Any]) -> list[Any]:
        images = [backend.get_input_tensor_by_name(request, "image").as_numpy() for request in requests]
        results = self.model.run_pixels(np.concatenate(images))
        parts = np.split(results, np.cumsum([len(each) for each in images])[:-1])
        return [backend.InferenceResponse([backend.Tensor("probabilities", part)]) for part in parts]
