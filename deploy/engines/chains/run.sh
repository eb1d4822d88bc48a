#!/usr/bin/env bash
# One chain node on regtest without a container, for development and tests.
#
#   run.sh KIND fetch | start | stop | kill9 | pause | resume | wipe | status | mine [N] | rpc METHOD [JSON-PARAMS]
#
#   KIND          bitcoind (Bitcoin Knots, Bitcoin Core's code) or litecoind (Litecoin Core): Debian packages, unpacked
#                 aside; btcd or ltcd: built with Go
#   CHAIN_PORT    JSON-RPC on 127.0.0.1: 18443, 19443, 18556, 19556; peers connect at the next port.
#                 User `eschaton`, password `eschaton-secret`
#   CHAIN_NAME    instance below ENGINE_HOME, KIND-CHAIN_PORT: several nodes may run side by side
#   CHAIN_ARGS    more options for the node; for example -prune=1 instead of CHAIN_INDEX=1
#   CHAIN_INDEX   1: an index of all transactions; 0: none. 1
#   CHAIN_MWEB    1: litecoind with its extension blocks (MWEB) as on mainnet. Block 432 of regtest cannot be mined
#                 then before the wallet has sent into the extension at height 431. 0
#   ENGINE_HOME   where programs, data and logs are kept, ${XDG_CACHE_HOME:-$HOME/.cache}/eschaton-engines
set -euo pipefail

kind=${1:-}
case "$kind" in
  bitcoind) default_port=18443 ;;
  litecoind) default_port=19443 ;;
  btcd) default_port=18556 ;;
  ltcd) default_port=19556 ;;
  *)
    sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 2
    ;;
esac
port=${CHAIN_PORT:-$default_port}
home=${ENGINE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/eschaton-engines}
programs=$home/chains
run=$home/${CHAIN_NAME:-$kind-$port}
pid_file=$run/pid
user=eschaton
password=eschaton-secret
index=${CHAIN_INDEX:-1}
# P2WPKH of the secret key 0x0101…01. Whoever tests can spend it.
miner_bitcoin=bcrt1q0xcqpzrky6eff2g52qdye53xkk9jxkvrl4xfg5
miner_litecoin=rltc1q0xcqpzrky6eff2g52qdye53xkk9jxkvrpcuql2
case "$kind" in
  bitcoind | btcd) miner=$miner_bitcoin ;;
  *) miner=$miner_litecoin ;;
esac
engine=$kind what=node self="$0 $kind"
# shellcheck source=deploy/engines/process.sh
. "$(dirname "${BASH_SOURCE[0]}")/../process.sh"

# rpc METHOD [JSON-PARAMS]: the node's answer as it came.
rpc() {
  curl -sS -m 60 -u "$user:$password" -H 'content-type: application/json' \
    -d "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"$1\",\"params\":${2:-[]}}" "http://127.0.0.1:$port/"
  echo
}

# unpack SUITE PACKAGE PROGRAM…: the package of this Debian release with its libraries, below $programs/SUITE, and a
# starter for each program that uses them. Nothing of the system is touched.
unpack() {
  local suite=$1 package=$2 at=$programs/$1 mirror options libraries
  shift 2
  command -v apt-get >/dev/null || fail "there is no apt-get; install $package by other means and put $kind on PATH"
  mirror=$({ cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null || true; } |
    sed -n -e 's/^URIs: *\([^ ]*\).*/\1/p' -e 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\).*/\2/p' | head -n 1)
  [ -n "$mirror" ] || fail "apt has no mirror of Debian; install $package by other means and put $kind on PATH"
  mkdir -p "$at"/lists/partial "$at"/cache/archives/partial "$at"/packages "$at/root"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$at/sources.list"
  options=(-qq -o "Dir::Etc::sourcelist=$at/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$at/lists"
    -o "Dir::Cache=$at/cache" -o Dir::State::status=/dev/null)
  apt-get "${options[@]}" update || fail "the lists of $suite at $mirror could not be fetched"
  libraries=$(apt-cache "${options[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances "$package" | grep -E '^lib[a-z0-9.+-]*$' |
    grep -vE '^lib(systemd|pam|selinux|audit|cap-ng|mount|blkid|fdisk|smartcols|uuid|seccomp|apparmor|text-)' | sort -u)
  (
    cd "$at/packages"
    # shellcheck disable=SC2086  # a list of words
    apt-get "${options[@]}" download "$package" $libraries 2>/dev/null || true
    ls "${package}"_*.deb >/dev/null 2>&1 || fail "$package is not in $suite of the mirror"
    for archive in *.deb; do dpkg-deb -x "$archive" "$at/root"; done
  )
  mkdir -p "$programs/bin"
  local program libs loader binary
  libs=$(find "$at/root" -name 'libc.so.6' -printf '%h\n' | head -n 1)
  loader=$(find "$at/root" -name 'ld-linux-*.so.*' | head -n 1)
  for program in "$@"; do
    # Some packages keep the program elsewhere and have a starter in bin that writes to the user's home.
    binary=$(find "$at/root/usr/lib" -path "*/$program" -type f | head -n 1)
    printf '#!/bin/sh\nexec "%s" --library-path "%s:%s" "%s" "$@"\n' "$loader" "$libs" \
      "$at/root/usr/lib/$(basename "$libs")" "${binary:-$at/root/usr/bin/$program}" >"$programs/bin/$program.new"
    chmod +x "$programs/bin/$program.new"
    "$programs/bin/$program.new" --version >/dev/null || fail "$program does not run"
    mv "$programs/bin/$program.new" "$programs/bin/$program"
  done
  rm -rf "$at/cache" "$at/packages" "$at/lists"
}

# The node's program: the fetched one, else one that is installed.
program() {
  if [ -x "$programs/bin/$kind" ]; then echo "$programs/bin/$kind"; else command -v "$kind"; fi
}

# fetch: gets the node's program unless it is there.
fetch() {
  if ! program >/dev/null; then
    case "$kind" in
      bitcoind) unpack sid bitcoin-knots bitcoind ;;
      litecoind) unpack bookworm litecoind litecoind ;;
      btcd | ltcd)
        command -v go >/dev/null || fail "there is no Go; install 1.22 or newer: apt-get install golang-go"
        mkdir -p "$programs/bin"
        local module=github.com/btcsuite/btcd@v0.26.2
        [ "$kind" = btcd ] || module=github.com/ltcsuite/ltcd@v0.23.6
        GOBIN=$programs/bin go install "$module" || fail "go could not fetch or build $module; its reason is above"
        ;;
    esac
  fi
  "$(program)" --version | head -n 1
}

# start: starts the node and waits until it answers (60 s at most).
start() {
  running && fail "a node runs from $run already, process $(cat "$pid_file")"
  program >/dev/null || fetch
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && fail "port $port is taken; set CHAIN_PORT to another"
  mkdir -p "$run/data"
  local options
  case "$kind" in
    bitcoind | litecoind)
      options=(-regtest "-datadir=$run/data" -server "-rpcuser=$user" "-rpcpassword=$password" "-rpcport=$port"
        "-port=$((port + 1))" "-bind=127.0.0.1:$((port + 1))" -listenonion=0 -discover=0 -dnsseed=0
        -fallbackfee=0.0001 -acceptnonstdtxn=0)
      [ "$index" = 1 ] && options+=(-txindex)
      if [ "$kind" = litecoind ] && [ "${CHAIN_MWEB:-0}" != 1 ]; then
        options+=(-vbparams=mweb:9999999998:9999999999)
      fi
      ;;
    btcd | ltcd)
      options=(-C /dev/null --regtest "--datadir=$run/data" "--logdir=$run/log" -u "$user" -P "$password"
        "--rpclisten=127.0.0.1:$port" "--listen=127.0.0.1:$((port + 1))" --notls --nodnsseed --rejectnonstd
        --limitfreerelay=0 "--miningaddr=$miner")
      [ "$index" = 1 ] && options+=(--txindex)
      ;;
  esac
  # shellcheck disable=SC2206  # options are words
  options+=(${CHAIN_ARGS:-})
  nohup "$(program)" "${options[@]}" >"$run/node.log" 2>&1 </dev/null &
  echo $! >"$pid_file"
  for _ in $(seq 1 240); do
    running || { tail -n 30 "$run/node.log" >&2; fail "the node ended while starting; its last lines are above"; }
    if rpc getblockcount 2>/dev/null | grep -q '"result":[0-9]'; then
      echo "127.0.0.1:$port, process $(cat "$pid_file"), in $run"
      return
    fi
    sleep 0.25
  done
  fail "the node does not answer on port $port after 60 s; see $run/node.log"
}

# wipe: deletes this instance's data and logs. Programs stay.
wipe() {
  running && fail "a node runs from $run; stop it first: $0 $kind stop"
  rm -rf "$run"
}

# status: says whether the node runs and where its chain ends; fails if it does not run.
status() {
  need_running
  echo "127.0.0.1:$port, process $(cat "$pid_file"), in $run"
  rpc getbestblockhash
}

# mine N: blocks to the miner's key.
mine() {
  case "$kind" in
    btcd | ltcd) rpc generate "[${1:-1}]" ;;
    *) rpc generatetoaddress "[${1:-1},\"$miner\"]" ;;
  esac
}

verb=${2:-}
case "$verb" in
  fetch | start | stop | kill9 | pause | resume | wipe | status) "$verb" ;;
  mine) mine "${3:-1}" ;;
  rpc) rpc "${3:?a method}" "${4:-[]}" ;;
  *)
    sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 2
    ;;
esac
