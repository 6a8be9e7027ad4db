# Sourced by the scripts beside it: finds what they need, installs it as root, or says which line installs it.

# install PACKAGE...
install() {
    if [ "$(id -u)" != 0 ]; then
        echo "Something is missing. This installs it, as root:" >&2
        echo "    apt-get install -y $*" >&2
        exit 1
    fi
    apt-get update -q >&2 </dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >&2 </dev/null
}

need_cargo() {
    command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH
    command -v cargo >/dev/null || { echo "No cargo: install a Rust toolchain first (rustup)" >&2; exit 1; }
    command -v cc >/dev/null || install build-essential
}

need_postgres() {
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || command -v postgres >/dev/null || install postgresql
}

# The line that cargo's target directory has, whatever it is called.
target_dir() {
    printf '%s' "${CARGO_TARGET_DIR:-$PWD/target}"
}
