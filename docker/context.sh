#!/usr/bin/env bash
# Gathers what the images are made of into a folder, which is then the context of all three Dockerfiles:
#   docker/context.sh .build/image
# Needs `npm ci` before it. The bundles are built in the folder, so that no chunk of an earlier build gets into an image.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 64; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

rm -rf "$folder/src" "$folder/.build" "$folder/node_modules"
cp -r package.json package-lock.json tsconfig.json LICENSE src "$folder"
ln -s "$PWD/node_modules" "$folder/node_modules"
(cd "$folder" && npm run --silent build:app)
rm "$folder/node_modules" "$folder/tsconfig.json"
rm -r "$folder/src"
npm ci --prefix "$folder" --omit=dev --ignore-scripts --no-audit --no-fund --prefer-offline --loglevel=warn
