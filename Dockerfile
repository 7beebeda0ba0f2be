# The server with its weights. Debian 13, for its oneDNN 3.x; both stages are of one release, so the libraries match.
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
RUN cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DVIT_BUILD_TESTS=OFF -DVIT_BUILD_BENCHMARKS=OFF \
    && cmake --build build \
    && strip build/bin/vit-server build/bin/vit-client


FROM debian:trixie-slim

LABEL org.opencontainers.image.title="mnist-vit" \
      org.opencontainers.image.description="gRPC inference server for a Vision Transformer of MNIST digits" \
      org.opencontainers.image.licenses="Apache-2.0"

RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get update \
    && apt-get install --yes --quiet=2 --no-install-recommends \
       libabsl20240722 libcpp-httplib0.18 libdnnl3.6 libgomp1 libgrpc++1.51t64 libhwy1t64 libpng16-16t64 libprometheus-cpp-core1.0 \
       libprotobuf32t64 zlib1g \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin vit

COPY model/weights /usr/share/mnist-vit/model
COPY LICENSE THIRD_PARTY_NOTICES.md /usr/share/doc/mnist-vit/
COPY --from=build /src/build/bin/vit-server /src/build/bin/vit-client /usr/bin/
# A checkout may be readable by its owner only. The second command fails when a library of the list above is missing.
RUN chmod -R a+rX /usr/share/mnist-vit && ! { ldd /usr/bin/vit-server; ldd /usr/bin/vit-client; } | grep 'not found'

ENV VIT_MODEL=/usr/share/mnist-vit/model/mnist-vit.safetensors
USER 10001:10001
EXPOSE 50051 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["vit-client", "health"]
ENTRYPOINT ["vit-server"]
