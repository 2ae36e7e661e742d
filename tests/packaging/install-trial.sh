#!/usr/bin/env bash
# What is tried on the booted Debian; run there by scripts/install-trial.
set -u
exec 3>&1 1>&2 # what is said here is the result; everything else is the log
failed=0
say() { echo "$*" >&3; }
holds() { # holds WHAT COMMAND...: within half a minute
  local what=$1
  shift
  for _ in $(seq 60); do
    if "$@"; then say "ok - $what"; return; fi
    sleep 0.5
  done
  say "not ok - $what"
  failed=1
}
journal() { journalctl -u "$1" -o cat --no-pager; }
agent_state() { [ "$(systemctl show -p "$1" --value edgeflow-agent)" = "$2" ]; }
ready() { curl -fsS -o /dev/null http://127.0.0.1:8080/readyz; }
set -x

bash -eux agent.sh || { say "not ok - the commands of the document for a gateway"; failed=1; }
holds "the agent runs and is ready, installed by the commands of the document" ready
holds "with the drop-ins for serial lines and pins, which the document gives too" agent_state SupplementaryGroups "gpio dialout"
holds "its state can be read by nobody else" test "$(stat -c %a /var/lib/edgeflow)" = 700

systemctl kill -s KILL edgeflow-agent
holds "killed, it is begun again" ready

echo 'gateway: {nam: x}' >/etc/edgeflow/gateway.yaml
systemctl restart edgeflow-agent
holds "a wrong configuration ends it for good, with status 78" agent_state ExecMainStatus 78
told=$(journal edgeflow-agent | grep -c 'gateway.yaml:1:11')
holds "the journal has the place of the mistake once" test "$told" = 1

echo 'gateway: {name: hall2-line1}
http: {port: 80}' >/etc/edgeflow/gateway.yaml
systemctl restart edgeflow-agent
holds "a port that its user may never have ends it for good, with status 78" agent_state ExecMainStatus 78
names_port() { journal edgeflow-agent | grep -q 'gateway.yaml:2:.*http: {port: ...}'; }
holds "the journal names the setting" names_port

printf 'gateway: {name: hall2-line1}\n' >/etc/edgeflow/gateway.yaml
python3 -m http.server 8080 &
other=$!
sleep 1
systemctl restart edgeflow-agent
before=$(systemctl show -p NRestarts --value edgeflow-agent)
sleep 30
tried=$(($(systemctl show -p NRestarts --value edgeflow-agent) - before))
holds "a port that is taken: tried again after longer and longer pauses ($tried times in 30 s)" test "$tried" -ge 2 -a "$tried" -le 6
kill $other
for _ in $(seq 4); do ready && break; sleep 10; done
holds "and once it is free, it runs" ready

bash -eux central.sh 2>&1 | tee /install/central.said || { say "not ok - the commands of the document for the central server"; failed=1; }
echo 127.0.0.1 central.example >>/etc/hosts
holds "the central server answers over TLS" curl -fsS -o /dev/null --cacert chain.pem https://central.example:8090/healthz
runuser -u edgeflow-central -- /opt/edgeflow/bin/edgeflow central token hall2-line1 --state /var/lib/edgeflow-central >/etc/edgeflow/central.token
chmod 640 /etc/edgeflow/central.token && chgrp edgeflow /etc/edgeflow/central.token
install -m 640 -g edgeflow chain.pem /etc/edgeflow/central.pem
cat >/etc/edgeflow/gateway.yaml <<'YAML'
gateway: {name: hall2-line1}
central: {url: "https://central.example:8090", token: {file: central.token}, ca: central.pem}
YAML
systemctl restart edgeflow-agent
connected() { curl -fsS http://127.0.0.1:8080/api/v1/status | python3 -c 'import json, sys; sys.exit(not json.load(sys.stdin)["central"]["connected"])'; }
holds "the gateway enrols at it with a token made as the document says" connected
agent_only() { ! runuser -u edgeflow -- cat /etc/edgeflow-central/tls/key.pem; }
holds "its key is not the agent's to read" agent_only

begun=$(date +%s%3N)
systemctl stop edgeflow-agent edgeflow-central
holds "both stop in less than three seconds" test $(($(date +%s%3N) - begun)) -lt 3000

mkdir /demo
(cd /demo && exec /opt/edgeflow/bin/edgeflow demo >/demo/said 2>&1) &
demo=$!
holds "the demo runs from the wheel, without mosquitto" grep -q "Ctrl-C ends everything" /demo/said
good() { curl -fsS http://127.0.0.1:8080/api/v1/status | python3 -c 'import json, sys; s = json.load(sys.stdin)["devices"]; sys.exit(sum(d["state"] == "good" for d in s) != 5)'; }
holds "and its five devices are good" good
kill -INT $demo
wait $demo
ended=$?
holds "and it ends when told" test $ended -eq 0
say done
exit $failed
