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

# Prints how many bytes the image has when it is unpacked; fails if there is none.
image_size() {
  local sizes size
  if docker_answers; then
    # Its layers: what `docker image inspect` says is the packed size in some of Docker's stores.
    sizes=$(docker history --human=false --format '{{.Size}}' "$IMAGE") || return
    size=$((${sizes//$'\n'/+}))
  else
    # Such as "81.3 MB".
    sizes=$(buildah images --json "$IMAGE") || return
    size=$(sed -n 's/^ *"size": "\([0-9.]*\) \(.\)B",*$/\1\2/p' <<<"$sizes" | head -n 1)
    size=$(numfmt --from=si "${size^^}")
  fi
  echo "$size"
}
