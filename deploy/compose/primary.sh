#!/bin/bash
# Run once by the image of the primary: lets the replicas in.
set -e
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'secret'"
echo 'host replication replicator all scram-sha-256' >> "$PGDATA/pg_hba.conf"
