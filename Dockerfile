# The server with its weights, its libraries, and nothing else: no shell, no package manager. Built on Debian 13, for its
# oneDNN 3.x.
FROM debian:trixie-slim AS build

COPY scripts/lib.sh scripts/setup /src/scripts/
RUN /src/scripts/setup build && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY CMakeLists.txt ./
COPY cmake cmake
COPY proto proto
COPY model model
COPY server server
COPY client client
# A newer compiler may warn of more: that is no reason to have no image.
RUN cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DVIT_BUILD_TESTS=OFF -DVIT_BUILD_BENCHMARKS=OFF -DVIT_WERROR=OFF \
    && cmake --build build

COPY scripts/image-root scripts/
COPY LICENSE THIRD_PARTY_NOTICES.md /image/usr/share/doc/mnist-vit/
COPY model/weights /image/usr/share/mnist-vit/model
# A checkout may be readable by its owner only.
RUN scripts/image-root /image build/bin/vit-server build/bin/vit-client && chmod --recursive a+rX /image


FROM scratch

LABEL org.opencontainers.image.title="mnist-vit" \
      org.opencontainers.image.description="gRPC inference server for a Vision Transformer of MNIST digits" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --from=build /image /

ENV PATH=/usr/bin VIT_MODEL=/usr/share/mnist-vit/model/mnist-vit.safetensors
USER 10001:10001
EXPOSE 50051 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["vit-client", "health"]
ENTRYPOINT ["vit-server"]
