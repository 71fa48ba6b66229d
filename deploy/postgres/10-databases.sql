-- Run once, by the image's entry point, when the volume is empty. One owner a database, and nobody
-- else gets in. Passwords come from the secrets: they stand in no environment and in no file of ours.
\set noisegate_password `cat "${SECRETS:-/run/secrets}/noisegate_db_password"`
\set prefect_password `cat "${SECRETS:-/run/secrets}/prefect_db_password"`
\set mlflow_password `cat "${SECRETS:-/run/secrets}/mlflow_db_password"`

SET password_encryption = 'scram-sha-256';

CREATE ROLE noisegate LOGIN PASSWORD :'noisegate_password' CONNECTION LIMIT 50;
CREATE ROLE prefect LOGIN PASSWORD :'prefect_password' CONNECTION LIMIT 50;
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password' CONNECTION LIMIT 50;

CREATE DATABASE noisegate OWNER noisegate;
CREATE DATABASE prefect OWNER prefect;
CREATE DATABASE mlflow OWNER mlflow;

REVOKE ALL ON DATABASE noisegate, prefect, mlflow, postgres FROM PUBLIC;
