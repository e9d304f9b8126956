#!/bin/bash
# Shows a user the variant of an experiment, and counts a purchase.
#   checkout.sh EXPERIMENT USER          ASSAY_URL, ASSAY_TOKEN: the server, and a token with assign and events:write
set -euo pipefail
experiment=$1 user=$2

# Sent again after 429, 5xx and where nothing answers, for up to 20 seconds; another 4xx is a mistake in this program.
call() { # tries method path [body]
    local tries=$1
    shift
    curl -sS --fail-with-body --max-time 2 --retry "$tries" --retry-connrefused --retry-max-time 20 \
        -X "$1" "$ASSAY_URL$2" -H "Authorization: Bearer $ASSAY_TOKEN" -H 'Content-Type: application/json' ${3:+-d "$3"}
}

# Without an answer the user gets the control, and is not part of the experiment.
encoded=$(jq -rn --arg text "$user" '$text | @uri')
variant=$(call 0 GET "/experiments/$experiment/assignment/$encoded?country=US" 2>/dev/null | jq -r '.variant // "control"') || variant=control
echo "$user sees $variant"

# The id makes it count once, however often it is sent.
event=$(jq -n --arg user "$user" --arg id "order-$user-1" \
    '{event_id: $id, user_id: $user, event_type: "purchase", properties: {amount: 29.99, currency: "EUR"}}')
call 5 POST /events "$event" | jq -r '"\(.accepted) counted, \(.duplicates) known already"'
