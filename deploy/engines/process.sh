# The process of an engine: what the scripts that start one in the background share. Sourced, after these are set:
#
#   engine    what messages begin with
#   what      what it is called: broker, node
#   self      how the script was called, up to the verb
#   run       directory of the instance
#   pid_file  where its process id is

fail() {
  echo "$engine: $*" >&2
  exit 1
}

# Whether it runs, started by this call or an earlier one.
running() {
  [ -f "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null
}

need_running() {
  running || fail "no $what runs from $run; start one: $self start"
}

# stop: asks it to end and waits for it, 60 s at most. Fine when none runs.
stop() {
  running || { echo "no $what runs from $run"; return; }
  local pid
  pid=$(cat "$pid_file")
  kill -CONT "$pid"
  kill "$pid"
  for _ in $(seq 1 300); do
    kill -0 "$pid" 2>/dev/null || { rm -f "$pid_file"; return; }
    sleep 0.2
  done
  fail "process $pid does not end; $self kill9 ends it the hard way"
}

# kill9: ends it as a crash would, and waits until it is gone.
kill9() {
  need_running
  local pid
  pid=$(cat "$pid_file")
  kill -KILL "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  rm -f "$pid_file"
}

# pause: stops its threads (SIGSTOP) and waits until they stand: connections stay open, nothing answers.
pause() {
  need_running
  local pid
  pid=$(cat "$pid_file")
  kill -STOP "$pid"
  while grep -h '^State:' /proc/"$pid"/task/*/status 2>/dev/null | grep -qv 'T (stopped)'; do sleep 0.01; done
}

# resume: lets it go on after pause.
resume() {
  need_running
  kill -CONT "$(cat "$pid_file")"
}
