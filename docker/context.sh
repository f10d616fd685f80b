#!/usr/bin/env bash
# Gathers what the images are made of into a folder, which is then the context of all three Dockerfiles:
#   docker/context.sh .build/image
# Needs `npm ci` before it. The bundles are built in the folder, so that no chunk of an earlier build gets into an image.
# The packages of an earlier run stay where the lock file, this file, Node and npm are the same; FOLDER.packages says for
# which ones they were installed.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 64; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

wanted=$(sha256sum package.json package-lock.json docker/context.sh; node --version; npm --version)
# In this order: an interruption must not leave the word without the packages.
[ "$(cat "$folder.packages" 2> /dev/null)" = "$wanted" ] || rm -rf "$folder.packages" "$folder/node_modules"

rm -rf "$folder/.build"
cp package.json package-lock.json LICENSE "$folder"
bundles=$(mktemp -d "$folder.bundles.XXXXXX")
trap 'rm -rf "$bundles"' EXIT
cp -r package.json tsconfig.json src "$bundles"
ln -s "$PWD/node_modules" "$bundles/node_modules"
(cd "$bundles" && npm run --silent build:app)
mv "$bundles/.build" "$folder/.build"
[ -d "$folder/node_modules" ] && exit 0

npm ci --prefix "$folder" --omit=dev --ignore-scripts --no-audit --no-fund --prefer-offline --loglevel=warn
# Last: packages of which only some were installed are never believed.
echo "$wanted" > "$folder.packages"
