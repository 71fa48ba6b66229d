#!/bin/sh
# Entry point of the image: NAME_FILE=/run/secrets/FILE in the environment becomes NAME, then the command.
set -eu
secrets=${SECRETS:-/run/secrets}
for name in $(env | sed -n "s|^\([A-Z][A-Z0-9_]*\)_FILE=$secrets/.*|\1|p"); do
  file=$(printenv "${name}_FILE")
  if [ ! -r "$file" ]; then
    echo "${name}_FILE: $file cannot be read: run \`sh deploy/make-secrets.sh\` on the host" >&2
    exit 2
  fi
  export "$name=$(cat "$file")"
  unset "${name}_FILE"
done
exec "$@"
