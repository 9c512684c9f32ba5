#!/usr/bin/env bash
# Is the phone of somebody who signs in at a browser: scans and confirms with an
# access token of their app.
#
#   SCANLOGIN_URL=https://login.example TOKEN=... bash phone.sh 'https://login.example/s/...'
set -euo pipefail

ask() { # path, body; gives the answer, or what is wrong on stderr
  local answer
  answer=$(curl --silent --show-error --fail-with-body --max-time 5 "$SCANLOGIN_URL$1" \
    --header "Authorization: Bearer $TOKEN" --header 'Content-Type: application/json' --data-binary "$2") ||
    { echo "$answer" >&2; return 1; }
  echo "$answer"
}
member() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

scanned=$(ask /v1/scan "{\"qr\":\"$1\"}")   # says what is asking: show it, and ask the person
ticket=$(member ticket_id <<< "$scanned")
confirm=$(member confirm_token <<< "$scanned")
ask "/v1/tickets/$ticket/confirm" "{\"confirm_token\":\"$confirm\"}"   # show its check_code, if there is one
