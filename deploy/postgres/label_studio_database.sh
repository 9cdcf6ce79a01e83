#!/bin/sh
# Makes Label Studio's user and database. The PostgreSQL image runs it once, when it has made its
# own database.
set -eu

psql --set ON_ERROR_STOP=1 --set password="$LABEL_STUDIO_POSTGRES_PASSWORD" \
  --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE labelstudio LOGIN PASSWORD :'password';
CREATE DATABASE labelstudio OWNER labelstudio;
SQL
