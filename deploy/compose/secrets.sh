#!/bin/sh
# Makes the passwords and tokens that compose.yaml needs: deploy/.env and deploy/secrets. What is there already stays.
set -eu
umask 077
cd "$(dirname "$0")/.."

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

if [ ! -e .env ]; then
    while IFS= read -r line; do
        case $line in
            *_PASSWORD=) echo "$line$(random)" ;;
            *) echo "$line" ;;
        esac
    done < .env.example > .env.partial
    mv .env.partial .env
fi

# Containers run as users of their own and must read the files; the folder keeps other users of this machine out.
if [ ! -e secrets ]; then
    mkdir -p secrets.partial/service
    random > secrets.partial/operator
    random > secrets.partial/alertmanager
    {
        echo "operator admin $(cat secrets.partial/operator)"
        echo "alertmanager hooks $(cat secrets.partial/alertmanager)"
    } > secrets.partial/service/tokens
    chmod 644 secrets.partial/alertmanager secrets.partial/operator secrets.partial/service/tokens
    chmod 755 secrets.partial/service
    mv secrets.partial secrets
fi
