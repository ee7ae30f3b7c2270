#!/usr/bin/env bash
# Fetches the ClickHouse engine library that `shardlake clickhouse` and the tests run, and prints its path.
#
# The library travels inside an npm package, so npm fetches it, from whichever registry npm is configured for. The package is
# pinned by version and checksum. It lands in a cache outside the repository, once per version; `library()` in src/lib.rs looks
# for it there. `SHARDLAKE_ENGINE=/path/to/libchdb.so` makes the programs use another library instead.
set -euo pipefail

version="26.7.3-stable.1" # the same as ENGINE_VERSION in src/lib.rs

# The package for this machine, and the sha512 "integrity" value of its tarball. Only the platform that we test on is pinned
# here; for the others npm's own record of the version is used, which catches a broken download but not a changed package.
case "$(uname -s)-$(uname -m)" in
  Linux-x86_64)
    package="@chdb/lib-linux-x64-gnu"
    integrity="sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw=="
    ;;
  Linux-aarch64) package="@chdb/lib-linux-arm64-gnu" integrity="" ;;
  Darwin-arm64) package="@chdb/lib-darwin-arm64" integrity="" ;;
  Darwin-x86_64) package="@chdb/lib-darwin-x64" integrity="" ;;
  *)
    echo "fetch-engine: there is no engine for $(uname -s) on $(uname -m): set SHARDLAKE_ENGINE to a libchdb.so of your own" >&2
    exit 1
    ;;
esac

cache="${XDG_CACHE_HOME:-$HOME/.cache}/shardlake/engine/$version"
library="$cache/libchdb.so"
if [[ -s $library ]]; then
  echo "$library"
  exit 0
fi

for tool in npm openssl tar; do
  command -v "$tool" >/dev/null || {
    echo "fetch-engine: '$tool' is needed to fetch the engine: install it and run this again" >&2
    exit 1
  }
done

if [[ -z $integrity ]]; then
  integrity="$(npm view "$package@$version" dist.integrity)"
  echo "fetch-engine: no checksum of $package is pinned here; trusting npm's: $integrity" >&2
fi

# Unpacked beside its destination, so that the last step is a rename: nobody ever loads half a library.
mkdir -p "$cache"
work="$(mktemp -d "$cache/fetch.XXXXXX")"
trap 'rm -rf "$work"' EXIT

echo "fetch-engine: fetching $package@$version (about 180 MB, once)" >&2
npm pack --silent --pack-destination "$work" "$package@$version" >/dev/null
tarball=("$work"/*.tgz)

actual="sha512-$(openssl dgst -sha512 -binary "${tarball[0]}" | openssl base64 -A)"
if [[ $actual != "$integrity" ]]; then
  echo "fetch-engine: the checksum of $package@$version is wrong; nothing was installed. Try again; if it stays wrong, do not use the package." >&2
  echo "  expected $integrity" >&2
  echo "  got      $actual" >&2
  exit 1
fi

tar -xzf "${tarball[0]}" -C "$work" package/libchdb.so
mv "$work/package/libchdb.so" "$library"
echo "$library"
