# What scripts/image and scripts/image-test share; sourced after scripts/lib.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034  # used by the scripts that source this

IMAGE=localhost/mnist-vit:latest
BASE_IMAGE=docker.io/library/debian:trixie-slim
IMAGE_DIR=$ROOT/build/image

docker_answers() { docker info >/dev/null 2>&1; }

# buildah with a storage of its own under build/, and without a need for namespaces or an overlay file system.
BUILDAH=(env BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs buildah --root "$IMAGE_DIR/storage" --runroot "$IMAGE_DIR/run")
buildah() { "${BUILDAH[@]}" "$@"; }

# Prints the size of the image, or nothing if there is none.
image_size() {
  if docker_answers; then
    docker image inspect --format '{{.Size}}' "$IMAGE"
  else
    buildah images --json "$IMAGE" | sed -n 's/^ *"size": "\(.*\)",*$/\1/p' | head -n 1
  fi
}
