"""Classifies the first image of the MNIST test set.

Needs `pip install grpcio-tools`. Run from the top of the source tree.
"""

import gzip
import sys

import grpc

# Makes the messages and the stub of the .proto file while the program runs.
sys.path.insert(0, "proto")
messages, services = grpc.protos_and_services("vit/v1/classifier.proto")

with gzip.open("tests/data/mnist/t10k-images-idx3-ubyte.gz") as file:
    image = file.read(16 + 28 * 28)[16:]  # behind the header, 784 bytes

with grpc.insecure_channel("localhost:50051") as channel:
    classifier = services.ClassifierStub(channel)
    answer = classifier.Classify(messages.ClassifyRequest(image=image), timeout=5)
print(f"{answer.label} ({answer.confidence:.1%}), computed in {answer.timing.inference_seconds * 1e6:.0f} us")
