# shellcheck shell=sh
# What the scripts share. Sourced from the project's directory.

# /usr/sbin, where iptables and others are, is not on every user's PATH.
PATH=$PATH:/usr/sbin:/sbin
export PATH

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "error: $*"
    exit 1
}

# Runs a command as root: directly, or through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "this needs root, and there is no sudo here: run it as root: $*"
    fi
}

# `sudo `, where a command to be typed needs it.
sudo_word() {
    [ "$(id -u)" -eq 0 ] || printf 'sudo '
}

# at_least HAVE WANT: whether a version is not older than another.
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

# The oldest Rust that can build minik.
rust_wanted() {
    sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml
}

# Puts a cargo that is new enough in front of the PATH, if there is one.
find_cargo() {
    for cargo in cargo "${HOME:-/root}/.cargo/bin/cargo"; do
        path=$(command -v "$cargo") || continue
        version=$("$path" --version 2>/dev/null | cut -d ' ' -f 2) || continue
        if [ -n "$version" ] && at_least "$version" "$(rust_wanted)"; then
            PATH=$(dirname "$path"):$PATH
            export PATH
            return 0
        fi
    done
    return 1
}

# The directory in which cargo builds, wherever it is configured to be.
target_directory() {
    cargo metadata --no-deps --offline --format-version 1 |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}
