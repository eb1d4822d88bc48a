#!/usr/bin/env bash
# Apache Cassandra 5.0.6 for tests, without containers.
#
# usage: [NODE=1..3] run.sh VERB
#   fetch    gets the server's libraries from the Maven registry, once; about 70 MB
#   start    starts a node and waits until it takes connections
#   stop     ends it in order and waits for that
#   kill9    ends it as a crash would; with CQL_SYNC=batch, what it had acknowledged is there at the next start
#   pause    stops its clock (SIGSTOP): connections stay open and nobody answers
#   resume   lets it go on after pause
#   wipe     deletes a stopped node's data
#   status   says whether it runs and answers; exit code 0 when it answers
#
# NODE 1 to 3 make a ring at 127.0.0.1 to 127.0.0.3; start 1 first, for it is the seed. Environment:
#   CQL_PORT          where clients connect; default 19042
#   CQL_STORAGE_PORT  between nodes; default CQL_PORT - 2042. The port above it is taken too
#   CQL_AUTH          password (default; user cassandra, password cassandra) or none. In a ring the logins
#                     have one replica: use none where nodes are killed
#   CQL_SYNC          when a write is acknowledged: batch (default), once it is on the disk; periodic, before,
#                     which is faster and loses up to 100 ms of acknowledged writes at kill9
#   CQL_TLS           1: clients may encrypt, on the same port; the authority's certificate is tls/ca.pem in the
#                     node's directory, which `status` names. Default 0
#   ENGINE_HOME       where libraries and data are kept; default ~/.cache/eschaton-engines
#   JAVA_HOME         a Java 17, unless `java` is one
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
node=${NODE:-1}
port=${CQL_PORT:-19042}
storage_port=${CQL_STORAGE_PORT:-$((port - 2042))}
auth=${CQL_AUTH:-password}
sync=${CQL_SYNC:-batch}
tls=${CQL_TLS:-0}
root=${ENGINE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/eschaton-engines}/cassandra
lib=$root/lib
home=$root/port-$port/node-$node
address=127.0.0.$node
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

fail() {
  echo "run.sh: $*" >&2
  exit 1
}

case $node in
  1) token=-9223372036854775808 ;;
  2) token=-3074457345618258603 ;;
  3) token=3074457345618258602 ;;
  *) fail "NODE is $node; a ring has nodes 1 to 3" ;;
esac

# The process, if it lives and is the one that was started here.
pid() {
  local pid
  pid=$(cat "$home/pid" 2>/dev/null) || return 1
  tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF -- "-Dcassandra.storagedir=$home" || return 1
  echo "$pid"
}

running() {
  pid || fail "node $node does not run; its data is in $home"
}

answers() {
  (exec 3<>"/dev/tcp/$address/$port") 2>/dev/null
}

need_java() {
  local version
  version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p') || true
  [ "$version" = 17 ] || fail "Cassandra 5.0 needs Java 17, and '$java' is ${version:+Java }${version:-not there};" \
    "install Debian's openjdk-17-jre-headless, or set JAVA_HOME"
}

fetch() {
  command -v mvn >/dev/null || fail "Maven is missing; install Debian's maven"
  need_java
  mkdir -p "$lib"
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$lib" -DincludeScope=runtime
  echo "$(find "$lib" -name '*.jar' | wc -l) libraries in $lib"
}

# An authority and the node's certificate for its address and localhost, of throw-away keys; once for each node.
certificates() {
  local dir=$home/tls
  [ -f "$dir/node.p12" ] && return
  command -v openssl >/dev/null || fail "CQL_TLS needs openssl; install Debian's openssl"
  mkdir -p "$dir"
  openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=eschaton test authority" \
    -keyout "$dir/ca.key" -out "$dir/ca.pem" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout "$dir/node.key" -out "$dir/node.csr" 2>/dev/null
  openssl x509 -req -in "$dir/node.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -days 3650 \
    -extfile <(printf 'subjectAltName=DNS:localhost,IP:%s' "$address") -out "$dir/node.pem" 2>/dev/null
  openssl pkcs12 -export -in "$dir/node.pem" -inkey "$dir/node.key" -certfile "$dir/ca.pem" \
    -passout pass:eschaton-secret -out "$dir/node.p12"
}

settings() {
  local authenticator=AllowAllAuthenticator authorizer=AllowAllAuthorizer sync_period=
  case $auth in
    password) authenticator=PasswordAuthenticator authorizer=CassandraAuthorizer ;;
    none) ;;
    *) fail "CQL_AUTH is $auth; it is password or none" ;;
  esac
  case $sync in
    batch) ;;
    # The server refuses a period that its mode does not use.
    periodic) sync_period='commitlog_sync_period: 1000ms' ;;
    *) fail "CQL_SYNC is $sync; it is batch or periodic" ;;
  esac
  local encrypts=false
  [ "$tls" = 0 ] || encrypts=true
  sed -e "s#@TLS@#$encrypts#g" -e "s#@HOME@#$home#g" -e "s#@ADDRESS@#$address#g" -e "s#@SEED@#127.0.0.1#g" -e "s#@TOKEN@#$token#g" \
    -e "s#@CQL_PORT@#$port#g" -e "s#@STORAGE_PORT@#$storage_port#g" \
    -e "s#@SSL_STORAGE_PORT@#$((storage_port + 1))#g" \
    -e "s#@SYNC@#$sync#g" -e "s#@SYNC_PERIOD@#$sync_period#g" \
    -e "s#@AUTHENTICATOR@#$authenticator#g" -e "s#@AUTHORIZER@#$authorizer#g" "$here/cassandra.yaml"
}

start() {
  local jamm ring_delay=0 started=$SECONDS
  need_java
  jamm=$(find "$lib" -name 'jamm-*.jar' 2>/dev/null | head -n 1)
  [ -n "$jamm" ] || fail "the server's libraries are not in $lib; run '$0 fetch' first"
  if pid >/dev/null; then fail "node $node runs already, process $(pid)"; fi
  if answers; then fail "something else listens at $address:$port; choose another CQL_PORT"; fi
  [ "$node" = 1 ] || ring_delay=5000
  mkdir -p "$home"
  [ "$tls" = 0 ] || certificates
  settings >"$home/cassandra.yaml"
  cd "$home"
  nohup "$java" "@$here/jvm.args" "-javaagent:$jamm" \
    "-Dcassandra.config=file://$home/cassandra.yaml" "-Dcassandra.storagedir=$home" \
    "-Dcassandra.logdir=$home/logs" "-Dcassandra.ring_delay_ms=$ring_delay" \
    "-Dlogback.configurationFile=$here/logback.xml" \
    -cp "$lib/*" org.apache.cassandra.service.CassandraDaemon >"$home/out.log" 2>&1 </dev/null &
  local child=$!
  echo "$child" >"$home/pid"
  while ! answers; do
    kill -0 "$child" 2>/dev/null || { tail -n 40 "$home/out.log" >&2; fail "node $node ended while starting"; }
    [ $((SECONDS - started)) -lt 180 ] || fail "node $node does not answer after 180 s; see $home/out.log"
    sleep 0.5
  done
  echo "node $node answers at $address:$port after $((SECONDS - started)) s, process $child"
}

stop() {
  local pid
  pid=$(running)
  kill -CONT "$pid"
  kill "$pid"
  gone "$pid"
}

gone() {
  local waited=0
  while kill -0 "$1" 2>/dev/null; do
    [ $((waited += 1)) -lt 600 ] || fail "process $1 does not end; see $home/out.log, or use kill9"
    sleep 0.2
  done
  rm -f "$home/pid"
}

case ${1:-} in
  fetch) fetch ;;
  start) start ;;
  stop) stop ;;
  kill9)
    pid=$(running)
    kill -KILL "$pid"
    gone "$pid"
    ;;
  pause) kill -STOP "$(running)" ;;
  resume) kill -CONT "$(running)" ;;
  wipe)
    if pid >/dev/null; then fail "node $node runs; stop it first"; fi
    rm -rf "$home"
    ;;
  status)
    pid=$(running)
    answers || fail "node $node is process $pid and takes no connections at $address:$port"
    echo "node $node is process $pid and takes connections at $address:$port; it is kept in $home"
    ;;
  *)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
    ;;
esac
