#!/usr/bin/env bash
# The stock OpenTimestamps client in a Python environment of its own, for tests against it. Nothing of the system is touched.
#
#   run.sh fetch | path
#
#   fetch         gets it from PyPI unless it is there, and prints where it is; needs Python 3 with venv
#   path          prints where it is
#   ENGINE_HOME   where it is kept, ${XDG_CACHE_HOME:-$HOME/.cache}/eschaton-engines
set -euo pipefail

version=0.7.2
home=${ENGINE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/eschaton-engines}/ots-client-$version

fail() {
  echo "ots: $1" >&2
  exit 1
}

works() {
  [ -x "$home/bin/ots" ] && "$home/bin/ots" --version 2>/dev/null | grep -qx "v$version"
}

case "${1:-}" in
  fetch)
    if ! works; then
      command -v python3 >/dev/null || fail "there is no Python 3; install it: apt-get install python3-venv"
      rm -rf "$home"
      python3 -m venv "$home" >&2 || fail "Python cannot make an environment; install it: apt-get install python3-venv"
      "$home/bin/pip" install --quiet --disable-pip-version-check "opentimestamps-client==$version" \
        "opentimestamps==0.4.5" >&2 || fail "the client could not be fetched from PyPI; the reason is above"
      works || fail "the client was fetched and does not run; the reason: $("$home/bin/ots" --version 2>&1 | tail -n 1)"
    fi
    echo "$home/bin/ots"
    ;;
  path)
    works || fail "the client is not there; run $0 fetch"
    echo "$home/bin/ots"
    ;;
  *)
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 2
    ;;
esac
