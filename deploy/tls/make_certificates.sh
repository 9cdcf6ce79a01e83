#!/bin/sh
# A private certificate authority, and a certificate from it for each server.
#
#   make_certificates.sh FOLDER NAME[@OWNER][=HOST,HOST...] ...
#
# NAME is the server's folder below FOLDER, and its host name where none is given. OWNER is the
# user (and :group) who is to own the private key, for which this must run as root. A HOST is a
# name or an IP address.
#
#   make_certificates.sh tls nginx=labels.example.com ml-backend=ml-backend,localhost,127.0.0.1
#
# makes, and leaves alone when it is run again:
#
#   tls/authority/ca.key, ca.crt       the authority; its key is needed only by this script
#   tls/nginx/tls.key, tls.crt         a server's private key (readable by its owner alone)
#   tls/nginx/ca.crt, ca-bundle.crt    whom to trust: the authority; and it beside the public ones
#
# What ends within RENEW_DAYS, was made for other hosts, or is broken, is made anew: run this
# monthly, and restart the servers afterwards. A certificate from another authority stays.
#
#   CERTIFICATE_DAYS  how long a server's certificate holds [397, the most that browsers take]
#   RENEW_DAYS        how long before its end it is replaced [60]
#   AUTHORITY_DAYS    how long the authority holds [3650]
set -eu
umask 077

authority_name="prelabel private authority"
certificate_days=${CERTIFICATE_DAYS:-397}
renew_s=$((${RENEW_DAYS:-60} * 86400))
authority_days=${AUTHORITY_DAYS:-3650}

fail() {
  echo "make_certificates.sh: $1" >&2
  exit 1
}

new_key() { # FILE
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null
}

serial() {
  echo "0x$(openssl rand -hex 16)"
}

public_part_of_key() { openssl pkey -in "$1" -pubout 2>/dev/null; }
public_part_of_certificate() { openssl x509 -in "$1" -noout -pubkey 2>/dev/null; }

belong_together() { # KEY CERTIFICATE
  [ -s "$1" ] && [ -s "$2" ] || return 1
  key_part=$(public_part_of_key "$1") || return 1
  [ "$key_part" = "$(public_part_of_certificate "$2")" ]
}

make_authority() {
  mkdir -p "$authority"
  if [ ! -e "$authority/ca.key" ] && [ ! -e "$authority/ca.crt" ]; then
    new_key "$authority/ca.key.new"
    openssl req -x509 -new -key "$authority/ca.key.new" -sha256 -days "$authority_days" \
      -subj "/CN=$authority_name" -set_serial "$(serial)" \
      -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
      -addext "keyUsage=critical,keyCertSign,cRLSign" \
      -out "$authority/ca.crt.new"
    mv "$authority/ca.key.new" "$authority/ca.key"
    mv "$authority/ca.crt.new" "$authority/ca.crt"
    echo "authority: made, holds for $authority_days days"
  fi
  belong_together "$authority/ca.key" "$authority/ca.crt" ||
    fail "$authority has no key and certificate that belong together; remove it to begin anew"
  openssl x509 -in "$authority/ca.crt" -noout -checkend "$renew_s" >/dev/null ||
    fail "the authority in $authority ends soon; remove it, run this again, restart every server"
  chmod 600 "$authority/ca.key"
  chmod 644 "$authority/ca.crt"
}

alternative_names() { # HOST,HOST...
  names=""
  for host in $(echo "$1" | tr ',' ' '); do
    case $host in
      *[!A-Za-z0-9.:*_-]*) fail "$host is no host name" ;;
      *:* | [0-9]*.[0-9]*.[0-9]*.*[0-9]) kind=IP ;;
      *) kind=DNS ;;
    esac
    names="$names${names:+,}$kind:$host"
  done
  echo "$names"
}

foreign() { # CERTIFICATE: whether somebody else's authority made it
  issuer=$(openssl x509 -in "$1" -noout -issuer 2>/dev/null) || return 1
  case $issuer in
    *"$authority_name"*) return 1 ;;
  esac
}

holds() { # FOLDER NAMES: whether what is there can stay
  belong_together "$1/tls.key" "$1/tls.crt" &&
    openssl verify -CAfile "$authority/ca.crt" "$1/tls.crt" >/dev/null 2>&1 &&
    openssl x509 -in "$1/tls.crt" -noout -checkend "$renew_s" >/dev/null &&
    [ "$(cat "$1/hosts" 2>/dev/null)" = "$2" ]
}

make_certificate() { # FOLDER NAMES
  new_key "$1/tls.key.new"
  printf '%s\n' \
    "basicConstraints=critical,CA:FALSE" \
    "keyUsage=critical,digitalSignature" \
    "extendedKeyUsage=serverAuth" \
    "subjectKeyIdentifier=hash" \
    "authorityKeyIdentifier=keyid" \
    "subjectAltName=$2" >"$1/extensions"
  openssl req -new -key "$1/tls.key.new" -subj "/CN=${1##*/}" |
    openssl x509 -req -sha256 -days "$certificate_days" -set_serial "$(serial)" \
      -CA "$authority/ca.crt" -CAkey "$authority/ca.key" -extfile "$1/extensions" \
      -out "$1/tls.crt.new" 2>/dev/null ||
    fail "openssl cannot make a certificate for $2"
  rm "$1/extensions"
  mv "$1/tls.key.new" "$1/tls.key"
  mv "$1/tls.crt.new" "$1/tls.crt"
  echo "$2" >"$1/hosts"
}

trust() { # FOLDER: whom a client with this folder trusts; one may be reading just now
  cp "$authority/ca.crt" "$1/ca.crt.new"
  cat /etc/ssl/certs/ca-certificates.crt "$authority/ca.crt" >"$1/ca-bundle.crt.new" 2>/dev/null ||
    cp "$authority/ca.crt" "$1/ca-bundle.crt.new"
  chmod 644 "$1/ca.crt.new" "$1/ca-bundle.crt.new"
  mv "$1/ca.crt.new" "$1/ca.crt"
  mv "$1/ca-bundle.crt.new" "$1/ca-bundle.crt"
}

serve() { # NAME[@OWNER][=HOST,HOST...]
  server=${1%%=*}
  name=${server%%@*}
  owner=${server#"$name"}
  owner=${owner#@}
  hosts=$name
  case $1 in *=*) hosts=${1#*=} ;; esac
  case $name in
    '' | authority | *[!A-Za-z0-9._-]* | .*) fail "'$name' cannot be the name of a folder" ;;
  esac
  names=$(alternative_names "$hosts")
  [ -n "$names" ] || fail "$name needs a host"
  mkdir -p "$folder/$name"
  if [ -s "$folder/$name/tls.crt" ] && foreign "$folder/$name/tls.crt"; then
    trust "$folder/$name"
    echo "$name: from another authority, left alone"
    return
  fi
  if holds "$folder/$name" "$names"; then
    echo "$name: still good"
  else
    make_certificate "$folder/$name" "$names"
    echo "$name: made for $names, holds for $certificate_days days"
  fi
  trust "$folder/$name"
  chmod 755 "$folder/$name"
  chmod 644 "$folder/$name/tls.crt"
  chmod 600 "$folder/$name/tls.key"
  [ -z "$owner" ] || chown "$owner" "$folder/$name/tls.key"
}

[ $# -ge 2 ] || fail "give a folder and the servers, such as: tls nginx=labels.example.com"
command -v openssl >/dev/null || fail "openssl is not installed"
folder=$1
shift
if [ ! -d "$folder" ]; then # a container's root, where it lies, may be read-only
  mkdir -p "$folder"
  chmod 755 "$folder"
fi
authority=$folder/authority
make_authority
for one in "$@"; do
  serve "$one"
done
