#!/usr/bin/env bash
# One Apache Kafka broker without a container, for development and tests.
#
#   run.sh fetch | start | stop | kill9 | pause | resume | wipe | status | acl OPTIONS of kafka-acls
#
#   KAFKA_PORT    plaintext listener on 127.0.0.1, 29092; the controller takes the next port
#   KAFKA_ADVERTISED  port on 127.0.0.1 where plaintext clients are told to connect, KAFKA_PORT; for a proxy in front
#   KAFKA_SECURE  1: also SASL/SCRAM on port + 10, TLS on port + 11, SASL/SCRAM over TLS on port + 12;
#                 decided when the data directory is made. User `eschaton`, password `eschaton-secret`, may do
#                 everything, as may who needs no login; user `stranger` of the same password has the rights that it is
#                 given: none
#   ENGINE_HOME   where jars, data and logs are kept, ${XDG_CACHE_HOME:-$HOME/.cache}/eschaton-engines
#   KAFKA_NAME    instance below it, kafka-$KAFKA_PORT: several brokers may run side by side
#   KAFKA_DATA    where it keeps its data, `data` in the instance's directory; for example a small file system
#   KAFKA_HEAP    512m
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
port=${KAFKA_PORT:-29092}
advertised=${KAFKA_ADVERTISED:-$port}
home=${ENGINE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/eschaton-engines}
jars=$home/kafka-jars
run=$home/${KAFKA_NAME:-kafka-$port}
data=${KAFKA_DATA:-$run/data}
pid_file=$run/pid
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
password=eschaton-secret
engine=kafka what=broker self=$0
# shellcheck source=deploy/engines/process.sh
. "$here/../process.sh"

# Java 17 or newer, as Kafka 4 demands it.
need_java() {
  command -v "$java" >/dev/null || fail "there is no Java; install one of 17 or newer: apt-get install openjdk-17-jre-headless"
  local major
  major=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
  [ "${major:-0}" -ge 17 ] || fail "Java ${major:-of an unknown version} is too old; apt-get install openjdk-17-jre-headless, or set JAVA_HOME"
}

# Runs one of Kafka's Java classes with the arguments that follow.
kafka() {
  # shellcheck disable=SC2086  # options are words
  "$java" ${java_options:-} "-Dlog4j2.configurationFile=file:$here/log4j2.properties" "-Dkafka.logs.dir=$run" -cp "$jars/*" "$@"
}

# fetch: copies the broker's jars (54 MB) from the Maven repository; a second call has nothing to do.
fetch() {
  need_java
  command -v mvn >/dev/null || fail "there is no Maven; apt-get install maven"
  mkdir -p "$jars"
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$jars" -DincludeScope=runtime
  echo "$(find "$jars" -name '*.jar' | wc -l) jars in $jars"
}

# A certificate authority and a broker's certificate for 127.0.0.1 and localhost, both of a throw-away key.
certificates() {
  command -v openssl >/dev/null || fail "there is no openssl; apt-get install openssl"
  local tls=$run/tls
  mkdir -p "$tls"
  openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=eschaton test authority" \
    -keyout "$tls/ca.key" -out "$tls/ca.pem" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout "$tls/broker.key" -out "$tls/broker.csr" 2>/dev/null
  openssl x509 -req -in "$tls/broker.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -CAcreateserial -days 3650 \
    -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1') -out "$tls/broker.pem" 2>/dev/null
  openssl pkcs12 -export -in "$tls/broker.pem" -inkey "$tls/broker.key" -certfile "$tls/ca.pem" \
    -passout "pass:$password" -out "$tls/broker.p12"
}

# Writes the broker's configuration for this port, with the secure listeners if they were asked for.
configure() {
  local names="PLAINTEXT://127.0.0.1:$port" protocols="CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"
  sed -e "s#@DATA@#$data#" -e "s#@PORT@#$port#" -e "s#@CONTROLLER_PORT@#$((port + 1))#" \
    "$here/server.properties" >"$run/server.properties"
  if [ -d "$run/tls" ]; then
    names="$names,SASL_PLAINTEXT://127.0.0.1:$((port + 10)),SSL://127.0.0.1:$((port + 11)),SASL_SSL://127.0.0.1:$((port + 12))"
    protocols="$protocols,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL"
    cat >>"$run/server.properties" <<-END
		sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
		listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
		listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
		listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
		listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
		authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
		super.users=User:ANONYMOUS;User:eschaton
		ssl.keystore.type=PKCS12
		ssl.keystore.location=$run/tls/broker.p12
		ssl.keystore.password=$password
		ssl.key.password=$password
	END
  fi
  cat >>"$run/server.properties" <<-END
	listeners=$names,CONTROLLER://127.0.0.1:$((port + 1))
	advertised.listeners=${names/:$port/:$advertised},CONTROLLER://127.0.0.1:$((port + 1))
	listener.security.protocol.map=$protocols
	END
}

# Makes the data directory of a cluster of one, with the SCRAM users that secure listeners need.
format() {
  local users=() id
  if [ "${KAFKA_SECURE:-0}" = 1 ]; then
    certificates
    users=(--add-scram "SCRAM-SHA-256=[name=eschaton,password=$password]"
      --add-scram "SCRAM-SHA-512=[name=eschaton,password=$password]"
      --add-scram "SCRAM-SHA-512=[name=stranger,password=$password]")
  fi
  configure
  # Base64 without the characters that would make it look like an option.
  id=$(head -c 16 /dev/urandom | base64 | tr '+/' 'az' | tr -d '=')
  kafka kafka.tools.StorageTool format --standalone --cluster-id "$id" --config "$run/server.properties" "${users[@]}" \
    >"$run/format.log" 2>&1 || { cat "$run/format.log" >&2; fail "the data directory could not be made"; }
}

# start: makes the data directory if there is none, starts the broker, waits until it listens (60 s at most).
start() {
  need_java
  running && fail "a broker runs from $run already, process $(cat "$pid_file")"
  ls "$jars"/kafka_*.jar >/dev/null 2>&1 || fetch
  mkdir -p "$run"
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && fail "port $port is taken; set KAFKA_PORT to another"
  if [ -f "$data/meta.properties" ]; then configure; else format; fi
  java_options="-Xms${KAFKA_HEAP:-512m} -Xmx${KAFKA_HEAP:-512m} -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:+ExitOnOutOfMemoryError -Djava.net.preferIPv4Stack=true"
  # shellcheck disable=SC2086  # options are words
  nohup "$java" $java_options "-Dlog4j2.configurationFile=file:$here/log4j2.properties" "-Dkafka.logs.dir=$run" \
    -cp "$jars/*" kafka.Kafka "$run/server.properties" >"$run/broker.log" 2>&1 </dev/null &
  echo $! >"$pid_file"
  for _ in $(seq 1 240); do
    running || { tail -n 30 "$run/broker.log" >&2; fail "the broker ended while starting; its last lines are above"; }
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "127.0.0.1:$port, process $(cat "$pid_file"), in $run"
      return
    fi
    sleep 0.25
  done
  fail "the broker does not listen on port $port after 60 s; see $run/broker.log"
}

# wipe: deletes this instance's data, certificates and logs. Jars stay.
wipe() {
  running && fail "a broker runs from $run; stop it first: $0 stop"
  rm -rf "$run" "$data"
}

# status: says whether the broker runs and which topics it has; fails if it does not run.
status() {
  need_running
  echo "127.0.0.1:$port, process $(cat "$pid_file"), in $run"
  java_options=-Xmx128m kafka org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$port" --list
}

# acl: grants, takes or lists rights, as kafka-acls does; only a broker with secure listeners keeps any.
acl() {
  java_options=-Xmx128m kafka org.apache.kafka.tools.AclCommand --bootstrap-server "127.0.0.1:$port" "$@"
}

case "${1:-}" in
  acl)
    shift
    acl "$@"
    ;;
  fetch | start | stop | kill9 | pause | resume | wipe | status) "$1" ;;
  *)
    sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 2
    ;;
esac
