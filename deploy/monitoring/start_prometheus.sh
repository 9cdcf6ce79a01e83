#!/bin/sh
# Starts Prometheus with the login of the backend: BASIC_AUTH_USER and BASIC_AUTH_PASS, which it
# cannot read from the environment itself. Options for Prometheus may follow.
#   PROMETHEUS_CONFIG   the configuration [/etc/prometheus/prometheus.yml]
#   PROMETHEUS_WORK     where the filled-in copy and the password go [/tmp]
set -eu
umask 077
config=${PROMETHEUS_CONFIG:-/etc/prometheus/prometheus.yml}
work=${PROMETHEUS_WORK:-/tmp}

printf '%s' "${BASIC_AUTH_PASS:-}" >"$work/prelabel_password"
# In YAML a single-quoted text holds anything; a quote in it is written twice.
user=$(printf '%s' "${BASIC_AUTH_USER:-}" | sed "s/'/''/g")
user="$user" password_file="$work/prelabel_password" awk '
  $1 == "username:" { sub(/username:.*/, ""); print $0 "username: \047" ENVIRON["user"] "\047"; next }
  $1 == "password_file:" { sub(/password_file:.*/, ""); print $0 "password_file: " ENVIRON["password_file"]; next }
  { print }
' "$config" >"$work/prometheus.yml"
unset BASIC_AUTH_USER BASIC_AUTH_PASS

exec prometheus --config.file="$work/prometheus.yml" "$@"
