#!/usr/bin/env bash
# Asks a scanlogin server for something, as a caller of its configuration:
#
#   SCANLOGIN_URL=https://login.example KEY_ID=shop-1 KEY_SECRET=... \
#     bash signed.sh end-sessions '{"user":"demo:alice"}'
set -euo pipefail

path=/v1/server/$1 body=$2
host=${SCANLOGIN_URL#*://}
time=$(date +%s) nonce=$(openssl rand -hex 16)
hash=$(printf %s "$body" | openssl dgst -sha256 -r | cut -d' ' -f1)
signature=$(printf 'v1\nPOST\n%s\n\n%s\n%s\n%s\n%s' "$path" "$host" "$time" "$nonce" "$hash" |
  openssl dgst -sha256 -hmac "$KEY_SECRET" -r | cut -d' ' -f1)

curl --silent --show-error --fail-with-body --max-time 5 "$SCANLOGIN_URL$path" \
  --header 'Content-Type: application/json' --header "X-Key-Id: $KEY_ID" --header "X-Timestamp: $time" \
  --header "X-Nonce: $nonce" --header "X-Signature: $signature" --data-binary "$body"
