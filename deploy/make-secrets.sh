#!/bin/sh
# Make the secrets of docker-compose.yml, once: what exists stays. usage: sh deploy/make-secrets.sh [FOLDER]
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
# Compose mounts each file as it is, and each service runs as a user of its own: so the files can be
# read by all, and the folder only by its owner.
chmod 700 "$folder"

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

make() { # NAME [PREFIX]
  if [ -s "$folder/$1" ]; then
    echo "$1: kept"
  else
    printf '%s%s' "${2:-}" "$(random)" > "$folder/$1"
    echo "$1: made"
  fi
  chmod 444 "$folder/$1"
}

make postgres_password
make noisegate_db_password
make prefect_db_password
make mlflow_db_password
make prefect_auth noisegate:
make ray_token
make grafana_admin_password
make grafana_secret_key

# Yours to fill in: until then Slack and PagerDuty hear nothing.
yours() { # NAME PLACEHOLDER
  [ -s "$folder/$1" ] || printf '%s' "$2" > "$folder/$1"
  [ "$(cat "$folder/$1")" != "$2" ] || echo "$1: a placeholder: write yours into $folder/$1"
  chmod 444 "$folder/$1"
}

yours slack_webhook_url http://slack.invalid/
yours pagerduty_key unset
