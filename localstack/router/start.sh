#!/bin/sh
# Fills the settings into nginx.conf and becomes nginx. The root file system may be read-only.
set -eu
here=$(dirname "$0")
export CT_MAX_UPLOAD_MB="${CT_MAX_UPLOAD_MB:-2048}"
export CT_DEFAULT_LANG="${CT_DEFAULT_LANG:-ru}"
export CT_S3_PUBLIC_ENDPOINT="${CT_S3_PUBLIC_ENDPOINT:-}"
export CT_ROUTER_TMP="${CT_ROUTER_TMP:-/tmp}"
export CT_ROUTER_MIME="${CT_ROUTER_MIME:-/etc/nginx/mime.types}"
export CT_ROUTER_RESOLVER="${CT_ROUTER_RESOLVER:-127.0.0.11}"
export CT_ROUTER_WWW="${CT_ROUTER_WWW:-/srv/page}"
export CT_ROUTER_DOCS="${CT_ROUTER_DOCS:-/srv/docs}"
export CT_ROUTER_PAGE="${CT_ROUTER_PAGE:-3000}"
export CT_ROUTER_API="${CT_ROUTER_API:-8000}"

# only our own names: nginx has variables of its own
names=$(grep -o '\${CT_[A-Z0-9_]*}' "$here/nginx.conf" | sort -u | tr '\n' ' ')
envsubst "$names" < "$here/nginx.conf" > "$CT_ROUTER_TMP/nginx.conf"
exec nginx -c "$CT_ROUTER_TMP/nginx.conf" "$@"
