#!/usr/bin/env bash
# A real Pulsar 4.0.7 standalone for tests, from Maven, without root and without a container.
#
#   pulsar.sh fetch                    download the broker's jars (once)
#   pulsar.sh lib                      the same, and print their folder; the Java client is among them
#   pulsar.sh start DIR [PORT HTTP BOOKIE] [KEY=VALUE ...]
#                                      start with data under DIR, wait until ready, print the value for AQUIFER_TEST_PULSAR;
#                                      KEY=VALUE lines go to the broker's configuration after ours; a stopped DIR starts again with its data
#   pulsar.sh token ROLE [SECONDS]     print a token for ROLE that a broker started with --tokens accepts, for so long from now if SECONDS are given;
#                                      `admin` is the super user
#   pulsar.sh stop DIR                 stop it (SIGTERM, then SIGKILL after 20 s)
#   pulsar.sh kill DIR                 kill -9
#
# A broker that wants tokens by KEY=VALUE is asked whether it is ready with the one in $PULSAR_ADMIN_TOKEN.
# --tokens: the broker asks everybody for a token, and roles have the rights that they are granted.
# Settings of tests that want trimming in seconds: see SMALL_LEDGERS below (pass --small-ledgers before KEY=VALUE).
# The jars lie in $AQUIFER_CACHE (default ${XDG_CACHE_HOME:-$HOME/.cache}/aquifer-ci)/pulsar-4.0.7.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${AQUIFER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/aquifer-ci}
lib=$cache/pulsar-4.0.7

SMALL_LEDGERS=(
  brokerDeduplicationEnabled=false
  managedLedgerMaxEntriesPerLedger=10
  managedLedgerMinLedgerRolloverTimeMinutes=0
  retentionCheckIntervalInSeconds=2
  defaultRetentionTimeInMinutes=0
  defaultRetentionSizeInMB=0
  managedLedgerDefaultMarkDeleteRateLimit=100
  managedLedgerCursorPositionFlushSeconds=1
)

TOKEN_KEY='a key for tests, 32 bytes long..'

# HS256 over header and claims.
token() {
  python3 - "$TOKEN_KEY" "$@" <<'PYTHON'
import base64, hashlib, hmac, json, sys, time
key, role, *seconds = sys.argv[1:]
claims = {"sub": role, **{"exp": int(time.time()) + int(life) for life in seconds}}
url = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
signed = url(b'{"alg":"HS256"}') + b"." + url(json.dumps(claims).encode())
print((signed + b"." + url(hmac.new(key.encode(), signed, hashlib.sha256).digest())).decode())
PYTHON
}

fetch() {
  [ -e "$lib/.complete" ] && return
  command -v mvn >/dev/null || { echo "pulsar.sh: needs Maven: apt-get install maven" >&2; exit 1; }
  command -v java >/dev/null || { echo "pulsar.sh: needs Java 17: apt-get install openjdk-17-jre-headless" >&2; exit 1; }
  echo "pulsar.sh: downloading Pulsar 4.0.7 (about 190 MB, once)" >&2
  local fresh=$lib.fresh.$$
  rm -rf "$fresh" && mkdir -p "$fresh"
  mvn -q -B -Dstyle.color=never -f "$here/pulsar-pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$fresh" >&2
  rm -f "$fresh"/netty-tcnative*{osx,windows,aarch}*
  touch "$fresh/.complete"
  rm -rf "$lib" && mv "$fresh" "$lib"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start() {
  local dir=$1; shift
  mkdir -p "$dir"; dir=$(cd "$dir" && pwd)
  local ports=() settings=() auth=()
  [ -z "${PULSAR_ADMIN_TOKEN:-}" ] || auth=(-H "Authorization: Bearer $PULSAR_ADMIN_TOKEN")
  while [ $# -gt 0 ]; do
    case $1 in
      --small-ledgers) settings+=("${SMALL_LEDGERS[@]}") ;;
      --tokens)
        local admin; admin=$(token admin)
        auth=(-H "Authorization: Bearer $admin")
        settings+=(
          authenticationEnabled=true authorizationEnabled=true superUserRoles=admin
          authenticationProviders=org.apache.pulsar.broker.authentication.AuthenticationProviderToken
          "tokenSecretKey=data:;base64,$(printf %s "$TOKEN_KEY" | base64)"
          brokerClientAuthenticationPlugin=org.apache.pulsar.client.impl.auth.AuthenticationToken
          "brokerClientAuthenticationParameters=token:$admin"
        ) ;;
      *=*) settings+=("$1") ;;
      *) ports+=("$1") ;;
    esac
    shift
  done
  fetch
  if [ ! -e "$dir/ports" ]; then
    echo "${ports[0]:-$(free_port)} ${ports[1]:-$(free_port)} ${ports[2]:-$(free_port)}" > "$dir/ports"
  fi
  read -r broker http bookie < "$dir/ports"
  {
    cat <<CONF
clusterName=standalone
advertisedAddress=localhost
bindAddress=127.0.0.1
webServicePort=$http
brokerServicePort=$broker
allowLoopback=true
journalSyncData=false
diskUsageThreshold=0.99
diskUsageWarnThreshold=0.985
diskUsageLwmThreshold=0.985
nettyMaxFrameSizeBytes=5253120
managedLedgerDefaultEnsembleSize=1
managedLedgerDefaultWriteQuorum=1
managedLedgerDefaultAckQuorum=1
loadBalancerEnabled=false
systemTopicEnabled=true
topicLevelPoliciesEnabled=true
brokerDeduplicationEnabled=true
transactionCoordinatorEnabled=true
brokerEntryMetadataInterceptors=org.apache.pulsar.common.intercept.AppendIndexMetadataInterceptor,org.apache.pulsar.common.intercept.AppendBrokerTimestampMetadataInterceptor
exposingBrokerEntryMetadataToClientEnabled=true
defaultRetentionTimeInMinutes=-1
defaultRetentionSizeInMB=-1
CONF
    [ ${#settings[@]} -eq 0 ] || printf '%s\n' "${settings[@]}"
  } | awk -F= '{ if (!($1 in value)) order[++n] = $1; value[$1] = substr($0, length($1) + 2) } END { for (i = 1; i <= n; i++) print order[i] "=" value[order[i]] }' > "$dir/standalone.conf"
  ( cd "$dir" && exec setsid java -Xms128m -Xmx512m -XX:MaxDirectMemorySize=512m -XX:TieredStopAtLevel=1 \
      --add-opens java.base/java.nio=ALL-UNNAMED --add-opens java.base/jdk.internal.misc=ALL-UNNAMED \
      --add-opens java.base/java.lang=ALL-UNNAMED --add-opens java.base/java.util=ALL-UNNAMED \
      --add-opens java.management/sun.management=ALL-UNNAMED --add-opens jdk.management/com.sun.management.internal=ALL-UNNAMED \
      --add-opens java.base/sun.net=ALL-UNNAMED -Dio.netty.tryReflectionSetAccessible=true \
      -cp "$lib/*" org.apache.pulsar.PulsarStandaloneStarter --config standalone.conf \
      --metadata-dir metadata --bookkeeper-dir bookkeeper --bookkeeper-port "$bookie" \
      --no-functions-worker --no-stream-storage >> broker.log 2>&1 < /dev/null ) &
  local pid=$!
  echo "$pid" > "$dir/pid"
  local deadline=$((SECONDS + 240))
  until curl -fs -m 2 "${auth[@]}" "http://127.0.0.1:$http/admin/v2/namespaces/public" 2>/dev/null | grep -q public/default \
      && curl -fs -m 20 "${auth[@]}" "http://127.0.0.1:$http/admin/v2/brokers/health" 2>/dev/null | grep -q ok; do
    kill -0 "$pid" 2>/dev/null || { echo "pulsar.sh: the broker ended; the end of its log:" >&2; tail -n 20 "$dir/broker.log" >&2; exit 1; }
    [ $SECONDS -lt $deadline ] || { echo "pulsar.sh: not ready after 240 s; see $dir/broker.log" >&2; kill -9 "$pid"; exit 1; }
    sleep 0.3
  done
  echo "pulsar://127.0.0.1:$broker,http://127.0.0.1:$http"
}

stop() {
  local pid; pid=$(cat "$1/pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$1/pid"
}

case ${1:-} in
  fetch) fetch ;;
  lib) fetch; echo "$lib" ;;
  start) shift; start "$@" ;;
  token) shift; token "$@" ;;
  stop) stop "$2" ;;
  kill) kill -9 "$(cat "$2/pid")" 2>/dev/null || true; rm -f "$2/pid" ;;
  *) sed -n '2,/^set -euo/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; [ "${1:-}" = --help ] || exit 2 ;;
esac
