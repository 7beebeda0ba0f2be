# Shared by the scripts of this folder; sourced, never run. It answers --help with the script's opening comment, and
# moves to the top of the source tree.
# shellcheck shell=bash
set -euo pipefail

case ${1:-} in
  -h | --help)
    sed -n '2,/^[^#]*$/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
mkdir -p build
# Tools that scripts/setup puts into the tree come before the system's.
export PATH="$ROOT/build/deps/bin:$PATH:/usr/sbin:/sbin"

log() { printf '==> %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Runs a command as root.
as_root() {
  if [[ $(id -u) -eq 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo --preserve-env=DEBIAN_FRONTEND "$@"
  else
    die "'$1' needs root: run this as root or install sudo"
  fi
}

# Prints the project's Python files, each ended by a zero byte.
python_files() {
  {
    git ls-files '*.py'
    git grep -lE '^#!/usr/bin/env python3' -- scripts
  } | sort -u | tr '\n' '\0'
}

# python_venv NAME: brings the virtual environment build/NAME-venv to what tests/benchmarks/requirements-NAME.txt asks for;
# fails if that can't be had here.
python_venv() {
  local venv=build/$1-venv requirements=tests/benchmarks/requirements-$1.txt
  cmp --silent "$requirements" "$venv/requirements.txt" && return
  log "installing $requirements"
  # The system's Python, whatever else the path may find: it is the one that scripts/setup installs.
  /usr/bin/python3 -m venv "$venv" &&
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements" &&
    cp "$requirements" "$venv/requirements.txt"
}

# start_server LOG [COMMAND...]: starts vit-server (or COMMAND) on ports of the system's choice and waits until it
# accepts calls. Sets SERVER_PID, GRPC_ADDRESS and HTTP_ADDRESS.
start_server() {
  local logfile=$1
  shift
  if [[ $# -eq 0 ]]; then
    set -- build/release/bin/vit-server --address=127.0.0.1:0 --http_address=127.0.0.1:0 --admin_address= \
      --debug_address= --lame_duck_seconds=0
  fi
  : >"$logfile"
  "$@" 2>"$logfile" &
  SERVER_PID=$!
  wait_for_server "$logfile"
}

# Waits until the server of SERVER_PID says in its log where it listens.
wait_for_server() {
  local logfile=$1 deadline=$((SECONDS + 60))
  while ((SECONDS < deadline)); do
    GRPC_ADDRESS=$(sed -n 's/.*gRPC listening on \([^ "]*\).*/\1/p' "$logfile" | head -n 1)
    HTTP_ADDRESS=$(sed -n 's/.*HTTP listening on \([^ "]*\).*/\1/p' "$logfile" | head -n 1)
    if [[ -n $GRPC_ADDRESS && -n $HTTP_ADDRESS ]]; then
      # A server on all interfaces is reached by the loopback one.
      GRPC_ADDRESS=${GRPC_ADDRESS/#0.0.0.0:/127.0.0.1:}
      HTTP_ADDRESS=${HTTP_ADDRESS/#0.0.0.0:/127.0.0.1:}
      if curl --silent --fail --output /dev/null "http://$HTTP_ADDRESS/readyz"; then
        return
      fi
    fi
    if ! kill -0 "$SERVER_PID" 2>/dev/null; then
      cat "$logfile" >&2
      die "the server ended before it was ready"
    fi
    sleep 0.1
  done
  cat "$logfile" >&2
  die "the server was not ready after 60 s"
}

# Asks the server to stop and fails unless it ends with exit code 0.
stop_server() {
  local code=0
  kill -TERM "$SERVER_PID"
  wait "$SERVER_PID" || code=$?
  SERVER_PID=
  [[ $code -eq 0 ]] || die "the server ended with exit code $code after SIGTERM, expected 0"
}
